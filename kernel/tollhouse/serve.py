"""``tollhouse serve``: the database, the preparation of a first start, and the server processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import uvicorn

from tollhouse.app import Process
from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings
from tollhouse.store.rates import MEMORY
from tollhouse.store.secrets import open_secrets
from tollhouse.store.store import Store
from tollhouse.wiring.bootstrap import bootstrap, is_furnished
from tollhouse.wiring.installation import open_container, open_database, prepare

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 5
GRACE_SECONDS = 30


async def serve(settings: Settings, *, first: bool) -> None:
    """Serve until told to stop. ``first``: prepare the database, and an empty installation, before that.

    Raises:
        ConfigError: one line.
    """
    check_settings(settings)
    async with open_database(settings, prepares=first) as dsn:
        token = None
        if first:
            await prepare(settings, dsn)
        store = Store(dsn, pool_size=1, hot_pool_size=1)
        try:
            box = await open_secrets(store, settings)
            furnish = first and not await is_furnished(store)
        finally:
            await store.close()
        if furnish:
            async with open_container(settings, dsn) as container:
                token = await bootstrap(container)
        if settings.workers == 1:
            await _serve_here(settings, Process(settings, dsn, box), token)
        else:
            greet(settings, token)
            await _serve_many(settings, dsn)


def check_settings(settings: Settings) -> None:
    """Refuse what cannot work, and warn of what will disappoint.

    Raises:
        ConfigError: several processes that would each count rate limits for themselves.
    """
    counted = settings.rate_limit_anonymous or settings.rate_limit_principal or settings.rate_limit_login
    if settings.workers > 1 and settings.rate_limit_storage == MEMORY and counted:
        raise ConfigError("workers > 1 needs TOLLHOUSE_RATE_LIMIT_STORAGE=redis://… (or all rate limits set to 0)")
    if settings.host in ("0.0.0.0", "::", "") and not settings.public_url:  # noqa: S104 - compared, not bound
        log.warning(
            "listening on every address, while links and cookies are made for %s: set PUBLIC_URL to where people reach it",
            settings.base_url,
        )
    if not settings.cookies_work:
        host = urlsplit(settings.base_url).hostname
        log.warning(
            "browsers drop secure cookies on plain http at %s, so nobody can sign in there: use https, or set "
            "ALLOW_INSECURE_HTTP=1 for a trial on your own network",
            host,
        )


def greet(settings: Settings, token: str | None) -> None:
    """Say where to go next."""
    lines = ["", f"  Tollhouse is at {settings.base_url}"]
    if token is not None:
        lines += ["  Make yourself its operator, once:", f"    {settings.base_url}/claim/{token}"]
    else:
        lines += [f"  The console is at {settings.base_url}/console"]
    sys.stdout.write("\n".join([*lines, "  Ctrl-C stops it.", "", ""]))
    sys.stdout.flush()


def _config(settings: Settings, app: object, **more: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **more,  # type: ignore[arg-type]
    )


class _Server(uvicorn.Server):
    """Stops on SIGINT and SIGTERM and lets us go on afterwards: uvicorn's own would raise the signal again, and the embedded
    database would be left running."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while the server runs, and put the old handlers back."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def _serve_here(settings: Settings, process: Process, token: str | None) -> None:
    config = _config(settings, process.app)
    server = _Server(config)
    try:
        listener = config.bind_socket()  # before anything is started that would have to be stopped
        greet(settings, token)
        with listener:
            await server.serve(sockets=[listener])
    except SystemExit:
        raise ConfigError(f"could not start at {settings.host}:{settings.port}; see the lines above") from None
    if not server.started:
        raise ConfigError("the server did not start; see the lines above")


async def _serve_many(settings: Settings, dsn: str) -> None:
    """Several processes on one socket, each with an application of its own, under uvicorn's supervisor."""
    options = ["--factory", "--host", settings.host, "--port", str(settings.port), "--workers", str(settings.workers)]
    options += ["--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "on", "--log-level", "warning"]
    options += ["--no-access-log", "--no-server-header", "--no-proxy-headers", "--timeout-keep-alive", str(KEEP_ALIVE_SECONDS)]
    options += ["--timeout-graceful-shutdown", str(GRACE_SECONDS)]
    environment = {**os.environ, "DATABASE_URL": dsn}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uvicorn", "tollhouse.app:create_app", *options, env=environment, start_new_session=True
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, child.send_signal, signal.SIGTERM)
    try:
        if await child.wait() not in (0, -signal.SIGTERM):
            raise ConfigError("the server processes ended; see the lines above")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
