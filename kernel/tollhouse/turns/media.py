"""Bytes for a turn's media: uploads are opened, data is checked, remote pictures are fetched under the outbound rules.

All of it happens outside any transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from tollhouse.plugin.access import Principal
from tollhouse.plugin.content import FileRef, Media, Message, Part, Text
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.runtime.prepare import Planned, Prepared

MAX_MEDIA = 10


class FileStore(Protocol):
    """What is needed of the uploads."""

    async def put(self, who: Principal, data: bytes, name: str) -> FileRef: ...
    async def open(self, who: Principal, file_id: str) -> tuple[FileRef, bytes]: ...
    def describe(self, data: bytes, name: str) -> FileRef: ...


class MediaLoader:
    """Turns what a client sent into parts that have bytes, and what was stored into the same again."""

    def __init__(self, files: FileStore, fetch: Callable[[str], Awaitable[bytes]]) -> None:
        """``fetch`` gets a remote picture, or refuses its address."""
        self._files = files
        self._fetch = fetch

    async def resolve(self, who: Principal, parts: Sequence[Part], *, keep: bool) -> tuple[Part, ...]:
        """The parts with their bytes. ``keep``: what came as bytes is stored as an upload too.

        Raises:
            InvalidInput: too many files, a type that is not supported, an unknown upload; the part is named.
        """
        if sum(isinstance(part, Media) for part in parts) > MAX_MEDIA:
            raise InvalidInput(f"At most {MAX_MEDIA} files can be sent with one message.", field="parts")
        return tuple([await self._part(who, part, place, keep) for place, part in enumerate(parts)])

    async def _part(self, who: Principal, part: Part, place: int, keep: bool) -> Part:
        if not isinstance(part, Media):
            return part
        try:
            if part.file_id is not None:
                ref, data = await self._files.open(who, part.file_id)
                return _media(ref, data, part.file_id)
            data = part.data if part.data is not None else await self._fetch(part.url or "")
            name = part.name or part.type
            ref = await self._files.put(who, data, name) if keep else self._files.describe(data, name)
        except NotFound:
            raise InvalidInput("There is no such upload.", field=f"parts.{place}.file_id") from None
        except InvalidInput as error:
            raise InvalidInput(error.detail, field=f"parts.{place}") from error
        return _media(ref, data, ref.id if keep else None)

    async def hydrate(self, who: Principal, prepared: Prepared) -> Prepared:
        """The prepared call with the bytes of pictures from its history."""
        if not any(_bare(message) for plan in prepared.estimate.per_candidate for message in plan.messages):
            return prepared
        plans = []
        for plan in prepared.estimate.per_candidate:
            plans.append(await self._hydrate_plan(who, plan))
        estimate = replace(prepared.estimate, per_candidate=tuple(plans))
        return replace(prepared, messages=plans[0].messages, estimate=estimate)

    async def _hydrate_plan(self, who: Principal, plan: Planned) -> Planned:
        messages = []
        for message in plan.messages:
            if _bare(message):
                message = Message(message.role, tuple([await self._load(who, part) for part in message.parts]))
            messages.append(message)
        return replace(plan, messages=tuple(messages))

    async def _load(self, who: Principal, part: Part) -> Part:
        if not isinstance(part, Media) or part.data is not None or part.file_id is None:
            return part
        try:
            ref, data = await self._files.open(who, part.file_id)
        except NotFound:
            return Text(f"({part.type} that is no longer there)")
        return _media(ref, data, part.file_id)


def _bare(message: Message) -> bool:
    return any(isinstance(part, Media) and part.data is None for part in message.parts)


def _media(ref: FileRef, data: bytes, file_id: str | None) -> Media:
    return Media(ref.type, ref.media_type, data=data, file_id=file_id, name=ref.name, size=ref.size)
