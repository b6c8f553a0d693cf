"""The lines that an operator gets when there can be no embedded server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.kernel.store.embedded.conftest import FAST, Make, failure
from tollhouse.store import embedded_process
from tollhouse.store.embedded import EmbeddedError, EmbeddedServer, bin_path, embedded_available
from tollhouse.store.embedded_socket import reachable_address

pytestmark = pytest.mark.skipif(embedded_available() is not None, reason=str(embedded_available()))


async def test_an_alias_that_others_can_write_is_refused(make: Make, data_dir: Path) -> None:
    server = make(data_dir / ("long" * 25))
    alias = reachable_address(server.cluster / "socket").socket_dir
    alias.parent.chmod(0o777)
    try:
        assert "is not a private folder" in await failure(server)
    finally:
        alias.unlink()
        alias.parent.rmdir()


async def test_a_failed_start_says_the_reason_in_one_line(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, settings={**FAST, "shared_buffers": "nonsense"})
    text = await failure(server)
    assert 'invalid value for parameter "shared_buffers": "nonsense"' in text
    assert str(server.log) in text
    assert await server.stop_if_unused()


async def test_data_of_another_major_version_is_refused(make: Make, data_dir: Path) -> None:
    (data_dir / "pg").mkdir(parents=True)
    (data_dir / "pg" / "PG_VERSION").write_text("16\n")
    assert await make().stop_if_unused()
    text = await failure(make())
    assert "made by PostgreSQL 16" in text
    assert str(data_dir) in text


async def test_a_folder_with_something_else_is_refused(make: Make, data_dir: Path) -> None:
    (data_dir / "pg").mkdir(parents=True)
    (data_dir / "pg" / "notes.txt").write_text("mine")
    assert "holds no PostgreSQL data" in await failure(make())


async def test_a_server_started_by_hand_is_left_alone(make: Make) -> None:
    server = make()
    server.cluster.mkdir(parents=True)
    (server.cluster / "PG_VERSION").write_text(f"{embedded_process.MAJOR_VERSION}\n")
    by_hand = await asyncio.create_subprocess_exec("sleep", "60", cwd=server.cluster)
    try:
        (server.cluster / "postmaster.pid").write_text(f"{by_hand.pid}\n")
        assert f"process {by_hand.pid} serves" in await failure(server)
        assert (server.cluster / "postmaster.pid").exists()
    finally:
        by_hand.kill()
        await by_hand.wait()
        (server.cluster / "postmaster.pid").unlink()


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in asyncio.run(failure(EmbeddedServer(tmp_path / "file" / "data")))


def test_the_reason_in_the_log_is_not_an_answer_to_an_impatient_client(tmp_path: Path) -> None:
    log = tmp_path / "pg.log"
    log.write_text("old FATAL:  of yesterday\n")
    position = embedded_process.log_position(log)
    assert embedded_process.log_reason(log, position) == "it left no line in its log"
    with log.open("a") as file:
        file.write("x [1] PANIC:  no valid checkpoint\nx [2] FATAL:  the database system is starting up\nx LOG:  bye\n")
    assert embedded_process.log_reason(log, position) == "no valid checkpoint"


def test_a_platform_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_process, "package_dir", lambda: None)
    reason = embedded_available()
    assert reason is not None
    assert "is not installed" in reason
    with pytest.raises(EmbeddedError, match="is not installed"):
        bin_path("psql")
