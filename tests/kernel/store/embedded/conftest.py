"""Servers of a test: made in a folder of its own, and ended after it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

import tollhouse
from tollhouse.store.embedded import EmbeddedAddress, EmbeddedError, EmbeddedServer

FAST = {"fsync": "off", "shared_buffers": "16MB"}
KERNEL = Path(tollhouse.__file__).parent.parent

# Another process of Tollhouse: starts the server, connects, says so, and stops what is unused when its input ends.
OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
import asyncpg
from tollhouse.store.embedded import EmbeddedServer

async def main():
    server = EmbeddedServer(Path(sys.argv[1]), settings={"fsync": "off", "shared_buffers": "16MB"})
    address = await server.start()
    connection = await asyncpg.connect(address.dsn("postgres", "postgres"))
    print(await connection.fetchval("select pg_postmaster_start_time()::text"), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await connection.close()
    print(await server.stop_if_unused(), flush=True)

asyncio.run(main())
"""

Make = Callable[..., EmbeddedServer]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Short, whatever the test's name is; closed to others, as DATA_DIR is.
    folder = tempfile.mkdtemp(prefix="th-")
    yield Path(folder) / "data"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster that ran once and was stopped: making one takes most of a first start's time."""

    async def once(server: EmbeddedServer) -> Path:
        await server.start()
        assert await server.stop_if_unused()
        return server.cluster

    return asyncio.run(once(EmbeddedServer(tmp_path_factory.mktemp("template"), settings=FAST)))


@pytest.fixture
def used(data_dir: Path, template: Path) -> Path:
    """A data directory that already has its cluster (as root: restored by root, for its owner is not copied)."""
    shutil.copytree(template, data_dir / "pg")
    return data_dir


@pytest.fixture
async def make(data_dir: Path) -> AsyncIterator[Make]:
    """Makes servers, and ends whatever of them still runs after the test."""
    made: list[EmbeddedServer] = []

    def build(folder: Path = data_dir) -> EmbeddedServer:
        made.append(EmbeddedServer(folder, settings=FAST))
        return made[-1]

    yield build
    for server in made:
        await server.stop_if_unused()
    for server in made:
        assert not (server.cluster / "postmaster.pid").exists()


async def connected(address: EmbeddedAddress) -> asyncpg.Connection:
    return await asyncpg.connect(address.dsn("postgres", "postgres"))


async def ask(address: EmbeddedAddress, query: str) -> object:
    connection = await connected(address)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def postmaster(server: EmbeddedServer) -> int:
    return int((server.cluster / "postmaster.pid").read_text().splitlines()[0])


async def other_process(data_dir: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER_PROCESS, str(data_dir)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(KERNEL)},
    )


async def line_of(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    return (await asyncio.wait_for(child.stdout.readline(), 30)).decode().strip()


async def end(child: asyncio.subprocess.Process) -> str:
    assert child.stdin is not None
    child.stdin.close()
    said = await line_of(child)
    assert await child.wait() == 0
    return said


async def failure(server: EmbeddedServer) -> str:
    with pytest.raises(EmbeddedError) as caught:
        await server.start()
    text = str(caught.value)
    assert "\n" not in text
    return text
