"""A tenant's logo: a small picture that everybody may see. Its bytes are a blob, its name stands in the brand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol
from uuid import UUID, uuid5

from tollhouse.plugin.errors import InvalidInput, TooLarge
from tollhouse.store.blobs import Blobs, blob_key
from tollhouse.store.ids import new_id

MAX_BYTES: Final = 512 * 1024
MAX_SIDE: Final = 4096
KINDS: Final = frozenset({"image/png", "image/jpeg", "image/webp"})
WRONG: Final = "A logo is a PNG, JPEG or WebP picture. SVG is not taken: it can carry scripts."
# Logos have keys of their own: a brand that names the upload of a person must not show it to everybody.
_LOGOS: Final = UUID("6f2f6a3e-3a0e-5a43-9b60-5f3a1f3c9d11")


class Picture(Protocol):
    """What bytes are, found from the bytes themselves."""

    @property
    def media_type(self) -> str: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...


class Logos:
    """Keeps and gives the logos of tenants."""

    def __init__(self, blobs: Blobs, sniff: Callable[[bytes], Picture]) -> None:
        """``sniff`` finds the type of bytes; it raises InvalidInput for what it does not know."""
        self._blobs = blobs
        self._sniff = sniff

    async def put(self, tenant_id: UUID, data: bytes) -> UUID:
        """Keep a logo, and give its id: for the brand's ``logo_file_id``.

        Raises:
            InvalidInput: it is none of the types, or has too many pixels.
            TooLarge: over 512 KiB.
        """
        self._check(data)
        logo_id = new_id()
        await self._blobs.put(_key(tenant_id, logo_id), data)
        return logo_id

    async def get(self, tenant_id: UUID, logo_id: UUID) -> tuple[str, bytes]:
        """Media type and bytes.

        Raises:
            NotFound: there is no such logo.
        """
        data = await self._blobs.get(_key(tenant_id, logo_id))
        return self._sniff(data).media_type, data

    async def delete(self, tenant_id: UUID, logo_id: UUID | None) -> None:
        """Forget a logo; fine if there is none."""
        if logo_id is not None:
            await self._blobs.delete(_key(tenant_id, logo_id))

    def _check(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise TooLarge(f"A logo has at most {MAX_BYTES // 1024} KB.")
        if not data:
            raise InvalidInput("Choose a picture.", field="logo")
        try:
            found = self._sniff(data)
        except InvalidInput:
            raise InvalidInput(WRONG, field="logo") from None
        if found.media_type not in KINDS:
            raise InvalidInput(WRONG, field="logo")
        if max(found.width or 0, found.height or 0) > MAX_SIDE:
            raise InvalidInput(f"A logo is at most {MAX_SIDE:,} pixels wide and high.", field="logo")


def _key(tenant_id: UUID, logo_id: UUID) -> str:
    return blob_key(tenant_id, uuid5(_LOGOS, str(logo_id)))
