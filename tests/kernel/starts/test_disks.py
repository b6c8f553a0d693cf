"""A DATA_DIR that cannot be written stops the start with one line that says why."""

from __future__ import annotations

import os

import pytest

from tests.kernel.starts.conftest import Databases, Program
from tests.operations.disks import fill, read_only, small_disk
from tollhouse.store.embedded import embedded_available

needs_embedded = pytest.mark.skipif(embedded_available() is not None, reason=str(embedded_available()))
HOLDS = "it holds the embedded database, the master key and uploads"


@needs_embedded
@pytest.mark.parametrize("command", [("serve", "--prepare"), ("serve",)], ids=" ".join)
async def test_a_full_disk(program: Program, command: tuple[str, ...]) -> None:
    with small_disk(4) as disk:
        (disk / "pg").mkdir()
        fill(disk)
        line = (await program.run(*command, DATA_DIR=str(disk))).line()
    assert line == f"DATA_DIR {disk} cannot be written: no space left on device; {HOLDS}"


@needs_embedded
async def test_a_read_only_disk(program: Program) -> None:
    with small_disk(4) as disk:
        read_only(disk)
        line = (await program.run("serve", "--prepare", DATA_DIR=str(disk))).line()
    assert line == f"DATA_DIR {disk} cannot be written: read-only file system; {HOLDS}"


@needs_embedded
@pytest.mark.parametrize("megabytes", [1, 8, 30])
async def test_a_disk_that_fills_up_while_the_database_is_made(program: Program, megabytes: int) -> None:
    with small_disk(megabytes) as disk:
        line = (await program.run("serve", "--prepare", DATA_DIR=str(disk / "data"))).line()
        assert "no space left on device" in line.lower()
        assert not (disk / "data" / "pg.new").exists(), "nothing half-made is left to fill it"


async def test_a_master_key_that_cannot_be_made(program: Program, databases: Databases) -> None:
    url = databases.address(await databases.current())
    with small_disk(4) as disk:
        read_only(disk)
        line = (await program.run("serve", DATA_DIR=str(disk), DATABASE_URL=url)).line()
    assert line == f"DATA_DIR {disk} cannot be written: read-only file system; {HOLDS}"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
async def test_a_folder_of_somebody_else(program: Program) -> None:
    (program.folder / "data").mkdir(mode=0o500)
    line = (await program.run("serve", "--prepare")).line()
    assert line == f"DATA_DIR data cannot be written: permission denied; {HOLDS}"
