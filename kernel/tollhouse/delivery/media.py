"""Bytes of messages on their way through the inbox: kept as blobs, because no row holds a picture.

Until the message is handled nobody's user id is known, so these are not files yet: the turn makes files of what it keeps.
In a stored part, ``url`` is ``blob:<id>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from tollhouse.plugin.content import Media, Part
from tollhouse.plugin.events import InboundEvent, InboundMessage
from tollhouse.store.blobs import Blobs, blob_key
from tollhouse.store.ids import new_id, parse_id

SCHEME = "blob:"


async def keep_bytes(blobs: Blobs, tenant_id: UUID, event: InboundEvent) -> tuple[InboundEvent, list[str]]:
    """The event with its bytes put into blobs, and the ids of these."""
    if not isinstance(event, InboundMessage):
        return event, []
    parts: list[Part] = []
    kept: list[str] = []
    for part in event.parts:
        if isinstance(part, Media) and part.url is not None and part.url.startswith(SCHEME):
            part = replace(part, url=None)  # only we make such addresses
        if isinstance(part, Media) and part.data is not None:
            blob = new_id()
            await blobs.put(blob_key(tenant_id, blob), part.data)
            kept.append(str(blob))
            part = replace(part, data=None, url=f"{SCHEME}{blob}", size=len(part.data))
        parts.append(part)
    return replace(event, parts=tuple(parts)), kept


async def load_bytes(blobs: Blobs, tenant_id: UUID, message: InboundMessage) -> InboundMessage:
    """The message with its bytes in memory again."""
    parts: list[Part] = []
    for part in message.parts:
        blob = _blob_of(part.url) if isinstance(part, Media) else None
        if isinstance(part, Media) and blob is not None:
            part = replace(part, url=None, data=await blobs.get(blob_key(tenant_id, blob)))
        parts.append(part)
    return replace(message, parts=tuple(parts))


async def forget_bytes(blobs: Blobs, tenant_id: UUID, kept: Iterable[str]) -> None:
    """Delete blobs that are not needed any more."""
    for blob in kept:
        await blobs.delete(blob_key(tenant_id, UUID(blob)))


def blobs_in(payload: Mapping[str, Any]) -> set[str]:
    """The blobs that a stored event refers to."""
    found = (_blob_of(part.get("url")) for part in payload.get("parts", ()))
    return {str(blob) for blob in found if blob is not None}


def _blob_of(url: str | None) -> UUID | None:
    return parse_id(url.removeprefix(SCHEME)) if url is not None and url.startswith(SCHEME) else None
