"""What runs beside requests: tasks can be stopped, partitions are watched, a worker starts or says why."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tollhouse import worker
from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings
from tollhouse.store import jobs as queue
from tollhouse.wiring.jobs import JobHandlers, Jobs, task_names
from tollhouse.wiring.running import run


def test_every_task_has_a_retry_policy(stage: Any) -> None:
    app = stage.new_jobs().app
    assert task_names(app) >= {
        "inbox.handle",
        "jobs.rescue",
        "usage.sweep",
        "usage.partitions",
        "reports.rollup",
        "billing.renew",
    }
    for name in task_names(app):
        assert isinstance(app.tasks[name].retry_strategy, queue.Retry), name
        assert app.tasks[name].queueing_lock is None, name  # its conflict would kill somebody's transaction


async def test_late_periodic_jobs_end_at_once(stage: Any) -> None:
    ran = []

    async def chore() -> None:
        ran.append(1)

    async def alarm(code: str, message: str) -> None:
        raise AssertionError

    jobs = Jobs(stage.store, JobHandlers(stage.job, chore, chore, chore, chore, chore, chore, alarm), stage.relay)
    await jobs.app.tasks["usage.sweep"].func(timestamp=int(time.time()) - 600)
    assert ran == []
    await jobs.app.tasks["usage.sweep"].func(timestamp=int(time.time()))
    assert ran == [1]


async def test_periodic_tasks_run(stage: Any) -> None:
    swept = asyncio.Event()

    async def sweep() -> None:
        swept.set()

    async def chore() -> None:
        return None

    async def alarm(code: str, message: str) -> None:
        return None

    stop = asyncio.Event()
    jobs = Jobs(stage.store, JobHandlers(stage.job, sweep, chore, chore, chore, chore, chore, alarm), stage.relay)
    running = asyncio.create_task(jobs.run(stop))
    await asyncio.wait_for(swept.wait(), 30)
    stop.set()
    await asyncio.wait_for(running, 15)


async def test_missing_partitions_are_an_alarm(stage: Any) -> None:
    alarms: list[tuple[str, str]] = []

    async def alarm(code: str, message: str) -> None:
        alarms.append((code, message))

    async def chore() -> None:
        return None

    jobs = Jobs(stage.store, JobHandlers(stage.job, chore, chore, chore, chore, chore, chore, alarm), stage.relay)
    await jobs.ensure_partitions()
    assert await jobs.partitions_ahead() == 12
    assert alarms == []

    class OneMonthLeft(Jobs):
        async def partitions_ahead(self) -> int:
            return 1

    await OneMonthLeft(stage.store, jobs.handlers, stage.relay).ensure_partitions()
    assert [code for code, _ in alarms] == ["partitions_missing"]


class Runtime:
    """A runtime whose jobs wait for the stop."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @property
    def jobs(self) -> Runtime:
        return self

    async def start(self) -> None:
        self.seen.append("start")

    async def run(self, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 10)
        self.seen.append("stopped")

    async def close(self) -> None:
        self.seen.append("close")


def test_a_worker_runs_until_it_is_told_to_stop(cluster: Any, tmp_path: Path) -> None:
    runtime = Runtime()

    async def build(settings: Settings, dsn: str) -> Runtime:
        runtime.seen.append(dsn)
        return runtime

    run(worker.work(Settings(database_url=cluster.dsn, data_dir=tmp_path), build), service=True)
    assert runtime.seen == [cluster.dsn, "start", "stopped", "close"]


async def test_a_worker_never_starts_a_database(tmp_path: Path) -> None:
    async def build(settings: Settings, dsn: str) -> Runtime:
        raise AssertionError

    with pytest.raises(ConfigError) as refused:
        await worker.work(Settings(database_url=None, data_dir=tmp_path), build)
    assert refused.value.detail == (
        f"no embedded database runs in {tmp_path}: start `tollhouse serve` first, or set DATABASE_URL"
    )
    assert os.listdir(tmp_path) == []


async def test_a_worker_finds_the_embedded_database(cluster: Any, tmp_path: Path) -> None:
    host = Path(cluster.dsn.split("host=")[1].split("&")[0])
    name = cluster.dsn.split("@/", 1)[1].split("?")[0]
    found = await worker.database_dsn(Settings(database_url=None, data_dir=host.parent.parent), database=name)
    assert found == cluster.dsn
    with pytest.raises(ConfigError):
        await worker.database_dsn(Settings(database_url=None, data_dir=host.parent.parent), database="no_such_database")


async def test_the_worker_connects_as_the_operator(stage: Any) -> None:
    app = queue.job_app(stage.store.dsn)
    await app.open_async()
    found = await app.connector.execute_query_one_async("SELECT current_user::text AS who")
    await app.close_async()
    assert found == {"who": "tollhouse_operator"}
    async with stage.store.transaction(next(iter(stage.tenants))) as conn:
        with pytest.raises(Exception, match="permission denied"):
            await conn.execute(text("SELECT * FROM procrastinate_jobs"))
