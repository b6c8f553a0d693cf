"""Files: what users upload. The bytes are a blob, the row says whose they are and what they are."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.conversations import files_repository
from tollhouse.plugin.access import Principal
from tollhouse.plugin.content import FileRef
from tollhouse.plugin.errors import InvalidInput, NotFound, TooLarge
from tollhouse.store.blobs import Blobs, blob_key
from tollhouse.store.ids import new_id, parse_id
from tollhouse.store.store import Store
from tollhouse.store.text import shown

MAX_NAME = 200
REMEMBERED_SECONDS = 60.0
"""How long a process believes how much room a tenant's files take."""
SWEPT_AT_ONCE = 200
MAX_PATH = 4_096
"""How much of what a client calls a file is looked at: of a path the end."""
LARGE = 256 * 1024
"""Larger files are looked at in a thread: their type and digest take up to a tenth of a second, and others are served too."""


class Sniffed(Protocol):
    """What bytes are, found from the bytes themselves."""

    @property
    def type(self) -> Literal["image", "audio", "file"]: ...
    @property
    def media_type(self) -> str: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...


Sniff = Callable[[bytes], Sniffed]
"""Finds the type; raises InvalidInput for what is not supported."""


@dataclass(frozen=True, slots=True)
class FileLimits:
    """How large a file may be, and how much room all of a person's, and all of a tenant's, have; 0: no limit."""

    size: int = 20 * 1024 * 1024
    pixels: int = 25_000_000
    user_bytes: int = 0
    user_files: int = 0
    tenant_bytes: int = 0
    tenant_files: int = 0


class NoRoom(TooLarge):
    """All the room for uploads is used."""

    code = "upload_quota"
    title = "There is no room for another upload"


class FileService:
    """Uploads of users: only their owner finds them."""

    def __init__(self, store: Store, blobs: Blobs, limits: FileLimits, sniff: Sniff) -> None:
        self.store = store
        self.blobs = blobs
        self.limits = limits
        self._sniff = sniff
        self._of_tenant: dict[UUID, tuple[float, int, int]] = {}

    async def put(self, who: Principal, data: bytes, name: str) -> FileRef:
        """Store a file.

        Raises:
            InvalidInput: the type is not supported, the file is empty, or a picture has too many pixels.
            TooLarge: over the upload limit, or ``upload_quota``: there is no room for it.
        """
        file = await self.describe(data, name)
        await self.keep(who, file, data)
        return file

    async def keep(self, who: Principal, file: FileRef, data: bytes) -> None:
        """Store a file that was described before. The blob comes first: a row without its bytes is never seen.

        Raises:
            NotFound: its owner was erased meanwhile.
            NoRoom: it is more than this person, or the tenant, can have.
        """
        async with self.store.transaction(who.tenant_id) as conn:
            await self._check_room(conn, who, file.size)  # before anything is written
        key = blob_key(who.tenant_id, UUID(file.id))
        await self.blobs.put(key, data)
        try:
            async with self.store.transaction(who.tenant_id) as conn:
                if not await files_repository.may_keep(conn, who.tenant_id, who.user_id):
                    raise NotFound()
                await self._check_room(conn, who, file.size)  # again, with the person's row locked: nobody is faster now
                await files_repository.insert_file(conn, who.tenant_id, who.user_id, file)
                self._count(who.tenant_id, file.size)
        except Exception:
            # The commit may have happened without our hearing of it: only a row that is surely missing loses its bytes.
            if not await self._is_recorded(who, UUID(file.id)):
                await self.blobs.delete(key)
            raise

    async def _check_room(self, conn: AsyncConnection, who: Principal, size: int) -> None:
        limits = self.limits
        if limits.user_bytes or limits.user_files:
            count, used = await files_repository.room_used(conn, who.tenant_id, who.user_id)
            _refuse_full("Your uploads", count, used + size, limits.user_files, limits.user_bytes)
        if limits.tenant_bytes or limits.tenant_files:
            # All of a tenant's are many: they are summed up once a minute, and what came here meanwhile is added.
            until, count, used = self._of_tenant.get(who.tenant_id, (0.0, 0, 0))
            if until < time.monotonic():
                count, used = await files_repository.room_used(conn, who.tenant_id)
                self._of_tenant[who.tenant_id] = (time.monotonic() + REMEMBERED_SECONDS, count, used)
            _refuse_full("All uploads here together", count, used + size, limits.tenant_files, limits.tenant_bytes)

    def _count(self, tenant_id: UUID, size: int) -> None:
        if tenant_id in self._of_tenant:
            until, count, used = self._of_tenant[tenant_id]
            self._of_tenant[tenant_id] = (until, count + 1, used + size)

    async def forget_unused(self, tenant_id: UUID) -> int:
        """Forget uploads that no message came to show within a day; how many."""
        done = 0
        while True:
            async with self.store.transaction(tenant_id) as conn:
                gone = await files_repository.delete_unused(conn, tenant_id, SWEPT_AT_ONCE)
            for file_id in gone:
                await self.blobs.delete(blob_key(tenant_id, file_id))
            done += len(gone)
            if len(gone) < SWEPT_AT_ONCE:
                self._of_tenant.pop(tenant_id, None)
                return done

    async def open(self, who: Principal, file_id: str) -> tuple[FileRef, bytes]:
        """A file of the user and its bytes.

        Raises:
            NotFound: unknown, or somebody else's.
        """
        found = parse_id(file_id)
        if found is None:
            raise NotFound()
        async with self.store.transaction(who.tenant_id) as conn:
            file = await self.require(conn, who, found)
        return file, await self.blobs.get(blob_key(who.tenant_id, found))

    async def delete(self, who: Principal, file_id: str) -> None:
        """Forget a file of the user; messages that show it then show that it is gone."""
        found = parse_id(file_id)
        async with self.store.transaction(who.tenant_id) as conn:
            if found is None or not await files_repository.delete_file(conn, who.tenant_id, who.user_id, found):
                raise NotFound()
        await self.blobs.delete(blob_key(who.tenant_id, found))

    async def require(self, conn: AsyncConnection, who: Principal, file_id: UUID) -> FileRef:
        """The user's file, in the caller's transaction.

        Raises:
            NotFound: unknown, or somebody else's.
        """
        file = await files_repository.find_file(conn, who.tenant_id, who.user_id, file_id)
        if file is None:
            raise NotFound()
        return file

    async def erase(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Callable[[], Awaitable[None]]:
        """Forget a user's uploads; what is given back removes their bytes, once the caller's transaction is committed."""
        gone = await files_repository.delete_of_user(conn, tenant_id, user_id)

        async def remove() -> None:
            for file_id in gone:
                await self.blobs.delete(blob_key(tenant_id, file_id))

        return remove

    async def describe(self, data: bytes, name: str) -> FileRef:
        """What a file with these bytes would be recorded as; the same refusals as :meth:`put`."""
        return self._describe(data, name) if len(data) <= LARGE else await asyncio.to_thread(self._describe, data, name)

    def _describe(self, data: bytes, name: str) -> FileRef:
        if len(data) > self.limits.size:
            raise TooLarge(f"A file has at most {self.limits.size / 1024**2:.3g} MB.")
        if not data:
            raise InvalidInput("The file is empty.", field="file")
        sniffed = self._sniff(data)
        if (sniffed.width or 0) * (sniffed.height or 0) > self.limits.pixels:
            raise InvalidInput(f"A picture has at most {self.limits.pixels // 1_000_000} million pixels.", field="file")
        return FileRef(
            id=str(new_id()),
            name=clean_name(name),
            type=sniffed.type,
            media_type=sniffed.media_type,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            width=sniffed.width,
            height=sniffed.height,
        )

    async def _is_recorded(self, who: Principal, file_id: UUID) -> bool:
        try:
            async with self.store.transaction(who.tenant_id) as conn:
                return await files_repository.find_file(conn, who.tenant_id, who.user_id, file_id) is not None
        except Exception:
            return True  # nobody knows: rather an orphan blob than a row without bytes


def _refuse_full(whose: str, count: int, size: int, most_files: int, most_bytes: int) -> None:
    if most_files and count >= most_files:
        raise NoRoom(f"{whose} are {count:,}, which is all there is room for. Delete one that is not needed, then try again.")
    if most_bytes and size > most_bytes:
        room = f"{most_bytes / 1024**2:,.3g} MB" if most_bytes >= 1024**2 else f"{most_bytes:,} bytes"
        raise NoRoom(f"{whose} would take more than the {room} there are. Delete one that is not needed, then try again.")


def clean_name(name: str) -> str:
    """A file's name for showing: no folders, no control characters, at most 200 characters; never used as a path."""
    return shown(re.split(r"[/\\]", name[-MAX_PATH:])[-1], MAX_NAME) or "file"
