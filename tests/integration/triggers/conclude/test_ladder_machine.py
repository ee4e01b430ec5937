"""The ladder in alpha, whatever happens in whichever order: cycles, workers, and people who act.

`tests.support.records.ladder` says what must be ordered, from what has happened, event by event; the product
reads its tables each time.
"""

import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select

from db import leases, queue, versions
from db.connection.session import reading, writing
from db.cycles import ledger
from db.records import Claim, CycleResult, GateOutcome, Job, Lease, ModelVersion
from db.states import (
    GateResult,
    IncidentKind,
    IncidentState,
    JobDecision,
    JobRecovery,
    JobStatus,
    OrderReason,
    PromotionReason,
    Role,
)
from db.tables import incidents, jobs
from distill.settle import Proof, settle
from tests.support.processes.workers import calibration_of
from tests.support.records.conclusions import FAR, HEALTHY, TOO_FEW
from tests.support.records.cycles import LATENESS, make_policy
from tests.support.records.factories import make_slot
from tests.support.records.ladder import OPEN, POLICY, Known, Work, ended_at
from triggers.conclude import Conclusion, Policy, conclude, conclude_failure
from triggers.incidents.job_outcome import report_job_end
from triggers.orders.manual import order_by_hand

#: What becomes of jobs while a drift lasts; what is likely is there more than once.
ENDS: Final = ("promoted", "promoted", "promoted", "rejected", "rejected", "rejected", "failed", "held")
SECOND: Final = timedelta(seconds=1)


class Ladder(RuleBasedStateMachine):
    """One monitor: a cycle an hour, a worker, and people."""

    engine: Engine
    models: Path  #: where the files of every student are

    def __init__(self) -> None:
        super().__init__()
        self.monitor = uuid.uuid4().hex
        self.known = Known()
        self.index = -1  #: of the newest cycle
        self.now = make_slot(0).window_start
        self.held: tuple[Job, Lease] | None = None  #: what the worker has
        self.n_students = 1

    @initialize(rollback=st.sampled_from(["off", "auto"]))
    def begin(self, rollback: str) -> None:
        usual = make_policy(alpha=POLICY.model_copy(update={"rollback": rollback}))
        audience = replace(usual.audience, monitor=self.monitor)
        self.policy: Policy = replace(usual, audience=audience)
        with writing(self.engine) as connection:
            lease = leases.acquire(connection, f"monitor:{self.monitor}", owner="daemon", seconds=6_000)
        assert lease is not None
        self.lease = lease
        self.serve(Role.TEACHER, "teacher-1", PromotionReason.CONFIGURED)
        self.serve(Role.STUDENT, "student-1", PromotionReason.CONFIGURED)

    def tick(self) -> datetime:
        self.now += SECOND
        return self.now

    def serve(self, role: Role, version: str, reason: PromotionReason, alpha: Decimal | None = None) -> None:
        model = ModelVersion(
            monitor=self.monitor, version=version, role=role, uri=str(self.models), alpha=alpha
        )
        now = self.tick()
        with writing(self.engine) as connection:
            versions.record(connection, model, now)
            versions.promote(connection, model, reason, now)
        if role is Role.STUDENT:
            self.known.student, self.known.began_at, self.known.trial = version, now, None

    def row(self, job_id: int) -> Job:
        with reading(self.engine) as connection:
            return queue.get(connection, job_id)

    # --- cycles

    @rule(kind=st.sampled_from(["drifts", "drifts", "is healthy", "has too few", "fails"]))
    def a_cycle(self, kind: str) -> None:
        if kind == "fails":
            claim = self.claim()
            now = claim.slot.window_end + LATENESS
            conclude_failure(self.engine, self.lease, claim, "", self.policy, now=now)
        else:
            self.cycle({"drifts": FAR, "is healthy": HEALTHY, "has too few": TOO_FEW}[kind])

    @rule(ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=6))
    def a_drift_lasts(self, ends: list[str]) -> None:
        """A worker takes what is ordered at once, and nobody steps in."""
        for end in ends:
            self.cycle(FAR)
            if self.open:
                self.a_worker_takes_the_job(dies=False)
                if end == "failed":
                    self.the_job_fails()
                else:
                    promote = "manual" if end == "held" else "auto"
                    self.a_candidate_is_made(passes=end != "rejected", promote=promote)

    def claim(self) -> Claim:
        self.index += 1
        slot = make_slot(self.index, monitor=self.monitor)
        self.now = slot.window_end + LATENESS
        with writing(self.engine) as connection:
            claim = ledger.claim(connection, slot, self.now)
        assert claim is not None
        return claim

    def cycle(self, kind: CycleResult) -> Conclusion:
        known, claim = self.known, self.claim()
        with reading(self.engine) as connection:
            serving = versions.current(connection, self.monitor, Role.STUDENT)
        assert serving is not None
        assert serving.version == known.student
        result = replace(
            kind, teacher_version=known.teacher, student_version=known.student, alpha=serving.alpha
        )
        if kind is not TOO_FEW:
            self.watch(healthy=kind is HEALTHY)
        reason, alpha = known.expected(wanted=kind is FAR, now=self.now), known.alpha
        ended = conclude(self.engine, self.lease, claim, result, self.policy, now=self.now)
        assert ended.order.reason is reason
        assert ended.order.alpha_from == alpha
        if kind is not TOO_FEW:
            known.note_cycle(healthy=kind is HEALTHY, now=self.now)
        if kind is HEALTHY:
            known.at_end = False
        elif ended.order.is_exhausted:
            known.at_end = True
        if reason is OrderReason.ORDERED:
            assert ended.order.job_id is not None
            assert self.row(ended.order.job_id).alpha_to == max(alpha - POLICY.alpha_step, POLICY.alpha_floor)
            self.note(ended.order.job_id, by_person=False)
        else:
            assert ended.order.job_id is None
        return ended

    def watch(self, *, healthy: bool) -> None:
        """What an evaluated cycle shows of a candidate that is on trial."""
        known = self.known
        if known.trial is None or known.works[known.trial].teacher != known.teacher:
            return
        work = known.works[known.trial]
        known.n_tried += 1
        if healthy:
            work.recovery, known.trial = JobRecovery.RECOVERED, None
            began = known.began_at
            known.began_at = max(began, ended_at(work)) if began else ended_at(work)
        elif known.n_tried >= POLICY.watch_cycles:
            work.recovery, known.trial = JobRecovery.NOT_RECOVERED, None
            if self.policy.alpha.rollback == "auto":
                known.student = work.replaced  # and is not on trial once more

    def note(self, job_id: int, *, by_person: bool) -> None:
        job = self.row(job_id)
        assert (job.teacher_version, job.student_version) == (self.known.teacher, self.known.student)
        self.known.works[job_id] = Work(
            teacher=job.teacher_version,
            alpha_to=job.alpha_to,
            at=job.enqueued_at,
            by_person=by_person,
        )

    # --- the worker

    @property
    def open(self) -> int | None:
        return next((n for n, work in self.known.works.items() if work.status in OPEN), None)

    @rule(dies=st.booleans())
    def a_worker_takes_the_job(self, *, dies: bool) -> None:
        if self.held is not None or not self.open:
            return
        with writing(self.engine) as connection:
            found = queue.claim(
                connection,
                self.monitor,
                owner="worker",
                lease_seconds=-1 if dies else 6_000,
                now=self.tick(),
            )
        assert found is not None
        assert found[0].job_id == self.open
        self.known.works[found[0].job_id].status = JobStatus.RUNNING
        self.held = None if dies else found

    @precondition(lambda self: self.held)
    @rule(passes=st.booleans(), promote=st.sampled_from(["auto", "auto", "manual"]))
    def a_candidate_is_made(self, *, passes: bool, promote: str) -> None:
        assert self.held is not None
        (job, lease), self.held = self.held, None
        self.n_students += 1
        candidate = ModelVersion(
            monitor=self.monitor,
            version=f"student-{self.n_students}",
            role=Role.STUDENT,
            uri=str(self.models),
            job_id=job.job_id,
            alpha=job.alpha_to,
        )
        gate = GateOutcome(
            gate="accuracy",
            dataset="test",
            value=0.9,
            threshold=0.9,
            result=GateResult.PASS if passes else GateResult.FAIL,
        )
        proof = Proof(
            candidate=candidate,
            incumbent=candidate,
            candidate_evaluations=(),
            incumbent_evaluations=(),
            gates=(gate,),
            calibration=calibration_of(candidate),
        )
        settled = settle(
            self.engine,
            lease,
            job,
            proof,
            self.policy.audience,
            promote="auto" if promote == "auto" else "manual",
            now=self.tick(),
        )
        work = self.known.works[job.job_id]
        work.status = JobStatus.SUCCEEDED if passes else JobStatus.REJECTED
        work.ended_at, work.decision, work.replaced = self.now, settled.decision, self.known.student
        self.known.made_by[candidate.version] = job.job_id
        if settled.decision is JobDecision.PROMOTED:
            self.known.student, self.known.trial, self.known.n_tried = candidate.version, job.job_id, 0

    @precondition(lambda self: self.held)
    @rule()
    def the_job_fails(self) -> None:
        assert self.held is not None
        (job, lease), self.held = self.held, None
        with writing(self.engine) as connection:
            queue.lock_for_write(connection, job, lease)
            queue.finish(connection, job, JobStatus.FAILED, now=self.tick(), error="no disk")
            report_job_end(connection, job, JobStatus.FAILED, "no disk", self.policy.audience, now=self.now)
            leases.release(connection, lease)
        work = self.known.works[job.job_id]
        work.status, work.ended_at = JobStatus.FAILED, self.now

    # --- people

    @rule(alpha=st.sampled_from([None, Decimal("0.4"), Decimal("0.9")]))
    def a_person_orders(self, alpha: Decimal | None) -> None:
        """Neither attempts nor floor nor cooldown hold them up."""
        expected = self.known.alpha
        with writing(self.engine) as connection:
            now, order = self.tick(), POLICY
            if self.open:
                with pytest.raises(queue.OpenJobError):
                    order_by_hand(
                        connection, self.monitor, order, reason="", alpha_to=alpha, kept=timedelta(1), now=now
                    )
                return
            job_id = order_by_hand(
                connection, self.monitor, order, reason="", alpha_to=alpha, kept=timedelta(1), now=now
            )
        job = self.row(job_id)
        step = min(expected, max(expected - POLICY.alpha_step, POLICY.alpha_floor))
        assert (job.alpha_from, job.alpha_to) == (expected, step if alpha is None else alpha)
        self.note(job_id, by_person=True)

    @rule(act=st.sampled_from(["cancel", "retry", "promote", "roll back", "train"]), age=st.integers(0, 3))
    def a_person_acts(self, act: str, age: int) -> None:
        match act:
            case "cancel":
                self.call_off()
            case "retry":
                self.retry(age)
            case "train":
                self.train_a_teacher()
            case _:
                self.choose(age, PromotionReason.MANUAL if act == "promote" else PromotionReason.ROLLBACK)

    def call_off(self) -> None:
        job_id = self.open
        if job_id is None:
            return
        with writing(self.engine) as connection:
            queue.cancel(connection, job_id, self.tick())
        work, self.held = self.known.works[job_id], None
        work.status, work.ended_at = JobStatus.CANCELLED, self.now

    def retry(self, age: int) -> None:
        if not self.known.works:
            return
        job_id = list(self.known.works)[-1 - age % len(self.known.works)]
        work = self.known.works[job_id]
        refused = (queue.JobStateError, queue.OpenJobError)
        with writing(self.engine) as connection:
            if work.status not in {JobStatus.FAILED, JobStatus.CANCELLED} or self.open:
                with pytest.raises(refused):
                    queue.retry(connection, job_id)
                return
            queue.retry(connection, job_id)
        work.status, work.ended_at = JobStatus.QUEUED, None

    def choose(self, age: int, reason: PromotionReason) -> None:
        """Theirs is a ladder of its own, and nobody watches it."""
        students = ["student-1", *self.known.made_by]
        version = students[-1 - age % len(students)]
        if version == self.known.student:
            return
        maker = self.known.made_by.get(version)
        self.serve(Role.STUDENT, version, reason, self.known.works[maker].alpha_to if maker else None)

    def train_a_teacher(self) -> None:
        number = int(self.known.teacher.partition("-")[2]) + 1
        self.known.teacher = f"teacher-{number}"
        self.serve(Role.TEACHER, self.known.teacher, PromotionReason.CONFIGURED)

    # --- what holds at any time

    @invariant()
    def the_rows_are_what_has_happened(self) -> None:
        with reading(self.engine) as connection:
            found = {job.job_id: job for job in queue.of_monitor(connection, self.monitor)}
        assert {n: (job.status, job.decision, job.recovery) for n, job in found.items()} == {
            n: (work.status, work.decision, work.recovery) for n, work in self.known.works.items()
        }
        assert sum(job.status in OPEN for job in found.values()) <= 1

    @invariant()
    def no_alpha_is_below_the_floor(self) -> None:
        with reading(self.engine) as connection:
            own = (jobs.c.monitor == self.monitor, jobs.c.rule.is_not(None))
            assert all(
                alpha >= POLICY.alpha_floor
                for alpha in connection.scalars(select(jobs.c.alpha_to).where(*own))
            )

    @invariant()
    def the_end_of_the_ladder_is_told(self) -> None:
        """Critical, and until a healthy cycle."""
        with reading(self.engine) as connection:
            own = (
                incidents.c.monitor == self.monitor,
                incidents.c.kind == IncidentKind.RETRAIN_TEACHER,
                incidents.c.state == IncidentState.FIRING,
            )
            found = list(connection.scalars(select(incidents.c.severity).where(*own)))
        assert found == (["critical"] if self.known.at_end else [])


def test_what_is_ordered_whatever_happens(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    run_state_machine_as_test(
        type("Machine", (Ladder,), {"engine": engine, "models": tmp_path}),
        settings=settings(
            max_examples=settings().max_examples // (8 if engine.dialect.name == "sqlite" else 16),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
