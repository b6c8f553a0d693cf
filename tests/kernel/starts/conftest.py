"""The program as an operator starts it, in a process and an environment of its own, on databases of every condition."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.conftest import Cluster, _fingerprint

SECONDS = 60
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as a shell does to what it runs in the background: what we start inherits it
    signal.signal(signal.SIGINT, signal.default_int_handler)
_numbers = itertools.count()


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def line(self) -> str:
        """Its one line of refusal."""
        lines = self.err.splitlines()
        assert self.code == 1, self
        assert len(lines) == 1, self.err
        assert lines[0].startswith("tollhouse: "), self.err
        return lines[0].removeprefix("tollhouse: ")


@dataclass
class Program:
    """``tollhouse`` in a folder with its plugins.toml; ``env`` is all of its environment that is about Tollhouse."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def plugins(self) -> Path:
        return self.folder / "plugins.toml"

    def add(self, name: str, body: str) -> None:
        """Install a plugin whose object has this body, and switch it on."""
        site, module = self.folder / "site", f"added_{name}"
        info = site / f"{module}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[tollhouse.plugins]\n{name} = {module}:plugin\n")
        head = "import asyncio, sys, time\nfrom tollhouse import plugin as th\n\nclass Plugin:\n    contract = (1, 0)\n"
        (site / f"{module}.py").write_text(f"{head}{textwrap.indent(textwrap.dedent(body), '    ')}\nplugin = Plugin()\n")
        self.plugins.write_text(f'enabled = ["api", "demo", "{name}"]\n')
        self.env["PYTHONPATH"] = str(site)

    async def begin(self, *arguments: str, **more: Any) -> asyncio.subprocess.Process:
        """Start it, and read what it says through pipes."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tollhouse.cli", *arguments),
            cwd=self.folder,
            env={**inherited, "DATA_DIR": "data", "PORT": "0", **self.env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            **more,
        )

    async def run(self, *arguments: str, typed: str = "", **env: str) -> Outcome:
        """Run a command to its end."""
        self.env.update(env)
        return await ended(await self.begin(*arguments), typed)


async def ended(process: asyncio.subprocess.Process, typed: str = "") -> Outcome:
    """Wait for the end, and give what was said and not read yet."""
    out, err = await asyncio.wait_for(process.communicate(typed.encode()), SECONDS)
    assert process.returncode is not None
    return Outcome(process.returncode, out.decode(), err.decode())


async def said(stream: asyncio.StreamReader | None, words: str) -> str:
    """What a process says up to the line that has these words."""
    assert stream is not None
    text = ""
    async with asyncio.timeout(SECONDS):
        while words not in text:
            line = (await stream.readline()).decode()
            assert line, f"it ended without {words!r}; it said: {text}"
            text += line
    return text


async def address(process: asyncio.subprocess.Process) -> str:
    """Where it says that it is."""
    found = re.search(r"Tollhouse is at (\S+)", await said(process.stdout, "Tollhouse is at"))
    assert found is not None
    return found[1]


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A program that has no database yet, and one plugin."""
    made = Program(tmp_path)
    made.plugins.write_text('enabled = ["api", "demo"]\n')
    return made


@dataclass(frozen=True)
class Databases:
    """Makes databases in the tests' cluster, each for one test."""

    admin: asyncpg.Connection
    cluster: Cluster
    made: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    def address(self, name: str, login: str = "tollhouse") -> str:
        where = self.cluster.superuser_dsn.split("@", 1)[1].split("?", 1)[1]
        return f"postgresql://{login}@/{name}?{where}"

    async def empty(self, *, template: str = "template1") -> str:
        """A database in which there is nothing; its name."""
        name = f"test_starts{next(_numbers)}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
        await self.admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER tollhouse_owner')
        await self.admin.execute(f'GRANT CONNECT, CREATE ON DATABASE "{name}" TO tollhouse_owner, tollhouse')
        self.made.append(name)
        return name

    async def current(self) -> str:
        """A database with this version's schema; its name."""
        return await self.empty(template=f"template_{_fingerprint()}")

    async def stranger(self) -> str:
        """A login that nobody has given a role; its name."""
        name = f"stranger{next(_numbers)}_{os.getpid()}"
        await self.admin.execute(f"CREATE ROLE {name} LOGIN")
        self.logins.append(name)
        return name

    async def execute(self, name: str, *statements: str) -> None:
        """Change a database as the superuser."""
        conn = await asyncpg.connect(self.address(name, "postgres"))
        for statement in statements:
            await conn.execute(statement)
        await conn.close()

    async def fingerprint(self, name: str) -> list[tuple[str, str, str]]:
        """Everything that a program may have made there: relations, with their owners and rights."""
        conn = await asyncpg.connect(self.address(name, "postgres"))
        rows = await conn.fetch(
            "SELECT relname::text, relowner::regrole::text, coalesce(relacl::text, '') "
            "FROM pg_class WHERE oid >= 16384 ORDER BY 1"
        )
        await conn.close()
        return [tuple(row) for row in rows]


@pytest.fixture
async def databases(cluster: Cluster) -> AsyncIterator[Databases]:
    """Databases of every condition, dropped after the test."""
    admin = await asyncpg.connect(cluster.superuser_dsn)
    databases = Databases(admin, cluster)
    yield databases
    for name in databases.made:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    for login in databases.logins:
        await admin.execute(f"DROP ROLE {login}")
    await admin.close()
