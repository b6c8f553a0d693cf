"""Where a page may lead on to when somebody else said where."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

LONGEST: Final = 4_096
TENANTS: Final = "/t/"
"""How paths of tenants begin that are not reached by a name of their own."""


def local_path(wanted: str, root: str = "") -> str | None:
    """``wanted`` as a path of the tenant whose pages begin at ``root``, without that beginning; None if it leads, or could be
    taken to lead, anywhere else: to another host or another tenant, by ``..``, by a backslash, or by any of these encoded."""
    path = wanted.partition("?")[0].partition("#")[0]
    if len(wanted) > LONGEST or not wanted.startswith("/") or not wanted.isprintable() or "\\" in wanted:
        return None
    plain, before = path, ""
    for _ in range(4):  # however often it was encoded: somebody on the way may decode it once more
        before, plain = plain, unquote(plain)
    if before != plain or not plain.isprintable() or "\\" in plain or "//" in plain or {".", ".."} & set(plain.split("/")):
        return None
    if root and (plain == root or plain.startswith(f"{root}/")):
        if not path.startswith(root):
            return None  # its own beginning, encoded: what for?
        wanted, plain = wanted[len(root) :], plain[len(root) :]
    if not wanted.startswith("/"):
        wanted = f"/{wanted}"
    return None if plain.startswith(TENANTS) or plain == TENANTS[:-1] else wanted
