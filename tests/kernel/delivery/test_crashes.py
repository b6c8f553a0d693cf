"""Stories of processes that die and of a database that goes away: what was stored is handled after all, once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text

Workers = Callable[[int], None]
Wait = Callable[..., Awaitable[None]]

# A worker that takes the message, says so, and never comes to an end.
HANGING_WORKER = """
import asyncio, importlib.util, sys
from pathlib import Path
from uuid import UUID
from tollhouse.store.store import Store
from tollhouse.testing.context import MemoryState

conftest, dsn, folder, tenant, bot = sys.argv[1:]
spec = importlib.util.spec_from_file_location("stage", conftest)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

async def hang(who, request):
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    stage = module.Stage(Store(dsn), Path(folder), [UUID(tenant)])
    stage.connections[UUID(bot)] = (UUID(tenant), stage.messenger, MemoryState())
    stage.answer = hang
    await stage.new_jobs().run(asyncio.Event())

asyncio.run(main())
"""


async def test_a_message_whose_worker_was_killed_is_answered_by_another(
    stage: Any, bot: UUID, tenant_id: UUID, cluster: Any, tmp_path: Path, at_work: Workers, wait_until: Wait
) -> None:
    conftest = str(Path(__file__).with_name("conftest.py"))
    arguments = [conftest, cluster.dsn, str(tmp_path), str(tenant_id), str(bot)]
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING_WORKER, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        await stage.write(bot, "m1", "hello")
        await stage.write(bot, "m2", "are you there?")
        assert victim.stdout is not None
        assert await asyncio.wait_for(victim.stdout.readline(), 30) == b"begun\n"
    finally:
        victim.send_signal(signal.SIGKILL)
        await victim.communicate()
    assert [(row["state"], row["attempts"]) for row in await stage.inbox(tenant_id)] == [("new", 1), ("new", 0)]
    async with stage.store.operator() as conn:  # half a minute without a heartbeat passes
        await conn.execute(text("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '30 seconds'"))
    at_work(1)

    async def both_sent() -> bool:
        return bool(await stage.sent(bot) == ["You said: hello", "You said: are you there?"])

    await wait_until(both_sent, 30)
    assert [(row["state"], row["attempts"]) for row in await stage.inbox(tenant_id)] == [("done", 2), ("done", 1)]


async def test_a_worker_outlives_a_database_that_drops_it(
    stage: Any, bot: UUID, tenant_id: UUID, cluster: Any, at_work: Workers, wait_until: Wait
) -> None:
    at_work(1)
    await stage.write(bot, "m1", "before")

    async def sent(number: int) -> bool:
        return len(await stage.sent(bot)) == number

    await wait_until(lambda: sent(1))
    admin = await asyncpg.connect(cluster.superuser_dsn)
    database = cluster.dsn.split("@/", 1)[1].split("?")[0]
    kill = """
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = $1 AND application_name = 'tollhouse jobs'
    """
    assert await admin.fetchval(kill, database) >= 2
    await admin.close()
    await stage.write(bot, "m2", "after")
    await wait_until(lambda: sent(2), 30)


async def test_a_worker_waits_for_a_database_that_is_not_there(cluster: Any) -> None:
    from tollhouse.store import jobs as queue

    stop = asyncio.Event()
    app = queue.job_app("postgresql://tollhouse@/gone?host=/nowhere&port=1")
    worker = asyncio.create_task(queue.run_worker(app, stop, concurrency=1))
    done, _ = await asyncio.wait({worker}, timeout=0.5)
    assert not done
    stop.set()
    await asyncio.wait_for(worker, 15)
