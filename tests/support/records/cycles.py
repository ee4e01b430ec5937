"""Takes cycles from their claim to their conclusion, as the daemon does, at times that a test chooses."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, select

from db import leases, versions
from db.connection.session import reading, writing
from db.cycles import ledger, rejudging
from db.records import Claim, CycleResult, Lease, ModelVersion
from db.states import CycleStatus, PromotionReason, Role
from db.tables import cycles
from tests.support.records.factories import STUDENT, make_result, make_slot
from triggers.alert_settings import Alert, LogAlert
from triggers.calibration_settings import CalibrationPolicy
from triggers.conclude import Conclusion, Policy, conclude, conclude_failure
from triggers.incidents.announce import Audience
from triggers.settings import DEFAULT_RULES, AlphaPolicy, IncidentPolicy, TeacherPolicy

MONITOR = "mangaassist"
LATENESS = timedelta(minutes=10)
UNCALIBRATED = CalibrationPolicy(every=None)


def make_audience(
    alerts: tuple[Alert, ...] = (LogAlert(),),
    incidents: IncidentPolicy | None = None,
    *,
    monitor: str = MONITOR,
) -> Audience:
    """One alert, and nothing damped, unless told otherwise."""
    return Audience(monitor=monitor, alerts=alerts, policy=incidents or IncidentPolicy())


def make_policy(**fields: Any) -> Policy:  # noqa: ANN401 - any field of a Policy, or of its Audience
    """The user's rules and one alert, without a cooldown unless told otherwise."""
    of_audience = {name: fields.pop(name) for name in ("alerts", "incidents") if name in fields}
    usual = {
        "rules": DEFAULT_RULES,
        "alpha": AlphaPolicy(cooldown=timedelta(0)),
        "teacher": TeacherPolicy(),
        "audience": make_audience(**of_audience),
        "min_samples": 1_000,
        "max_reject_share": 0.05,
        "may_be_found": lambda student: Path(student.uri).is_dir(),
    }
    return Policy(**{**usual, **fields})


def due_at(index: int) -> datetime:
    """When the index-th slot falls due."""
    return make_slot(index).window_end + LATENESS


def taken(engine: Engine, name: str = f"monitor:{MONITOR}", *, seconds: float = 600) -> Lease:
    """The lease, which must be free."""
    with writing(engine) as connection:
        lease = leases.acquire(connection, name, owner=leases.new_owner(), seconds=seconds)
    assert lease is not None
    return lease


def release(engine: Engine, lease: Lease) -> None:
    with writing(engine) as connection:
        leases.release(connection, lease)


def seized(engine: Engine, lease: Lease) -> Lease:
    """The lease in another process's hands, as if its holder had been away until it expired."""
    with writing(engine) as connection:
        leases.renew(connection, lease, seconds=-1)
    return taken(engine, lease.name)


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """One process's cycles of one monitor, under a lease that lasts."""

    engine: Engine
    lease: Lease
    policy: Policy = field(default_factory=make_policy)

    def claim(self, index: int) -> Claim:
        """The claim of the index-th slot, which must not have ended."""
        with writing(self.engine) as connection:
            leases.guard(connection, self.lease)
            claim = ledger.claim(connection, make_slot(index), due_at(index))
        assert claim is not None
        return claim

    def claim_again(self, index: int, *, now: datetime) -> Claim:
        """A claim of the index-th slot, which has no verdict, to judge it again."""
        with writing(self.engine) as connection:
            leases.guard(connection, self.lease)
            claim = rejudging.claim(connection, make_slot(index), now)
        assert claim is not None
        return claim

    def conclude(
        self, index: int, result: CycleResult | None = None, *, now: datetime | None = None
    ) -> Conclusion:
        """The index-th slot's claim and its conclusion; healthy unless told otherwise."""
        return self.conclude_claim(self.claim(index), result, now=now)

    def conclude_claim(
        self, claim: Claim, result: CycleResult | None = None, *, now: datetime | None = None
    ) -> Conclusion:
        at = now or claim.slot.window_end + LATENESS
        return conclude(self.engine, self.lease, claim, result or make_result(), self.policy, now=at)

    def fail(self, index: int, error: str = "the traffic is gone") -> Claim:
        """The index-th slot's claim, ended by an error."""
        claim = self.claim(index)
        conclude_failure(self.engine, self.lease, claim, error, self.policy, now=due_at(index))
        return claim

    def promote(
        self, version: str = STUDENT, *, now: datetime, alpha: Decimal | None = Decimal("0.7")
    ) -> ModelVersion:
        """A student that becomes the current one."""
        model = ModelVersion(
            monitor=MONITOR, version=version, role=Role.STUDENT, uri=f"models/{version}", alpha=alpha
        )
        with writing(self.engine) as connection:
            versions.record(connection, model, now)
            versions.promote(connection, model, PromotionReason.MANUAL, now)
        return model


def n_evaluated(engine: Engine) -> int:
    return sum(row["status"] == CycleStatus.EVALUATED for row in stored(engine, cycles))


def stored(engine: Engine, table: Table) -> list[dict[str, Any]]:
    """All rows of the table, in the order of their keys."""
    with reading(engine) as connection:
        found = connection.execute(select(table).order_by(*table.primary_key)).mappings()
        return [dict(row) for row in found]
