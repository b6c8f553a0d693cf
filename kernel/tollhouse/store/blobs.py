"""Blobs: bytes at rest, outside the database.

A key is ``<tenant>/<two characters>/<id>``: it begins with the tenant and is made of our own ids, never of a name that somebody
sent. A blob is written once and never changed, so no reader sees half of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
from pathlib import Path
from typing import Protocol
from uuid import UUID

from tollhouse.plugin.errors import NotFound
from tollhouse.store.errors import StorageDown, StorageFull
from tollhouse.store.trouble import Seldom, Trouble

log = logging.getLogger(__name__)
_seldom = Seldom(log)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL = Trouble("storage_full", "DATA_DIR has no room left for files: uploads are refused")
BROKEN = Trouble("storage_unavailable", "files cannot be stored in DATA_DIR: uploads are refused")
_KEY = re.compile(r"[0-9a-f-]{36}/[0-9a-f]{2}/[0-9a-f-]{36}")


class Blobs(Protocol):
    """Where blobs lie: a directory, or (later) any S3."""

    async def put(self, key: str, data: bytes) -> str:
        """Store ``data`` whole or not at all; gives its SHA-256 in hex."""
        ...

    async def get(self, key: str) -> bytes:
        """The bytes.

        Raises:
            NotFound: there is no such blob.
        """
        ...

    async def exists(self, key: str) -> bool:
        """Whether there is such a blob."""
        ...

    async def delete(self, key: str) -> None:
        """Remove it; fine if it is gone."""
        ...


def blob_key(tenant_id: UUID, blob_id: UUID) -> str:
    """The key of a tenant's blob."""
    return f"{tenant_id}/{blob_id.hex[-2:]}/{blob_id}"


class BlobStore:
    """Blobs in a directory (:class:`Blobs`). The work is done in threads; the event loop never waits for a disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trouble: Trouble | None = None
        """Why the last blob could not be stored; None since one was."""

    async def put(self, key: str, data: bytes) -> str:
        path = self._path(key)
        try:
            digest = await asyncio.to_thread(_write, path, data)
        except OSError as error:
            self.trouble = FULL if error.errno in NO_ROOM else BROKEN
            _seldom.say(logging.ERROR, "files cannot be stored in DATA_DIR: %s", error.strerror or error)
            raise (StorageFull() if self.trouble is FULL else StorageDown()) from error
        self.trouble = None
        return digest

    async def get(self, key: str) -> bytes:
        try:
            return await asyncio.to_thread(self._path(key).read_bytes)
        except FileNotFoundError:
            raise NotFound() from None
        except OSError as error:
            _seldom.say(logging.ERROR, "files cannot be read in DATA_DIR: %s", error.strerror or error)
            raise StorageDown() from error

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._path(key).is_file)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError("not a blob key")
        return self.root / key


def _write(path: Path, data: bytes) -> str:
    """Write beside the place and rename, so that a crash leaves no half of a blob under its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return hashlib.sha256(data).hexdigest()
