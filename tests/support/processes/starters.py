"""A daemon that starts workers in ECS, one step at a time, while time passes as a test says."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from db import leases, queue, worker_tasks
from db.connection.session import reading, writing
from db.records import Job, Lease, WorkerTask
from db.states import JobStatus, TaskEnd
from tests.support.records.cycles import MONITOR, make_audience
from tests.support.records.factories import START, make_new_job
from tests.support.servers.ecs import CLUSTER, CONTAINER, DEFINITION
from triggers.worker_tasks.ecs import Ecs
from triggers.worker_tasks.settings import EcsSection
from triggers.worker_tasks.starter import Starter
from triggers.worker_tasks.steps import Act

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
SECTION: Final = EcsSection(
    cluster=CLUSTER,
    task_definition=DEFINITION,
    container=CONTAINER,
    subnets=("subnet-1", "subnet-2"),
    security_groups=("sg-1",),
    launch_type="FARGATE",
)


@dataclass(kw_only=True)
class Office:
    """A monitor's jobs and the daemon that starts workers for them; time passes as a test says."""

    engine: Engine
    section: EcsSection = SECTION
    now: datetime = START
    starter: Starter = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another daemon takes over."""
        self.starter = Starter(engine=self.engine, audience=make_audience(), ecs=Ecs(self.section))

    def tend(self, after: timedelta = timedelta(0)) -> Act:
        self.now += after
        return self.starter.tend(self.now)

    def order(self) -> int:
        with writing(self.engine) as connection:
            return queue.enqueue(connection, make_new_job(MONITOR), self.now)

    def job(self, job_id: int) -> Job:
        with reading(self.engine) as connection:
            return queue.get(connection, job_id)

    def tasks(self, job_id: int) -> tuple[WorkerTask, ...]:
        with reading(self.engine) as connection:
            return worker_tasks.of_job(connection, job_id)

    def ends(self, job_id: int) -> list[TaskEnd | None]:
        return [task.reason for task in self.tasks(job_id)]

    def take(self, *, seconds: float = 600) -> tuple[Job, Lease]:
        """A worker takes the job."""
        with writing(self.engine) as connection:
            found = queue.claim(connection, MONITOR, owner="worker", lease_seconds=seconds, now=self.now)
        assert found is not None
        return found

    def give_back(self, job: Job, lease: Lease, error: str | None = None) -> None:
        with writing(self.engine) as connection:
            queue.requeue(connection, job, error=error)
            leases.release(connection, lease)

    def finish(self, job: Job, lease: Lease) -> None:
        with writing(self.engine) as connection:
            queue.finish(connection, job, JobStatus.REJECTED, now=self.now)
            leases.release(connection, lease)

    def tended_until(self, act: Act, *, every: timedelta = 5 * SECOND) -> timedelta:
        """Tend again and again until that is what was done; how long it took."""
        began = self.now
        while self.tend(every) is not act:
            assert self.now - began < timedelta(hours=12)
        return self.now - began
