"""A connection of the server that ends when its other side does not go on: headers that do not come, answers that are not read.

uvicorn bounds neither: who sends a byte every few seconds keeps a connection for ever, and an answer that nobody reads stays in
memory. Looked at once a second are all connections, so that a request costs nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import termios
from array import array
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _Answering:
    """The transport as an answer sees it."""

    def __init__(self, connection: Connection) -> None:
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing
        self.close = connection.close_after


class Connection(HttpToolsProtocol):
    """uvicorn's, with deadlines."""

    every: ClassVar = 1.0
    """Seconds between two looks."""
    head_seconds: ClassVar = 15.0
    """From the beginning, or from the answer before, to the end of a request's headers."""
    stall_seconds: ClassVar = 15.0
    stall_bytes: ClassVar = 64 * 1024
    """So many of an answer have to be taken in that time, or the rest of it."""
    max_head: ClassVar = 64 * 1024
    """Bytes of headers that are not complete yet; those that are complete are judged, and answered, by the gateway."""
    max_pipeline: ClassVar = 32

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._answering: Any = _Answering(self)
        self._lingers = False
        self._in_head = True
        self._head = 0
        self._left = 0
        self._left_since = self.loop.time()
        self._waits_since: float | None = self.loop.time()

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._head > self.max_head and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what comes after a body is none, for the request was judged by its headers by then."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head = 0
        if len(self.pipeline) >= self.max_pipeline:
            raise ValueError("too many requests at once")  # the parser's: answered as what cannot be read
        if self._lingers:
            raise ValueError("nothing is answered any more")
        self._waits_since = None
        super().on_headers_complete()
        self.cycle.transport = self._answering

    def on_body(self, body: bytes) -> None:
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()
        if self._lingers:
            self.transport.close()

    def close_after(self) -> None:
        """End, after an answer that says so. If a body is still coming, it is thrown away first, for as long as headers may
        take: a connection that is reset while somebody sends takes away from them what they were told."""
        if self.cycle.more_body and self.cycle.response_complete:
            self._lingers = True
            self.flow.resume_reading()
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        waiting = not self.pipeline
        super().on_response_complete()
        if waiting:
            self._waits_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._left = 0

    def _unsupported_upgrade_warning(self) -> None:
        """Answered as if it had not been asked for; what follows in the other protocol is not read."""
        self.cycle.keep_alive = False

    def look(self, now: float) -> bool:
        """End it if it is time, or will be before the next look; whether it was."""
        left = self._unsent()
        if left and self._waits_since is not None:
            self._waits_since = now  # nobody asks for more before they have read what they asked for
        if self._waits_since is not None and now - self._waits_since > self.head_seconds - self.every:
            self._waits_since = None
            self._end()
            return True
        if not left or not self._left or left <= self._left - self.stall_bytes:
            self._left, self._left_since = left, now
        elif now - self._left_since > self.stall_seconds - self.every:
            self._left = 0
            self._end()
            return True
        return False

    def _unsent(self) -> int:
        """Bytes that the other side has not taken: ours, and then those that the system holds too, for it takes our next ones
        only when a good part of its own are gone."""
        ours = self.transport.get_write_buffer_size()
        if not ours:
            return 0
        held = array("i", [0])
        with contextlib.suppress(OSError):  # a system that does not tell
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return ours + held[0]

    def _end(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()
