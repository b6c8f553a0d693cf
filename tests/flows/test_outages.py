"""A database that goes away: a clear answer until it is back, and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Cluster
from tests.flows.asking import TURNS, hello, problem
from tests.flows.driver import Client
from tests.flows.furnished import furnish, open_house
from tollhouse.store.embedded import EmbeddedServer
from tollhouse.store.roles import provision_embedded
from tollhouse.usage.verify import verify
from tollhouse.wiring import database


async def test_connections_that_the_database_cuts_are_replaced(empty_dsn: str, cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(empty_dsn, tmp_path) as house:
        shop = await furnish(house, "cut")
        before = await verify(house.store, shop.tenant_id)  # what was furnished by hand adds up to nothing
        user = Client.program(house.app, shop.slug, shop.tokens["plain_key"])
        assert (await user.post(TURNS, hello(shop))).status == 200
        conn = await asyncpg.connect(cluster.superuser_dsn)
        name = empty_dsn.split("@/", 1)[1].split("?")[0]
        await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await conn.close()
        answers = [await user.post(TURNS, hello(shop)) for _ in range(30)]
        assert {answer.status for answer in answers} <= {200, 503}
        for answer in answers:
            if answer.status == 503:
                problem(answer)
                assert answer.headers["retry-after"]
        assert [answer.status for answer in answers[-5:]] == [200] * 5
        assert await verify(house.store, shop.tenant_id) == before


async def test_a_database_that_is_away_is_a_503_until_it_is_back(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "db", settings={"fsync": "off"})  # commits reach the kernel, which survives
    address = await server.start()
    try:
        await provision_embedded(address.dsn("postgres", "postgres"), "own")
        dsn = address.dsn("tollhouse", "own")
        await asyncio.to_thread(database.upgrade, dsn)
        async with open_house(dsn, tmp_path) as house:
            shop = await furnish(house, "away")
            before = await verify(house.store, shop.tenant_id)  # what was furnished by hand adds up to nothing
            user = Client.program(house.app, shop.slug, shop.tokens["plain_key"])
            browser = Client.browser(house.app, shop.slug, shop.tokens["plain"])
            assert (await user.post(TURNS, hello(shop))).status == 200
            await _kill(tmp_path / "db")
            for _ in range(2):
                away = await user.post(TURNS, hello(shop))
                assert problem(away)[0] == 503
                assert away.headers["retry-after"]
                assert (await browser.get("/usage")).status == 503
                assert (await user.get("/healthz")).status == 200
                assert (await user.get("/readyz")).status == 503
            assert await server.start() == address
            async with asyncio.timeout(20):
                while (await user.post(TURNS, hello(shop))).status != 200:  # noqa: ASYNC110 - asked as a client would
                    await asyncio.sleep(0.1)
            assert (await browser.get("/usage")).status == 200
            async with asyncio.timeout(5):
                while (await user.get("/readyz")).status != 200:  # noqa: ASYNC110 - asked as a probe would
                    await asyncio.sleep(0.1)
            assert await verify(house.store, shop.tenant_id) == before
    finally:
        await _kill(tmp_path / "db")
        await server.stop_if_unused()


async def test_a_database_that_gives_no_answer_is_a_503_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollhouse.store.store.ANSWER_SECONDS", 0.5)
    server = EmbeddedServer(tmp_path / "db", settings={"fsync": "off"})
    address = await server.start()
    try:
        await provision_embedded(address.dsn("postgres", "postgres"), "own")
        dsn = address.dsn("tollhouse", "own")
        await asyncio.to_thread(database.upgrade, dsn)
        async with open_house(dsn, tmp_path) as house:
            shop = await furnish(house, "frozen")
            before = await verify(house.store, shop.tenant_id)  # what was furnished by hand adds up to nothing
            user = Client.program(house.app, shop.slug, shop.tokens["plain_key"])
            assert (await user.post(TURNS, hello(shop))).status == 200
            frozen = _processes(tmp_path / "db")
            _signal(frozen, signal.SIGSTOP)
            try:
                async with asyncio.timeout(15):
                    answers = await asyncio.gather(*(user.post(TURNS, hello(shop)) for _ in range(20)))
                    probed = await user.get("/readyz")
                    assert (probed.status, probed.json["codes"]) == (503, ["database_silent"])
                    assert (await user.get("/healthz")).status == 200
            finally:
                _signal(frozen, signal.SIGCONT)
            assert {problem(answer)[0] for answer in answers} == {503}
            async with asyncio.timeout(20):
                while (await user.post(TURNS, hello(shop))).status != 200:  # noqa: ASYNC110 - asked as a client would
                    await asyncio.sleep(0.1)
            assert await verify(house.store, shop.tenant_id) == before
    finally:
        await _kill(tmp_path / "db")
        await server.stop_if_unused()


def _processes(folder: Path) -> list[int]:
    """Our own server: its postmaster and all that this one has started."""
    postmaster = int((folder / "pg" / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # a process that ended meanwhile
            os.kill(process, number)


async def _kill(folder: Path) -> None:
    """Stop our own server under everybody who is connected, as a failure of its machine would."""
    pid = int((folder / "pg" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    async with asyncio.timeout(20):
        while os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC110, ASYNC240 - a process that is no child cannot be waited for
            await asyncio.sleep(0.02)
