"""What dies half-way, the server or whoever started it, is no obstacle to the next start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import asyncpg
import pytest

from tests.kernel.store.embedded.conftest import Make, ask, line_of, other_process, postmaster
from tollhouse.store.embedded import embedded_available

pytestmark = pytest.mark.skipif(embedded_available() is not None, reason=str(embedded_available()))


async def test_a_killed_postmaster_is_started_again(used: Path, make: Make) -> None:
    server = make()
    address = await server.start()
    await ask(address, "create table kept as select 7 as n")
    os.kill(postmaster(server), signal.SIGKILL)
    again = await make().start()
    assert await ask(again, "select n from kept") == 7


async def test_a_server_that_dies_under_watch_comes_back_by_itself(used: Path, make: Make) -> None:
    server = make()
    address = await server.start()
    begun = "select pg_postmaster_start_time()::text"
    before = now = await ask(address, begun)
    watch = asyncio.create_task(server.watch(every=0.05))
    os.kill(postmaster(server), signal.SIGKILL)
    async with asyncio.timeout(30):
        while now == before:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InternalClientError):
                now = await ask(address, begun)
            await asyncio.sleep(0.02)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_stale_pid_files_are_no_obstacle(used: Path, make: Make) -> None:
    server = make()
    living = os.getppid() if os.geteuid() else os.getpid()
    for content in (f"{living}\n/elsewhere\n1\n5432\nsocket\n\n\nready\n", "", "12"):
        (server.cluster / "socket").mkdir(exist_ok=True)
        for name in ("postmaster.pid", "socket/.s.PGSQL.5432.lock"):
            (server.cluster / name).write_text(content)
        assert await ask(await server.start(), "select 1") == 1
        assert await server.stop_if_unused()


async def test_a_half_made_cluster_is_made_again(make: Make, data_dir: Path) -> None:
    (data_dir / "pg.new" / "base").mkdir(parents=True)
    assert await ask(await make().start(), "select 1") == 1
    assert not (data_dir / "pg.new").exists()


async def test_a_killed_client_process_leaves_nothing(make: Make, used: Path) -> None:
    child = await other_process(used)
    started = await line_of(child)
    server = make()
    address = await server.start()
    assert await ask(address, "select pg_postmaster_start_time()::text") == started
    child.kill()
    await child.wait()
    assert await ask(address, "select 1") == 1, "the server outlives the process that launched it"
    assert await server.stop_if_unused()


async def appears(path: Path) -> None:
    async with asyncio.timeout(10):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 (another thread makes it)
            await asyncio.sleep(0.005)


async def test_a_cancelled_start_leaves_no_server_and_no_obstacle(make: Make, data_dir: Path) -> None:
    hurried = asyncio.create_task(make().start())
    await appears(data_dir / "pg.new")
    hurried.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hurried
    assert await make().stop_if_unused()
    assert not (data_dir / "pg" / "postmaster.pid").exists()
    assert await ask(await make().start(), "select 1") == 1
