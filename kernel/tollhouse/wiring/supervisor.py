"""Several server processes on one listener: started together, replaced when one dies, stopped together.

Each shares a pair of sockets with us. A process says through it that it is ready or why it is not; and because the system
closes our end when we die, whatever kills us, no process outlives us.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Final

from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings
from tollhouse.wiring.server_process import GRACE_SECONDS, READY

log = logging.getLogger(__name__)

STOP_SECONDS: Final = GRACE_SECONDS + 10
PAUSE_SECONDS: Final = 0.5  # a signal to the whole group reaches the process a moment before us
PAUSE_SECONDS_AT_MOST: Final = 30.0


async def serve_many(settings: Settings, dsn: str, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Keep so many processes serving until told to stop. ``ready`` is called when all of them have started.

    Raises:
        ConfigError: one of them cannot start; its line.
    """
    with tempfile.TemporaryDirectory(prefix="tollhouse-metrics-") as metrics:
        told = {"DATABASE_URL": dsn, "PORT": str(settings.port), "PROMETHEUS_MULTIPROC_DIR": metrics}
        places = [_Place(listener, {**os.environ, **told}) for _ in range(settings.workers)]
        try:
            async with asyncio.TaskGroup() as group:
                for place in places:
                    group.create_task(place.keep())
                await asyncio.gather(*(place.started.wait() for place in places))
                ready()
        except BaseExceptionGroup as group_of_errors:
            raise group_of_errors.exceptions[0] from None


class _Place:
    """One of the processes, and those that take its place."""

    def __init__(self, listener: socket.socket, environment: Mapping[str, str]) -> None:
        self.started = asyncio.Event()
        self._listener = listener
        self._environment = environment

    async def keep(self) -> None:
        """Start the process, and another whenever it dies.

        Raises:
            ConfigError: the first one did not become ready.
        """
        pause = PAUSE_SECONDS
        while True:
            try:
                fault, code = await self._live()
            except OSError as error:  # no room for another process, for the moment
                fault, code = str(error), 1
            if not self.started.is_set():
                raise ConfigError(fault or f"a server process ended at its start ({_how(code)}); see the lines above")
            await asyncio.sleep(pause)
            if fault is None:
                pause = PAUSE_SECONDS
                log.error("a server process ended (%s); another takes its place", _how(code))
            else:
                pause = min(2 * pause, PAUSE_SECONDS_AT_MOST)
                log.error("a server process cannot start: %s; trying again", fault)

    async def _live(self) -> tuple[str | None, int]:
        """The life of one process: why it never became ready (None if it did, empty if it did not say), and its exit code."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                child = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tollhouse.wiring.server_process"),
                    *(str(self._listener.fileno()), str(theirs.fileno())),
                    env=self._environment,
                    pass_fds=(self._listener.fileno(), theirs.fileno()),
                    start_new_session=True,  # the terminal's Ctrl-C is for us; we stop them in order
                )
            try:
                line = await _line(ours)
                if line == READY:
                    self.started.set()
                code = await child.wait()
                return (None if line == READY else line), code
            finally:
                await _stop(child)


async def _line(control: socket.socket) -> str:
    """What a process says of its start; empty if it ended without a word."""
    loop, text = asyncio.get_running_loop(), b""
    while not text.endswith(b"\n") and (more := await loop.sock_recv(control, 4096)):
        text += more
    return text.decode(errors="replace").strip()


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await child.wait()
    except TimeoutError:
        log.error("a server process does not stop; it is killed")
        child.kill()
        await child.wait()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
