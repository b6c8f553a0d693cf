"""What *Run in production* says is done, word for word: on PostgreSQL 15, on the newest, and on the embedded server.

Only places are put in for the page's own: its folders, its host. A new block on that page has to be run here too.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command

from tests.operations.machine import Machine, Shell, ask
from tests.operations.page import blocks
from tests.operations.server import Server, installed, running
from tests.world import KEY
from tollhouse.store.embedded_process import MAJOR_VERSION
from tollhouse.store.migrations.head import HEAD
from tollhouse.store.roles import ensure_roles
from tollhouse.wiring import database

OLDEST, NEWEST = 15, int(MAJOR_VERSION)
PAGE = "how-to/run-in-production.md"
UNIT, ENVIRONMENT, PROXY, LOGIN, INSTALL, DUMP, EMBEDDED, RESTORE, LOOK, NEW_KEY, ROTATE, OLD_GONE, UPGRADE, UPGRADED = blocks(
    PAGE
)
WELL = "the ledger adds up"
TURN = {"agent": "guide", "parts": [{"type": "text", "text": "Hello"}]}
ADA = "th_0356MUmbPzSkgNQxQSpXvj_xObM3bujMxPuomJUkZVwaDwQZNvcCZ02xlci"
"""Her API key in schema_0003.sql."""
MONTH = """
CREATE TABLE entries_2026_11 PARTITION OF entries FOR VALUES FROM (id_floor('2026-11-01Z')) TO (id_floor('2026-12-01Z'));
ALTER TABLE entries_2026_11 OWNER TO tollhouse_owner;
ALTER TABLE entries_2026_11 ENABLE ROW LEVEL SECURITY;
ALTER TABLE entries_2026_11 FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON entries_2026_11 TO tollhouse_owner USING (true) WITH CHECK (true);
"""
"""Where the rows of that file belong; made by the migration only while the month is near."""


def test_every_block_of_the_page_is_known_here() -> None:
    assert [(block.heading, block.language) for block in blocks(PAGE)] == [
        ("A service", "ini"),
        ("A service", "sh"),
        ("The reverse proxy", "nginx"),
        ("PostgreSQL of your own", "sql"),
        ("PostgreSQL of your own", "sh"),
        *[("Backup", "sh")] * 4,
        *[("The master key", "sh")] * 3,
        *[("Upgrade", "sh")] * 2,
    ]


def _server(major: int) -> Iterator[Server]:
    if installed(major) is None:
        pytest.skip(f"PostgreSQL {major} is not installed")
    with running(major) as server:
        yield server


@pytest.fixture(params=[OLDEST, NEWEST], ids="PostgreSQL {}".format)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Somebody's server, which has never seen Tollhouse."""
    yield from _server(request.param)


@pytest.fixture
def oldest() -> Iterator[Server]:
    """One of the oldest version that will do."""
    yield from _server(OLDEST)


@pytest.fixture
def newest() -> Iterator[Server]:
    """A server of the newest version beside it."""
    yield from _server(NEWEST)


def install(machine: Machine, shell: Shell) -> None:
    said = shell.type(machine.here(INSTALL.code))
    assert f"the schema is {HEAD}" in said
    assert "the master key fits" in said


def first_owner(shell: Shell) -> str:
    """An owner, and the key that is printed for them."""
    said = shell.type("tollhouse init --owner-email olga@example.test <<< 'correct horse battery staple'")
    return said.rpartition(": ")[2].strip()


def used(address: str, key: str) -> int:
    """How many messages somebody has had answered today."""
    status, answer = ask(f"{address}/api/v1/usage", key)
    assert status == 200, answer
    return int(answer["items"][0]["used"])


def work(machine: Machine, key: str, before: int) -> None:
    """Somebody asks something once more; ``before``: how often until now."""
    question = {"model": "guide", "messages": [{"role": "user", "content": "Hello"}]}
    with machine.serving() as address:
        assert used(address, key) == before, "nothing is forgotten"
        status, answer = ask(f"{address}/v1/chat/completions", key, question)
        assert status == 200, answer
        assert used(address, key) == before + 1


def back_up(machine: Machine, shell: Shell) -> None:
    (machine.data / "blobs").mkdir(exist_ok=True)
    (machine.data / "blobs" / "picture").write_text("an upload")
    shell.type(machine.here(DUMP.code))
    (machine.data / "blobs" / "picture").unlink()


def restore(machine: Machine, shell: Shell, administrator: str = "postgres") -> None:
    machine.administer(RESTORE, administrator)
    assert WELL in shell.type(machine.here(LOOK.code))
    assert (machine.data / "blobs" / "picture").read_text() == "an upload"


def serve_restored(machine: Machine) -> None:
    assert machine.server is not None
    machine.set("DATABASE_URL", machine.server.url("restored", "tollhouse", "secret"))


def test_installed_backed_up_restored_and_rotated(tmp_path: Path, server: Server) -> None:
    """By the administrator of a managed server, who may make logins and databases and is no superuser."""
    server.sql("CREATE ROLE manager LOGIN CREATEROLE CREATEDB")
    machine = Machine(tmp_path, ENVIRONMENT, server)
    machine.administer(LOGIN, "manager")
    with machine.shell() as shell:
        install(machine, shell)
        key = first_owner(shell)
        work(machine, key, 0)
        back_up(machine, shell)
        restore(machine, shell, "manager")
        shell.type(machine.here(NEW_KEY.code))
        assert "are encrypted with the new key" in shell.type(machine.here(ROTATE.code))
        assert "the master key fits" in shell.type(machine.here(OLD_GONE.code))
        new_key = shell.type('echo "$TOLLHOUSE_MASTER_KEY"').strip()
    serve_restored(machine)
    (machine.data / "master.key").unlink()
    machine.set("TOLLHOUSE_MASTER_KEY", new_key)
    work(machine, key, 1)


def test_a_database_of_the_version_before_is_upgraded(tmp_path: Path, server: Server) -> None:
    machine = Machine(tmp_path, ENVIRONMENT, server)
    machine.administer(LOGIN)
    machine.set("TOLLHOUSE_MASTER_KEY", base64.b64encode(KEY).decode())
    url = server.url("tollhouse", "tollhouse", "secret")
    asyncio.run(ensure_roles(url))
    command.upgrade(database.alembic_config(url), "0003")
    if not server.sql("SELECT to_regclass('entries_2026_11')", "tollhouse"):
        server.sql(MONTH, "tollhouse")
    server.sql((Path(__file__).parent / "schema_0003.sql").read_text(), "tollhouse")
    with machine.shell() as shell:
        shell.type(machine.here(INSTALL.code).replace("tollhouse db", ": tollhouse db"))
        assert f"the schema is {HEAD}" in shell.type(machine.here(UPGRADE.code))
        assert WELL in shell.type(machine.here(UPGRADED.code))
    with machine.serving() as address:
        status, found = ask(f"{address}/api/v1/conversations?limit=200", ADA)
        assert (status, len(found["items"])) == (200, 22), "what was said before"
        person = {"email": "eve@example.test", "password": "correct horse battery staple", "name": "Eve"}
        status, made = ask(f"{address}/api/v1/auth/register", body=person)
        assert status == 201, made
        status, answer = ask(f"{address}/api/v1/turns", made["access_token"], TURN)
        assert status == 200, answer


def test_a_dump_of_the_oldest_version_is_restored_on_the_newest(tmp_path: Path, oldest: Server, newest: Server) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = Machine(tmp_path / "old", ENVIRONMENT, oldest)
    old.administer(LOGIN)
    with old.shell() as shell:
        install(old, shell)
        key = first_owner(shell)
        work(old, key, 0)
        back_up(old, shell)
    _moved(old, Machine(tmp_path / "new", ENVIRONMENT, newest), key)


def test_the_embedded_server_is_backed_up_and_moves_to_a_server_of_ones_own(tmp_path: Path, newest: Server) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = Machine(tmp_path / "old", ENVIRONMENT, None)
    with old.shell() as shell:
        install(old, shell)
        key = first_owner(shell)
        work(old, key, 0)
        with old.serving():
            shell.type(old.here(EMBEDDED.code))
            back_up(old, shell)
    _moved(old, Machine(tmp_path / "new", ENVIRONMENT, newest), key)


def _moved(old: Machine, new: Machine, key: str) -> None:
    """To another machine and server: the dump, the uploads and the key are carried over."""
    new.data.mkdir()
    for name in ("tollhouse.dump", "blobs.tar.gz", "data/master.key"):
        (old.folder / name).rename(new.folder / name)
    new.administer(LOGIN)
    with new.shell() as shell:
        install(new, shell)
        restore(new, shell)
    serve_restored(new)
    work(new, key, 1)
