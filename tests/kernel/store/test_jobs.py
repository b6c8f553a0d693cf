"""When a job is run again, and that jobs of dead workers go back."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from procrastinate import exceptions
from procrastinate.jobs import Job
from sqlalchemy import text

from tollhouse.store import jobs
from tollhouse.store.store import Store


def _job(attempts: int) -> Job:
    return Job(id=1, queue="q", lock=None, queueing_lock=None, task_name="t", attempts=attempts)


@pytest.mark.parametrize("error", [exceptions.JobAborted(), asyncio.CancelledError()])
def test_a_stopped_job_goes_back_at_once_whatever_its_attempts(error: BaseException) -> None:
    decision = jobs.Retry(1).get_retry_decision(exception=error, job=_job(99))
    assert decision is not None
    assert decision.retry_at is None


def test_failures_are_retried_as_often_as_said() -> None:
    assert jobs.Retry(2).get_retry_decision(exception=ValueError(), job=_job(1)) is not None
    assert jobs.Retry(2).get_retry_decision(exception=ValueError(), job=_job(2)) is None
    assert jobs.Retry().get_retry_decision(exception=ValueError(), job=_job(10_000)) is not None
    assert jobs.Retry(1).get_retry_decision(exception=jobs.TryAgain(3), job=_job(5)) is not None


async def test_jobs_of_dead_workers_go_back_and_those_of_live_ones_stay(store: Store, tenant_id: UUID) -> None:
    make = """
        WITH w AS (INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - make_interval(secs => :age)) RETURNING id)
        INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id) SELECT 'q', :name, 'doing', w.id FROM w
    """
    names = {"dead": f"dead-{tenant_id}", "live": f"live-{tenant_id}"}
    async with store.operator() as conn:
        await conn.execute(text(make), {"age": 60.0, "name": names["dead"]})
        await conn.execute(text(make), {"age": 1.0, "name": names["live"]})
    app = jobs.job_app(store.dsn)
    await app.open_async()
    try:
        assert await jobs.rescue(app) >= 1
        assert await jobs.rescue(app) == 0
    finally:
        await app.close_async()
    mine = {"names": list(names.values())}
    find = text("SELECT task_name, status::text, attempts FROM procrastinate_jobs WHERE task_name = any(:names)")
    async with store.operator() as conn:
        rows = {row.task_name: (row.status, row.attempts) for row in await conn.execute(find, mine)}
        await conn.execute(
            text("DELETE FROM procrastinate_jobs WHERE task_name = any(:names)"), {"names": list(names.values())}
        )
    assert rows == {names["dead"]: ("todo", 1), names["live"]: ("doing", 0)}
