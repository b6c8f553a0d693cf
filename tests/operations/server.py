"""A PostgreSQL as other people run it: any version's own programs, a port, passwords, and an administrator."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tollhouse.store import embedded_process as process

DEBIAN = Path("/usr/lib/postgresql")
SETTINGS = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "60", "listen_addresses": "127.0.0.1"}


@dataclass(frozen=True)
class Server:
    """One that runs; its superuser ``postgres`` comes in by the socket, everybody else by a password."""

    programs: Path
    folder: Path
    port: int

    @property
    def administrator(self) -> Mapping[str, str]:
        """The environment in which ``psql`` and its like are the administrator's."""
        return {"PGHOST": str(self.folder), "PGPORT": str(self.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}

    def url(self, database: str, login: str, password: str) -> str:
        return f"postgresql://{login}:{password}@127.0.0.1:{self.port}/{database}"

    def sql(self, text: str, database: str = "postgres") -> str:
        """What the administrator's ``psql`` answers."""
        command = [self.programs / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database]
        done = subprocess.run(command, input=text, env={**os.environ, **self.administrator}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def installed(major: int) -> Path | None:
    """The programs of this version, or None: those of the embedded server's package, or Debian's."""
    if str(major) == process.MAJOR_VERSION:
        return process.bin_path("psql").parent
    found = DEBIAN / str(major) / "bin"
    return found if (found / "initdb").is_file() else None


@contextmanager
def running(major: int, **settings: str) -> Iterator[Server]:
    """A new cluster of this version for as long as the block runs, by a user that may run one."""
    programs = installed(major)
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="th-pg"))  # short, because its socket's path is limited
    account = process.server_account(folder)
    process.give(folder, account)
    bundled = str(major) == process.MAJOR_VERSION
    tools = process.server_programs(account) if bundled else programs
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, log = folder / "data", folder / "log"

    def run(program: str, *arguments: str) -> None:
        done = process.run_program(tools / program, arguments, cwd=folder, log=log, account=account)
        assert done, log.read_text()

    options = process.as_options({**SETTINGS, "port": str(port), "unix_socket_directories": str(folder), **settings})
    try:
        run(
            "initdb",
            "-D",
            str(data),
            "-U",
            "postgres",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
        )
        run("pg_ctl", "start", "-s", "-w", "-D", str(data), "-o", options)
        try:
            yield Server(programs, folder, port)
        finally:
            run("pg_ctl", "stop", "-s", "-w", "-m", "immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder)
