"""The embedded server's life: its first start and the next, shared use, and the end when nobody uses it any more."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import asyncpg
import pytest

from tests.kernel.store.embedded.conftest import Make, ask, connected, end, line_of, other_process, postmaster
from tollhouse.store.embedded import EmbeddedAddress, embedded_available

pytestmark = pytest.mark.skipif(embedded_available() is not None, reason=str(embedded_available()))


async def test_first_start_second_start_and_stop(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    server = make()
    first = await server.start()
    started = await ask(first, "select pg_postmaster_start_time()")
    assert await make().start() == first == await server.start()
    assert await ask(first, "select pg_postmaster_start_time()") == started
    assert os.getsid(postmaster(server)) != os.getsid(0), "a Ctrl-C in the terminal does not reach it"
    for setting, value in {
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "max_connections": "200",
        "fsync": "off",
        "listen_addresses": "",
    }.items():
        assert await ask(first, f"show {setting}") == value
    assert await ask(first, "select datlocale from pg_database where datname = current_database()") == "C.UTF-8"
    assert capfd.readouterr() == ("", "")


async def test_data_survives_a_stop(used: Path, make: Make) -> None:
    server = make()
    address = await server.start()
    await ask(address, "create table kept as select 7 as n")
    assert await server.stop_if_unused()
    assert await server.stop_if_unused(), "stopping what is stopped is no error"
    assert await ask(await server.start(), "select n from kept") == 7


async def test_a_connected_client_keeps_the_server(used: Path, make: Make) -> None:
    server = make()
    address = await server.start()
    client = await connected(address)
    assert not await server.stop_if_unused()
    assert await client.fetchval("select 1") == 1
    await client.close()
    assert await server.stop_if_unused()
    with pytest.raises((ConnectionError, FileNotFoundError)):
        await connected(address)


async def test_a_user_that_is_not_connected_yet_keeps_the_server(used: Path, make: Make) -> None:
    early, late = make(), make()
    await early.start()
    address = await late.start()
    assert not await early.stop_if_unused()
    assert await ask(address, "select 1") == 1
    assert await late.stop_if_unused()


async def test_two_processes_start_at_once(make: Make, data_dir: Path) -> None:
    children = [await other_process(data_dir) for _ in range(2)]
    said = [await line_of(child) for child in children]
    assert said[0] == said[1] != "", "both talk to the same server"
    assert await end(children[0]) == "False"
    assert await end(children[1]) == "True"
    assert not (make().cluster / "postmaster.pid").exists()


async def test_only_the_private_socket_listens(make: Make) -> None:
    server = make()
    address = await server.start()
    for folder in (server.data_dir, server.cluster, address.socket_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((address.socket_dir / f".s.PGSQL.{address.port}").stat().st_mode) == 0o700
    assert stat.S_IMODE(server.log.stat().st_mode) == 0o600
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncpg.connect(host="127.0.0.1", port=address.port, user="postgres", ssl=False, timeout=5)
    assert await ask(address, "select inet_server_port() is null")


async def test_a_path_too_long_for_a_socket_gets_an_alias(make: Make, data_dir: Path, template: Path) -> None:
    server = make(data_dir / ("long" * 20) / 'it\'s $(a) "folder"')
    address = await server.start()
    assert len(str(address.socket_dir)) < 90
    assert address.socket_dir.resolve() == server.cluster / "socket"
    assert stat.S_IMODE(address.socket_dir.parent.stat().st_mode) == 0o700
    assert await ask(address, "select 1") == 1
    assert await server.stop_if_unused()
    assert not address.socket_dir.parent.exists()


def test_the_address_as_url() -> None:
    address = EmbeddedAddress(Path("/a b/pg/socket"), 5432)
    assert address.dsn("own er", "data/base") == "postgresql://own%20er@/data%2Fbase?host=/a%20b/pg/socket&port=5432"
