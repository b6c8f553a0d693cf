"""Bodies: bounded before and while they are read, and checked before anything parses them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from tollhouse.gateway.body_memory import BodyMemory, Share
from tollhouse.gateway.errors import BadRequest, BodyTimeout, TooComplex, UnsupportedMediaType
from tollhouse.gateway.exchange import JSON, Exchange
from tollhouse.gateway.json_bodies import WINDOW, check_json, is_harmless, parse_json
from tollhouse.gateway.route_table import UNSAFE
from tollhouse.plugin.errors import TooLarge
from tollhouse.settings import Settings

T = TypeVar("T")

READ_SECONDS: Final = 30.0
MAX_FIELDS: Final = 1000
FEW: Final = 16 * 1024
"""Bytes that are looked over at once, whatever is in them."""
FORM_TYPES: Final = (b"application/x-www-form-urlencoded", b"multipart/form-data")


def media_type(headers: dict[bytes, bytes]) -> bytes:
    """The media type of the body, without parameters."""
    return headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()


def is_json(kind: bytes) -> bool:
    """Whether this media type is JSON."""
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def has_body(headers: dict[bytes, bytes]) -> bool:
    """Whether the request announces a body."""
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def check_announced(headers: dict[bytes, bytes], limit: int, *, json_only: bool) -> int:
    """What can be refused before a byte is read; the length that was announced.

    Raises:
        TooLarge: the announced length is over the limit.
        UnsupportedMediaType: it is compressed, or not JSON where JSON is wanted.
    """
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise BadRequest("Content-Length is not a number")
    if int(length[:20]) > limit:
        raise TooLarge(f"The body is larger than {limit} bytes", limit_bytes=limit)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("Compressed bodies are not accepted")
    if json_only and has_body(headers) and not is_json(media_type(headers)):
        raise UnsupportedMediaType()
    return int(length)


class Bodies:
    """What the gateway does with the bodies of all requests of a process."""

    def __init__(self, settings: Settings) -> None:
        self.memory = BodyMemory(settings.body_memory)
        self._limit = settings.body_limit
        self._large_limit = settings.large_body_limit
        self._one = asyncio.Semaphore(1)

    async def guard(self, scope: Scope, receive: Receive, exchange: Exchange, method: str) -> Receive:
        """A ``receive`` that keeps to the limits; JSON and forms are read and looked over at once.

        A large JSON body is looked over when the route asks for it, as bytes or, better, by ``await scope[JSON]()`` as the
        document that is in it: then nobody holds its bytes any more.
        """
        entry, headers = exchange.entry, exchange.headers
        if entry is None or (method not in UNSAFE and not has_body(headers)):
            return receive
        limit = self._large_limit if entry.large else self._limit
        announced = check_announced(headers, limit, json_only=entry.json)
        exchange.body = self.memory.share(stranger=exchange.caller is None or exchange.caller.principal is None)
        exchange.body.take(announced)
        counted = CountedBody(receive, limit, exchange.body if b"transfer-encoding" in headers else None)
        kind = media_type(headers)
        if is_json(kind) and not entry.tenantless:
            body = await counted.read()
            if entry.large and len(body) > WINDOW:
                large = LargeJson(body, receive, self._aside)
                scope[JSON] = large.document
                return large
            if len(body) > WINDOW or not is_harmless(body):
                await self._aside(check_json, body)
            return ReadBody(body, receive)
        if kind == FORM_TYPES[0] and not entry.tenantless:
            body = await counted.read()
            check_form(body)
            return ReadBody(body, receive)
        return counted

    async def _aside(self, work: Callable[[bytes], T], body: bytes) -> T:
        """What takes longer is done in a thread, one at a time: two would only take the interpreter from each other."""
        if len(body) <= FEW:
            return work(body)
        async with self._one:
            return await asyncio.to_thread(work, body)


class CountedBody:
    """A body handed on as it comes: counted, with one deadline for all of it."""

    __slots__ = ("_deadline", "_done", "_left", "_limit", "_receive", "_share")

    def __init__(self, receive: Receive, limit: int, share: Share | None = None) -> None:
        """``share``: of memory, where the length was not announced and is counted as it comes."""
        self._receive = receive
        self._share = share
        self._left = self._limit = limit
        self._deadline = time.monotonic() + READ_SECONDS
        self._done = False

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()
        try:
            async with asyncio.timeout(max(self._deadline - time.monotonic(), 0.001)):
                message = await self._receive()
        except TimeoutError:
            raise BodyTimeout() from None
        self._done = not message.get("more_body", False)
        size = len(message.get("body", b""))
        self._left -= size
        if self._left < 0:
            raise TooLarge(f"The body is larger than {self._limit} bytes", limit_bytes=self._limit)
        if self._share is not None:
            self._share.take(size)
        return message

    async def read(self) -> bytes:
        """All of it."""
        chunks = []
        while not self._done:
            message = await self()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect()
            chunks.append(message.get("body", b""))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class ReadBody:
    """A body that was read already, handed on in one piece."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class LargeJson(ReadBody):
    """A large JSON body, as bytes or as its document; nothing of it was looked at yet."""

    __slots__ = ("_aside",)

    def __init__(self, body: bytes, receive: Receive, aside: Callable[[Callable[[bytes], Any], bytes], Any]) -> None:
        super().__init__(body, receive)
        self._aside = aside

    async def __call__(self) -> Message:
        if self._body is not None:
            await self._aside(check_json, self._body)
        return await super().__call__()

    async def document(self) -> Any:
        """What is in it; its bytes are given up."""
        body, self._body = self._body, None
        assert body is not None, "a body is read once"
        return await self._aside(parse_json, body)


def check_form(body: bytes) -> None:
    """Refuse a URL-encoded form that is dangerous to parse or to store."""
    if b"%00" in body or b"\x00" in body:
        raise BadRequest("The form contains a NUL character")
    if body.count(b"&") >= MAX_FIELDS:
        raise TooComplex(f"The form has more than {MAX_FIELDS} fields")
