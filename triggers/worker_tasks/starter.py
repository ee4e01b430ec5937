"""The start and the supervision of worker tasks in ECS, one step at a time."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlalchemy import Connection, Engine
from structlog.typing import FilteringBoundLogger

from db import leases, queue, worker_tasks
from db.connection.session import reading, writing
from db.records import Job, WorkerTask
from db.states import JobStatus, TaskEnd
from triggers.incidents.announce import Audience
from triggers.incidents.job_outcome import report_job_end
from triggers.worker_tasks.ecs import Ecs, EcsError
from triggers.worker_tasks.report import Started
from triggers.worker_tasks.steps import (
    Act,
    Ended,
    Step,
    TaskSituation,
    decide,
    decide_unseen,
    given_up,
    next_step,
    refused,
)

_log = structlog.get_logger()


@dataclass(kw_only=True)
class Starter:
    """The starter of one monitor, which has one open job at a time; its state is in the database."""

    engine: Engine
    audience: Audience
    ecs: Ecs
    _owner: str = field(default_factory=leases.new_owner, init=False)

    def tend(self, now: datetime) -> Act:
        """Take one step, with at most one call to ECS, or two if a task has to be stopped."""
        with reading(self.engine) as connection:
            job = queue.open_job(connection, self.audience.monitor)
            situation = _situation(connection, job.job_id) if job else None
            left = worker_tasks.of_closed_jobs(connection, self.audience.monitor, [job.job_id] if job else [])
        self._let_go(left, now)
        if job is None or situation is None:
            return Act.NONE_WANTED
        step = next_step(situation, now)
        log = _log.bind(monitor=job.monitor, job_id=job.job_id)
        match step:
            case Step(act=Act.ASK):
                self._ask(job, now, log)
            case Step(act=Act.LOOK, task=WorkerTask() as task):
                self._look(task, now, log.bind(task=task.arn))
            case Step(act=Act.WRITE_OFF, task=WorkerTask() as task):
                ended = refused(TaskEnd.UNANSWERED, "the daemon that asked ECS for it is gone", situation)
                self._end(task.task_id, job.job_id, ended, now, log)
            case Step(act=Act.GIVE_UP):
                self._give_up(job, now, log)
        return step.act

    def _ask(self, job: Job, now: datetime, log: FilteringBoundLogger) -> None:
        with writing(self.engine) as connection:
            before = _situation(connection, job.job_id)
            step = next_step(before, now)
            if step.act is not Act.ASK:  # a worker has claimed the job, or another daemon is asking
                return
            token = step.token or uuid.uuid4().hex
            task_id = worker_tasks.ask(connection, job.job_id, token=token, turn=before.turn, now=now)
        if task_id is None:
            return
        answer = self.ecs.start(job, token)
        if not isinstance(answer, Started):
            self._end(task_id, job.job_id, refused(answer.reason, answer.detail, before), now, log)
            return
        with writing(self.engine) as connection:
            in_time = worker_tasks.accept(
                connection, task_id, arn=answer.arn, cluster=answer.cluster, status=answer.status, now=now
            )
        log.info("worker task started", task=answer.arn, status=answer.status, in_time=in_time)

    def _look(self, task: WorkerTask, now: datetime, log: FilteringBoundLogger) -> None:
        report, ended = None, None
        try:
            report = self.ecs.look(task)
        except EcsError as error:
            log.warning("worker task not seen", error=str(error))
            situation = self._situation_now(task)  # a worker may have claimed the job while ECS was asked
            ended = decide_unseen(task, situation, now, status=task.last_status)
        else:
            ended = decide(task, report, self._situation_now(task), now, self.ecs.container)
        if ended is None:
            status = report.status if report else None
            with writing(self.engine) as connection:
                worker_tasks.record_poll(connection, task, status=status, now=now)
        elif self._end(task.task_id, task.job_id, ended, now, log) and ended.stop:
            self._stop(task, ended, log)

    def _stop(self, task: WorkerTask, ended: Ended, log: FilteringBoundLogger) -> None:
        try:
            self.ecs.stop(task, f"redistill: {ended.detail}")
        except EcsError as error:
            log.warning("worker task not stopped", error=str(error))

    def _end(self, task_id: int, job_id: int, ended: Ended, now: datetime, log: FilteringBoundLogger) -> bool:
        with writing(self.engine) as connection:
            is_first = worker_tasks.end(connection, task_id, ended.reason, ended.detail, now)
            if is_first and ended.job_error:
                queue.note_error(connection, job_id, ended.job_error)
        if is_first:
            say = log.warning if ended.job_error else log.info
            say("worker task ended", reason=ended.reason.value, detail=ended.detail)
        return is_first

    def _give_up(self, job: Job, now: datetime, log: FilteringBoundLogger) -> None:
        with writing(self.engine) as connection:
            situation = _situation(connection, job.job_id)
            if next_step(situation, now).act is not Act.GIVE_UP:
                return
            error = given_up(situation.failed)
            if not queue.give_up(connection, job, owner=self._owner, error=error, now=now):
                return
            report_job_end(connection, job, JobStatus.FAILED, error, self.audience, now=now)
        log.error("job given up", error=error)

    def _let_go(self, tasks: tuple[WorkerTask, ...], now: datetime) -> None:
        """End the tasks of ended jobs: a task that comes too late finds no job, and exits by itself."""
        ended = Ended(reason=TaskEnd.JOB_ENDED, detail="the job has ended")
        for task in tasks:
            log = _log.bind(monitor=self.audience.monitor, job_id=task.job_id, task=task.arn)
            self._end(task.task_id, task.job_id, ended, now, log)

    def _situation_now(self, task: WorkerTask) -> TaskSituation:
        with reading(self.engine) as connection:
            return _situation(connection, task.job_id)


def _situation(connection: Connection, job_id: int) -> TaskSituation:
    job = queue.get(connection, job_id)
    return TaskSituation(
        status=job.status,
        is_abandoned=queue.is_abandoned(connection, job),
        turn=leases.token_of(connection, queue.lease_name(job_id)),
        tasks=worker_tasks.of_job(connection, job_id),
    )
