"""Where the embedded server's socket is, and the short alias it gets when its path is too long for a socket address."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tollhouse.store.embedded_process import EmbeddedError

PORT = 5432  # only a part of the socket's name: every cluster has a folder of its own
SOCKET_NAME = f".s.PGSQL.{PORT}"
_ADDRESS_LIMIT = 107 if sys.platform == "linux" else 103


@dataclass(frozen=True)
class EmbeddedAddress:
    """Where the running server is reached."""

    socket_dir: Path
    port: int

    def dsn(self, user: str, database: str) -> str:
        """The address as a URL that asyncpg, psycopg and the programs of PostgreSQL understand."""
        host = quote(str(self.socket_dir), safe="/")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={self.port}"


def reachable_address(sockets: Path) -> EmbeddedAddress:
    """An address of the socket in this folder that is short enough to connect to; it may need an alias, made here.

    Only clients need the alias, the server itself names its folder relatively. So it does not matter that processes
    with different temporary folders make different ones.
    """
    if _fits(sockets):
        return EmbeddedAddress(sockets, PORT)
    alias = _alias(sockets)
    if not _fits(alias):
        raise EmbeddedError(f"the path {sockets} is too long for a socket, and so is {alias}: use a shorter DATA_DIR")
    _make_alias(alias, sockets)
    return EmbeddedAddress(alias, PORT)


def remove_alias(sockets: Path) -> None:
    """Take the alias away again, if this folder has one in the temporary directory of this process."""
    alias = _alias(sockets)
    if not _fits(sockets) and _is_private(alias.parent):
        alias.unlink(missing_ok=True)
        alias.parent.rmdir()


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET_NAME)) <= _ADDRESS_LIMIT


def _alias(sockets: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(sockets)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tollhouse-{os.geteuid()}-{digest}" / "s"


def _is_private(folder: Path) -> bool:
    """Whether the folder is there, no link, and nobody but us can change what is in it."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077 == 0


def _make_alias(alias: Path, target: Path) -> None:
    alias.parent.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(alias.parent):
        raise EmbeddedError(f"{alias.parent} is not a private folder of ours: remove it, or use a shorter DATA_DIR")
    if alias.is_symlink() and alias.readlink() == target:
        return
    # Made beside and moved over, so that no other starter ever finds a moment without the link.
    fresh = alias.with_name(f"s.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(alias)
