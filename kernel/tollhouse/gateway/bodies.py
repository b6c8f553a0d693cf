"""Bodies: bounded before and while they are read, and checked before anything parses them."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from tollhouse.gateway.errors import BadRequest, BodyTimeout, TooComplex, UnsupportedMediaType
from tollhouse.gateway.json_bodies import check_json
from tollhouse.plugin.errors import TooLarge

READ_SECONDS: Final = 30.0
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


def check_announced(headers: dict[bytes, bytes], limit: int, *, json_only: bool) -> None:
    """What can be refused before a byte is read.

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


class CountedBody:
    """A body handed on as it comes: counted, with one deadline for all of it."""

    __slots__ = ("_deadline", "_done", "_left", "_limit", "_receive")

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
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
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise TooLarge(f"The body is larger than {self._limit} bytes", limit_bytes=self._limit)
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


async def checked_json(receive: Receive, limit: int) -> Receive:
    """Read a JSON body and look it over; what is given back hands it on."""
    body = await CountedBody(receive, limit).read()
    check_json(body)
    return ReadBody(body, receive)


async def checked_form(receive: Receive, limit: int) -> Receive:
    """The same for a URL-encoded form."""
    body = await CountedBody(receive, limit).read()
    if b"%00" in body or b"\x00" in body:
        raise BadRequest("The form contains a NUL character")
    if body.count(b"&") >= 1000:
        raise TooComplex("The form has more than 1000 fields")
    return ReadBody(body, receive)
