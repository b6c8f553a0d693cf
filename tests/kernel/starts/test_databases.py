"""A database that this version cannot work with stops every command in one line, and nothing is changed in it."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from pathlib import Path

import pytest

from tests.kernel.starts.conftest import Databases, Program, ended
from tollhouse.store.embedded import embedded_available
from tollhouse.store.migrations.head import HEAD
from tollhouse.wiring import database as code

COMMANDS = [
    ("serve",),
    ("serve", "--prepare"),
    ("worker",),
    ("init", "--owner-email", "ada@example.test"),
    ("db", "check"),
    ("db", "upgrade"),
    ("tenants", "list"),
    ("users", "link", "ada@example.test"),
    ("ledger", "verify"),
    ("keys", "rotate"),
]
PREPARE = [("serve", "--prepare"), ("init", "--owner-email", "ada@example.test"), ("db", "upgrade")]
READ = [command for command in COMMANDS if command not in PREPARE]
name = " ".join


@pytest.mark.parametrize("command", COMMANDS, ids=name)
async def test_a_newer_schema(program: Program, databases: Databases, command: tuple[str, ...]) -> None:
    database = await databases.current()
    await databases.execute(database, "UPDATE alembic_version SET version_num = '9999'")
    line = (await program.run(*command, DATABASE_URL=databases.address(database), typed="long enough password\n")).line()
    assert line == f"the database's schema 9999 is newer than this version knows ({HEAD}); install the newer version"
    assert not (program.folder / "data").exists(), "it was refused before a key was made"


@pytest.mark.parametrize("command", READ, ids=name)
async def test_no_schema_yet(program: Program, databases: Databases, command: tuple[str, ...]) -> None:
    database = await databases.empty()
    outcome = await program.run(*command, DATABASE_URL=databases.address(database))
    assert outcome.line() == "the database has no schema yet; run: tollhouse db upgrade"
    assert outcome.out == "", "nobody was greeted"


def test_an_older_schema_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "known_revisions", lambda: {"0000", HEAD})
    assert code.schema_fault("0000") == f"the database's schema is 0000, this version needs {HEAD}; run: tollhouse db upgrade"


@pytest.mark.parametrize("command", [("serve",), ("db", "check"), ("tenants", "list")], ids=name)
async def test_a_login_without_our_roles(program: Program, databases: Databases, command: tuple[str, ...]) -> None:
    database, login = await databases.current(), await databases.stranger()
    await databases.execute(database, f'GRANT CONNECT ON DATABASE "{database}" TO {login}')
    line = (await program.run(*command, DATABASE_URL=databases.address(database, login))).line()
    assert line.startswith(f"the login '{login}' may not act as tollhouse_owner, tollhouse_app, tollhouse_operator; run: ")
    assert "tollhouse db upgrade" in line
    upgrade = (await program.run("db", "upgrade")).line()
    assert upgrade.startswith("the database login may not create roles, or does not own the database; let an administrator run")


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("command", [*PREPARE, ("serve",), ("db", "check")], ids=name)
async def test_the_database_of_another_program(
    program: Program, databases: Databases, command: tuple[str, ...], versioned: bool
) -> None:
    database = await databases.empty()
    await databases.execute(database, *(f"CREATE TABLE {table} (n int)" for table in ("books", "loans", "pages", "readers")))
    if versioned:  # another program's migrations may even be called like ours
        await databases.execute(database, f"CREATE TABLE alembic_version AS SELECT '{HEAD}' AS version_num")
    before = await databases.fingerprint(database)
    line = (await program.run(*command, DATABASE_URL=databases.address(database), typed="long enough password\n")).line()
    first = "alembic_version, books, loans and 2 more" if versioned else "books, loans, pages and 1 more"
    assert line == (
        f"the database '{database}' holds tables of another program ({first}): "
        "make a database for Tollhouse alone and name it in DATABASE_URL"
    )
    assert await databases.fingerprint(database) == before


async def test_an_empty_database_and_a_migration_that_was_cut_short_are_upgraded(
    program: Program, databases: Databases
) -> None:
    database = await databases.empty()
    await databases.execute(
        database, "SET ROLE tollhouse_owner", "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"
    )
    outcome = await program.run("db", "upgrade", DATABASE_URL=databases.address(database))
    assert (outcome.code, outcome.out) == (0, f"the schema is {HEAD}\n"), outcome.err
    assert (await program.run("db", "check")).code == 0


async def _says(code: str, text: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that lets nobody in: it reads who comes, and answers with an error."""
    await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
    fields = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
    writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
    writer.close()


@pytest.mark.parametrize(
    ("code", "text", "says"),
    [
        ("28P01", 'password authentication failed for user "ada"', "does not let us in: password authentication failed"),
        ("53300", "sorry, too many clients already", "refuses the connection: sorry, too many clients already"),
        ("57P03", "the database system is starting up", "refuses the connection: the database system is starting up"),
    ],
)
async def test_a_server_that_lets_nobody_in(program: Program, code: str, text: str, says: str) -> None:
    async with await asyncio.start_server(partial(_says, code, text), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        line = (await program.run("serve", DATABASE_URL=f"postgresql://ada:hunter2@127.0.0.1:{port}/x?sslmode=disable")).line()
    assert line.startswith(f"the database at 127.0.0.1:{port} {says}")
    assert "hunter2" not in line


@pytest.mark.skipif(embedded_available() is not None, reason=str(embedded_available()))
async def test_two_processes_prepare_one_installation_at_once(program: Program) -> None:
    processes = [await program.begin("db", "upgrade") for _ in range(3)]
    for outcome in [await ended(process) for process in processes]:
        assert (outcome.code, outcome.out) == (0, f"the schema is {HEAD}\n"), outcome.err


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("db", "upgrade"), ("tenants", "list")], ids=name)
async def test_a_server_that_cannot_be_used(program: Program, databases: Databases, command: tuple[str, ...]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        line = (await program.run(*command, DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{port}/x")).line()
    assert line.startswith(f"the database at 127.0.0.1:{port} cannot be reached: ")
    assert line.endswith("; see DATABASE_URL")
    assert "hunter2" not in line
    line = (await program.run(*command, DATABASE_URL=databases.address("no_such_database"))).line()
    assert "refuses the connection" in line
    assert '"no_such_database" does not exist' in line
    line = (await program.run(*command, DATABASE_URL=databases.address("postgres", "nobody_of_this_name"))).line()
    assert 'role "nobody_of_this_name" does not exist' in line


@pytest.mark.parametrize("command", READ, ids=name)
async def test_a_wrong_data_directory_is_not_furnished(program: Program, command: tuple[str, ...], tmp_path: Path) -> None:
    line = (await program.run(*command, DATA_DIR="nowhere")).line()
    assert "nowhere" in line
    assert "tollhouse serve" in line
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("db", "check")], ids=name)
async def test_a_data_directory_that_cannot_be_one(
    program: Program, databases: Databases, command: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    program.env |= {"DATABASE_URL": databases.address(await databases.current()), "DATA_DIR": "taken"}
    line = (await program.run(*command)).line()
    if command[0] == "serve":  # it looks at the folder first of all
        assert line == (
            "DATA_DIR taken cannot be written: file exists; it holds the embedded database, the master key and uploads"
        )
    else:
        assert (
            line
            == "the master key taken/master.key cannot be made: File exists; DATA_DIR must be a folder that we may write to"
        )
