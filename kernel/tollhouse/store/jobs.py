"""The job queue: Procrastinate on our own database, and a worker that outlives the database's absences.

What has to be known about it (each was measured):

- Jobs are deferred by the SQL function ``defer_job`` in the caller's transaction. ``queueing_lock`` is never used: its conflict
  kills the caller's transaction, or loses a wake-up.
- A running job without a retry strategy is lost by every clean stop, so every task has one (:class:`Retry`).
- When a lock becomes free nobody is notified, and a retry is not notified either: the next poll finds such jobs.
- A worker whose connection breaks ends; :func:`run_worker` begins another one.
"""

from __future__ import annotations

import asyncio
import logging

import procrastinate
from procrastinate import exceptions
from procrastinate.jobs import Job
from psycopg import Error as DriverError
from psycopg_pool import PoolTimeout

from tollhouse.store.scope import OPERATOR_ROLE

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
STALLED_SECONDS = 20.0
POLL_SECONDS = 2.0
STOP_SECONDS = 10.0
AGAIN_SECONDS = STOP_SECONDS + 2.0

QUEUE_DOWN = (exceptions.ConnectorException, exceptions.AppNotOpen, DriverError, PoolTimeout, OSError)


class TryAgain(Exception):
    """Raised by a task: run it again in so many seconds. What went wrong is recorded elsewhere."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.seconds = seconds


class Retry(procrastinate.BaseRetryStrategy):
    """When a job is run again: at once after a clean stop, as asked by :class:`TryAgain`, else after growing pauses.

    ``attempts``: how often a job may fail by other exceptions; None for ever (the task itself knows when to give up).
    """

    def __init__(self, attempts: int | None = None, *, first: int = 1, longest: int = 300) -> None:
        self.attempts = attempts
        self.first = first
        self.longest = longest

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> procrastinate.RetryDecision | None:
        if isinstance(exception, exceptions.JobAborted | asyncio.CancelledError):
            return procrastinate.RetryDecision()
        if isinstance(exception, TryAgain):
            return procrastinate.RetryDecision(retry_in={"seconds": round(exception.seconds)})
        if self.attempts is not None and job.attempts >= self.attempts:
            return None
        return procrastinate.RetryDecision(retry_in={"seconds": min(self.first * 2 ** min(job.attempts, 20), self.longest)})


def job_app(dsn: str, *, application: str = "tollhouse jobs", pool_size: int = 4) -> procrastinate.App:
    """The queue at ``dsn``. Connects when a worker runs; as the operator, whose role comes with the connection itself."""
    limits = {
        "role": OPERATOR_ROLE,
        "statement_timeout": "10s",
        "lock_timeout": "8s",
        "idle_in_transaction_session_timeout": "10s",
    }
    options = " ".join(f"-c {name}={value}" for name, value in limits.items())
    connector = procrastinate.PsycopgConnector(
        conninfo=dsn,
        min_size=1,
        max_size=pool_size,
        timeout=10.0,
        reconnect_timeout=60.0,
        kwargs={"options": options, "application_name": application, "connect_timeout": 5},
    )
    return procrastinate.App(connector=connector)


async def run_worker(app: procrastinate.App, stop: asyncio.Event, *, concurrency: int, name: str = "tollhouse") -> None:
    """Work until ``stop`` is set; when the database goes away, begin again when it is back.

    A clean stop waits a moment for running jobs and gives back to the queue what is not finished then.
    """
    failures = 0
    while not stop.is_set():
        worker = asyncio.create_task(_work(app, concurrency, name))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({worker, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            ended_by_itself = worker.done()
            while not worker.done():  # a cancellation that comes while the queue is being opened can get lost
                worker.cancel()
                await asyncio.wait({worker}, timeout=AGAIN_SECONDS)
            outcome = (await asyncio.gather(worker, return_exceptions=True))[0]
        if isinstance(outcome, Exception) and not isinstance(outcome, QUEUE_DOWN):
            raise outcome
        if ended_by_itself and not stop.is_set():
            failures = min(failures + 1, 5)
            log.warning("the job worker lost the database and begins again%s", f": {outcome}" if outcome else "")
            await _unless(stop, min(0.5 * 2**failures, 10.0))


async def rescue(app: procrastinate.App, *, seconds: float = STALLED_SECONDS) -> int:
    """Give the jobs of dead workers back to the queue; how many."""
    rescued = 0
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=seconds):
        try:
            await app.job_manager.retry_job(job)
            rescued += 1
        except exceptions.ConnectorException:  # somebody else was faster, or the job has ended after all
            log.info("job %s was not stalled any more", job.id)
    if rescued:
        log.warning("%s jobs of dead workers go back to the queue", rescued)
    return rescued


async def forget_finished(app: procrastinate.App, *, hours: int = 24 * 14) -> None:
    """Delete jobs that ended long ago."""
    await app.job_manager.delete_old_jobs(nb_hours=hours, include_failed=True, include_cancelled=True, include_aborted=True)


async def _work(app: procrastinate.App, concurrency: int, name: str) -> None:
    try:
        await app.open_async()
        await app.run_worker_async(
            name=name,
            concurrency=concurrency,
            install_signal_handlers=False,
            listen_notify=True,
            fetch_job_polling_interval=POLL_SECONDS,
            update_heartbeat_interval=HEARTBEAT_SECONDS,
            stalled_worker_timeout=STALLED_SECONDS,
            shutdown_graceful_timeout=STOP_SECONDS,
            delete_jobs="successful",
        )
    finally:
        await app.close_async()  # also after an opening that failed: a half-open pool would be kept for ever


async def _unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
