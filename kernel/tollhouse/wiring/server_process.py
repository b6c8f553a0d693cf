"""A process that answers requests: `serve` itself, or one of several beside each other under its supervision.

One of several is ``python -m tollhouse.wiring.server_process LISTENER CONTROL``: two descriptors that it inherits. Through
CONTROL it says that it is ready, or the line why it cannot be; when CONTROL ends, whoever supervised it has gone, in whatever
way, and it stops as if told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from tollhouse.app import Process
from tollhouse.plugin.errors import TollhouseError
from tollhouse.settings import Settings, load_settings
from tollhouse.store.secrets import load_master_key
from tollhouse.wiring.connection import Connection
from tollhouse.wiring.logs import configure
from tollhouse.wiring.running import end, heard, run
from tollhouse.wiring.watchdog import watched

log = logging.getLogger(__name__)
KEEP_ALIVE_SECONDS: Final = 5
GRACE_SECONDS: Final = 30
TICK_SECONDS: Final = 0.1
"""How often uvicorn looks whether it has something to do."""
READY: Final = "ready"


class _Server(uvicorn.Server):
    """Says when it listens. Stops on signals and lets us go on afterwards: uvicorn's own would raise the signal again, and the
    embedded database would be left running."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % round(Connection.every / TICK_SECONDS) == 0:
            now = asyncio.get_running_loop().time()
            open_now = [one for one in self.server_state.connections if isinstance(one, Connection)]
            if ended := sum([one.look(now) for one in open_now]):
                log.info("%d of %d connections were ended: no headers came, or no answer was read", ended, len(open_now))
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while the server runs, and put the old handlers back."""
        before = {number: signal.signal(number, self.handle_exit) for number in heard()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def serve_here(settings: Settings, process: Process, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer what comes to the listener until told to stop. ``ready`` is called when everything has started.

    Raises:
        ConfigError: one line that says what is wrong.
    """
    config = uvicorn.Config(
        process.app,
        loop="uvloop",
        http=Connection,
        ws="none",
        lifespan="off",  # it would show a failure as a traceback
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        await process.start()
        with watched(asyncio.get_running_loop()):
            await _Server(config, ready).serve(sockets=[listener])
    finally:
        await process.close()


def _stop_with(control: socket.socket) -> None:
    """Wait until the other end is closed, then stop this process in order; in a thread, for the loop may be blocked."""
    with contextlib.suppress(OSError):
        control.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)
    last = threading.Timer(2 * GRACE_SECONDS, os._exit, (1,))
    last.daemon = True
    last.start()


def main() -> int:
    """One of several."""
    listener, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])

    def say(line: str) -> None:
        with contextlib.suppress(OSError):
            control.sendall(f"{line}\n".encode())

    async def work() -> None:
        threading.Thread(target=_stop_with, args=(control,), daemon=True).start()
        settings = load_settings()
        configure(settings)
        assert settings.database_url is not None, "whoever supervises says where the database is"
        process = Process(settings, settings.database_url.get_secret_value(), load_master_key(settings))
        await serve_here(settings, process, listener, lambda: say(READY))

    try:
        run(work(), service=True)
    except TollhouseError as error:
        say(error.detail)
        return 1
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


if __name__ == "__main__":
    end(main())
