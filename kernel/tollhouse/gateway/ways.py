"""Ways out of an error page: the door that was meant, the page that was open, the nearest page that exists."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from tollhouse.gateway.csrf import netloc
from tollhouse.gateway.route_table import RouteTable
from tollhouse.plugin.paths import local_path


def door_of(wanted: str, doors: Mapping[str, str], usual: str) -> str:
    """Where to sign in for a page; ``doors``: sign-in addresses by the beginning of the paths behind them."""
    path = wanted.partition("?")[0]
    return next((door for begin, door in doors.items() if path == begin or path.startswith(begin + "/")), usual)


def came_from(headers: Mapping[bytes, bytes], root: str) -> str | None:
    """The path of our own page that a form was on, without the tenant's prefix; None if nothing of ours is named."""
    said = headers.get(b"referer", b"").decode("latin-1")
    host = headers.get(b"host", b"").lower()
    if not host or netloc(said.lower().encode("latin-1")) != host:
        return None
    parts = urlsplit(said)
    if root and not parts.path.startswith(root + "/"):
        return None  # another tenant's page on the same host
    path = parts.path[len(root) :] or "/"
    return local_path(f"{path}?{parts.query}" if parts.query else path)


def nearest_page(table: RouteTable, path: str) -> str:
    """The page that a path without one lies under: ``/chat/7`` for ``/chat/7/delete``, at last ``/``."""
    while path.strip("/"):
        found = table.find(path)
        entry = found.entry("GET") if found is not None else None
        if entry is not None and entry.errors == "page":
            return path
        path = path.rstrip("/").rpartition("/")[0]
    return "/"
