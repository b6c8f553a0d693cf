"""``tollhouse serve``: the address, the database, the preparation of a first start, and the server processes."""

from __future__ import annotations

import logging
import socket
import sys
from urllib.parse import urlsplit

from tollhouse.app import Process
from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings
from tollhouse.store.rates import MEMORY
from tollhouse.store.secrets import SecretBox, open_secrets
from tollhouse.store.store import Store
from tollhouse.wiring.bootstrap import bootstrap, is_furnished
from tollhouse.wiring.data_dir import check_data_dir
from tollhouse.wiring.installation import open_container, open_database, prepare
from tollhouse.wiring.server_process import serve_here
from tollhouse.wiring.supervisor import serve_many

log = logging.getLogger(__name__)


async def serve(settings: Settings, *, first: bool) -> None:
    """Serve until told to stop. ``first``: prepare the database, and an empty installation, before that.

    Raises:
        ConfigError: one line.
    """
    with bind(settings.host, settings.port) as listener:  # before anything is started that would have to be stopped
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        check_settings(settings)
        if settings.database_url is None and (first or (settings.data_dir / "pg").exists()):
            check_data_dir(settings)
        async with open_database(settings, prepares=first) as dsn:
            box, token = await _prepared(settings, dsn, first=first)
            if settings.workers == 1:
                await serve_here(settings, Process(settings, dsn, box), listener, lambda: greet(settings, token))
            else:
                await serve_many(settings, dsn, listener, lambda: greet(settings, token))


async def _prepared(settings: Settings, dsn: str, *, first: bool) -> tuple[SecretBox, str | None]:
    """The master key, and the token of a link that makes the operator, as long as there is none."""
    if settings.database_url is not None:
        check_data_dir(settings)
    if first:
        await prepare(settings, dsn)
    store = Store(dsn, pool_size=1, hot_pool_size=1)
    try:
        box = await open_secrets(store, settings)
        furnish = first and not await is_furnished(store)
    finally:
        await store.close()
    if not furnish:
        return box, None
    async with open_container(settings, dsn) as container:
        return box, await bootstrap(container)


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address, which nobody can connect to before somebody serves; port 0 takes any that is free.

    Raises:
        ConfigError: the address is not ours, or taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if host == "::":  # every address, those of version 4 too, whatever the system's habit
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen at {host or 'any address'}, port {port}: {why}; see HOST and PORT") from None
    return listener


def check_settings(settings: Settings) -> None:
    """Refuse what cannot work, and warn of what will disappoint.

    Raises:
        ConfigError: several processes that would each count rate limits for themselves; no room for a single large body.
    """
    least = max(2 * settings.large_body_limit, 4 * settings.body_limit)
    if settings.body_memory < least:
        raise ConfigError(f"setting body_memory: must be at least {least}, twice large_body_limit and four times body_limit")
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
