"""Bytes for a turn's media: uploads are opened, data is checked, remote pictures are fetched under the outbound rules.

All of it happens outside any transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from tollhouse.plugin.access import Principal
from tollhouse.plugin.content import FileRef, Media, Message, Part, Text
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.records import record
from tollhouse.runtime.prepare import Planned, Prepared

MAX_MEDIA = 10
MAX_PAST_MEDIA = 20
"""How many files of a history that came with the request are sent along: the newest. Of the others the model is told."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes of all files of one call: those of its message, and of its history as many as are left over, the newest."""
Found = tuple[Part, FileRef | None]
"""A part, and what it is recorded as if it is not stored yet."""


@record(frozen=True, slots=True)
class Resolved:
    """Parts with their bytes, those of remote pictures once they are fetched; ``fresh`` came with the request and are not
    stored. ``history`` is what the request says was said before; its files are never stored."""

    parts: tuple[Part, ...]
    fresh: tuple[FileRef, ...] = ()
    history: tuple[Message, ...] = ()


class FileStore(Protocol):
    """What is needed of the uploads."""

    async def keep(self, who: Principal, file: FileRef, data: bytes) -> None: ...
    async def open(self, who: Principal, file_id: str) -> tuple[FileRef, bytes]: ...
    async def describe(self, data: bytes, name: str) -> FileRef: ...


class MediaLoader:
    """Turns what a client sent into parts that have bytes, and what was stored into the same again."""

    def __init__(self, files: FileStore, fetch: Callable[[str], Awaitable[bytes]]) -> None:
        """``fetch`` gets a remote picture, or refuses its address."""
        self._files = files
        self._fetch = fetch

    async def open(self, who: Principal, parts: Sequence[Part], history: Sequence[Message] = ()) -> Resolved:
        """The parts with the bytes that are here; nothing is asked for over the network. Nothing is stored yet either: that is
        for a turn that was admitted, see :meth:`keep`.

        Raises:
            InvalidInput: too many files, a type that is not supported, an unknown upload; the part is named.
        """
        if len(parts) > MAX_MEDIA and sum(isinstance(part, Media) for part in parts) > MAX_MEDIA:
            raise InvalidInput(f"At most {MAX_MEDIA} files can be sent with one message.", field="parts")
        found: list[Found] = []
        for place, part in enumerate(parts):
            found.append(await self._open(who, part, f"parts.{place}"))
            _check_size(found, f"parts.{place}")
        past: list[Message] = []
        room = MAX_BYTES - _size(part for part, _ in found)
        for place, message in reversed(list(enumerate(_newest(history)))):
            if _has_media(message):
                message = await _each(message, f"history.{place}", partial(self._open, who))
                room -= _size(message.parts)
                message = message if room >= 0 else _named(message)
            past.append(message)
        past.reverse()
        return _resolved(found, past)

    async def fetch(self, opened: Resolved) -> Resolved:
        """The same with the bytes of remote pictures.

        Raises:
            InvalidInput: an address that is not allowed or does not answer, a type that is not supported; the part is named.
        """
        if not _lacks_bytes(opened.parts) and not any(_bare(message) for message in opened.history):
            return opened
        found: list[Found] = []
        for place, part in enumerate(opened.parts):
            found.append(await self._fetched(part, f"parts.{place}"))
            _check_size(found, f"parts.{place}")
        past = [
            await _each(message, f"history.{place}", self._fetched) if _bare(message) else message
            for place, message in enumerate(opened.history)
        ]
        fetched = _resolved(found, past)
        return replace(fetched, fresh=opened.fresh + fetched.fresh)

    async def keep(self, who: Principal, resolved: Resolved) -> None:
        """Store what came as bytes as uploads of this person."""
        data = {part.file_id: part.data for part in resolved.parts if isinstance(part, Media)}
        for ref in resolved.fresh:
            await self._files.keep(who, ref, data[ref.id] or b"")

    async def _open(self, who: Principal, part: Part, where: str) -> Found:
        if not isinstance(part, Media):
            return part, None
        if part.file_id is not None:
            try:
                ref, data = await self._files.open(who, part.file_id)
            except NotFound:
                raise InvalidInput("There is no such upload.", field=f"{where}.file_id") from None
            return _media(ref, data, part.file_id), None
        return (part, None) if part.data is None else await self._described(part, part.data, where)

    async def _fetched(self, part: Part, where: str) -> Found:
        if not isinstance(part, Media) or part.data is not None:
            return part, None
        try:
            data = await self._fetch(part.url or "")
        except InvalidInput as error:
            raise InvalidInput(error.detail, field=where) from error
        return await self._described(part, data, where)

    async def _described(self, part: Media, data: bytes, where: str) -> Found:
        try:
            ref = await self._files.describe(data, part.name or part.type)
        except InvalidInput as error:
            raise InvalidInput(error.detail, field=where) from error
        return _media(ref, data, ref.id), ref

    async def hydrate(self, who: Principal, prepared: Prepared) -> Prepared:
        """The prepared call with the bytes of pictures from its history."""
        if not any(_bare(message) for plan in prepared.estimate.per_candidate for message in plan.messages):
            return prepared
        loaded: dict[str, Part] = {}
        plans = [await self._hydrate_plan(who, plan, loaded) for plan in prepared.estimate.per_candidate]
        estimate = replace(prepared.estimate, per_candidate=tuple(plans))
        return replace(prepared, messages=plans[0].messages, estimate=estimate)

    async def _hydrate_plan(self, who: Principal, plan: Planned, loaded: dict[str, Part]) -> Planned:
        """The newest files first, as far as their bytes are few enough; ``loaded``: what another plan has needed too."""
        room, messages = MAX_BYTES - _size(part for message in plan.messages for part in message.parts), []
        for message in reversed(plan.messages):
            if _bare(message):
                parts: list[Part] = []
                for part in reversed(message.parts):
                    if isinstance(part, Media) and part.data is None and part.file_id is not None:
                        part = await self._load(who, part, part.file_id, room, loaded)
                        room -= _size((part,))
                    parts.append(part)
                message = Message(message.role, tuple(reversed(parts)))
            messages.append(message)
        return replace(plan, messages=tuple(reversed(messages)))

    async def _load(self, who: Principal, part: Media, file_id: str, room: int, loaded: dict[str, Part]) -> Part:
        if part.size > room:
            return Text(f"({part.type} that was sent before)")
        if file_id not in loaded:
            try:
                ref, data = await self._files.open(who, file_id)
                loaded[file_id] = _media(ref, data, file_id)
            except NotFound:
                loaded[file_id] = Text(f"({part.type} that is no longer there)")
        return loaded[file_id]


def _size(parts: Iterable[Part]) -> int:
    return sum(len(part.data) for part in parts if isinstance(part, Media) and part.data is not None)


def _check_size(found: Sequence[Found], where: str) -> None:
    if _size(part for part, _ in found) > MAX_BYTES:
        raise InvalidInput(f"All files of one message have at most {MAX_BYTES // 1024**2} MB together.", field=where)


def _resolved(found: Sequence[Found], history: Sequence[Message]) -> Resolved:
    fresh = tuple([ref for _, ref in found if ref is not None])
    return Resolved(tuple([part for part, _ in found]), fresh, tuple(history))


async def _each(message: Message, where: str, work: Callable[[Part, str], Awaitable[Found]]) -> Message:
    found = [await work(part, f"{where}.parts.{place}") for place, part in enumerate(message.parts)]
    return Message(message.role, tuple([part for part, _ in found]))


def _newest(history: Sequence[Message]) -> Sequence[Message]:
    """The history with its newest files only."""
    if sum(isinstance(part, Media) for message in history for part in message.parts) <= MAX_PAST_MEDIA:
        return history
    room, kept = MAX_PAST_MEDIA, []
    for message in reversed(history):
        parts: list[Part] = []
        for part in reversed(message.parts):
            if isinstance(part, Media):
                room -= 1
                parts.append(part if room >= 0 else Text(f"({part.type} that was sent before)"))
            else:
                parts.append(part)
        kept.append(Message(message.role, tuple(reversed(parts))))
    return kept[::-1]


def _named(message: Message) -> Message:
    """The message with its files named only."""
    parts = [Text(f"({part.type} that was sent before)") if isinstance(part, Media) else part for part in message.parts]
    return Message(message.role, tuple(parts))


def _has_media(message: Message) -> bool:
    return any(isinstance(part, Media) for part in message.parts)


def _bare(message: Message) -> bool:
    return _lacks_bytes(message.parts)


def _lacks_bytes(parts: Sequence[Part]) -> bool:
    for part in parts:  # noqa: SIM110 - asked for every message of every turn
        if isinstance(part, Media) and part.data is None:
            return True
    return False


def _media(ref: FileRef, data: bytes, file_id: str | None) -> Media:
    return Media(ref.type, ref.media_type, data=data, file_id=file_id, name=ref.name, size=ref.size)
