"""Connections whose other side does not go on are ended; nobody beside them notices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from tollhouse.wiring.connection import Connection
from tollhouse.wiring.server_process import _Server

GET = b"GET /path HTTP/1.1\r\nhost: here\r\n"
LARGE = 32 * 1024 * 1024
DEADLINE = 1.0
PATIENCE = 10.0
"""Longer than any deadline here; whoever is still connected then was not ended."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was asked; ``/large`` with a lot, in one piece."""
    body, more = b"", scope["path"] != "/refused"
    if not more:
        await send(
            {"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"2"), (b"connection", b"close")]}
        )
        await send({"type": "http.response.body", "body": b"no"})
        return
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    names = b",".join(name for name, _ in scope["headers"])
    answer = b"x" * LARGE if scope["path"] == "/large" else scope["path"].encode() + b" " + names + b" " + body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(answer)).encode())]})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(Connection, "every", 0.1)
    monkeypatch.setattr(Connection, "head_seconds", DEADLINE)
    monkeypatch.setattr(Connection, "stall_seconds", DEADLINE)
    started = asyncio.Event()
    config = uvicorn.Config(
        app, port=0, http=Connection, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=60
    )
    server = _Server(config, started.set)
    serving = asyncio.create_task(server.serve())
    await started.wait()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def _ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends; fails if it does not."""
    said = b""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(65536):
                said += piece
    return said


async def _trickle(port: int, begin: bytes, piece: bytes) -> bytes:
    """Send ``begin``, then ``piece`` again and again, far within any idle time, until the other side ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(DEADLINE / 10)

    sending = asyncio.create_task(send())
    try:
        return await _ended(reader)
    finally:
        sending.cancel()
        writer.close()


async def _ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"connection: close\r\n\r\n")
    try:
        return await _ended(reader)
    finally:
        writer.close()


async def test_many_that_trickle_are_all_ended_and_others_are_answered(port: int) -> None:
    trickling = asyncio.gather(*(_trickle(port, GET, b"x-a: b\r\n") for _ in range(200)))
    while not trickling.done():
        assert b"200 OK" in await _ask(port)
        await asyncio.sleep(DEADLINE / 10)
    assert not any(await trickling)


@pytest.mark.parametrize(
    ("begin", "piece"),
    [(b"", b""), (b"", b"G"), (b"", b"\r\n"), (b"GET /", b"a"), (GET + b"x-a: ", b"b")],
    ids=["nothing", "method", "empty lines", "address", "value"],
)
async def test_a_request_that_does_not_get_done_is_ended(port: int, begin: bytes, piece: bytes) -> None:
    assert b"200 OK" not in await _trickle(port, begin, piece)


async def test_the_second_request_of_a_connection_has_the_same_time(port: int) -> None:
    said = await _trickle(port, GET + b"\r\n" + GET, b"x-a: b\r\n")
    assert said.count(b"200 OK") == 1


async def test_headers_without_end_are_refused(port: int) -> None:
    for begin, piece in ((b"GET /", b"a" * 10_000), (GET, b"x-a: " + b"b" * 10_000 + b"\r\n"), (GET, b"x: y\r\n" * 2_000)):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begin)
        with contextlib.suppress(ConnectionError):
            for _ in range(1_000):
                writer.write(piece)
                await writer.drain()
        said = await _ended(reader)
        assert not said or b"431" in said or b"400" in said
        writer.close()


async def test_an_answer_that_is_not_read_is_ended(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /large HTTP/1.1\r\nhost: here\r\n\r\n")
    said = await reader.read(1)
    await asyncio.sleep(3 * DEADLINE)  # this is what the test is about: nobody reads
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        said += await reader.readexactly(LARGE)
    writer.close()


async def test_an_answer_that_is_read_slowly_arrives(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /large HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
    came, begun = 0, asyncio.get_running_loop().time()
    while piece := await reader.read(512 * 1024):
        came += len(piece)
        if asyncio.get_running_loop().time() - begun < 2 * DEADLINE:
            await asyncio.sleep(DEADLINE / 8)
    assert came > LARGE
    writer.close()


async def test_what_comes_after_a_body_is_no_header(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head + b"2\r\nhi\r\n0\r\nauthorization: Bearer other\r\nx-forwarded-for: 10.0.0.1\r\n\r\n")
    assert (await _ended(reader)).endswith(b"/ host,connection,transfer-encoding hi")
    writer.close()


async def test_an_upgrade_is_answered_as_a_request_and_then_over(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: abc\r\n\r\n\x81\x05hello")
    said = await _ended(reader)
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in said
    writer.close()


async def test_who_is_refused_while_sending_hears_it(port: int) -> None:
    """The answer comes at once, and is not lost with a connection that is reset while the rest of the body is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    size = 8 * 1024 * 1024
    writer.write(b"POST /refused HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % size)
    assert b"503" in await reader.readuntil(b"no")
    writer.write(b"x" * size)
    await writer.drain()
    assert await _ended(reader) == b""
    writer.close()


async def test_who_goes_on_sending_to_nobody_is_ended(port: int) -> None:
    head = b"POST /refused HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
    assert (await _trickle(port, head, b"1\r\nx\r\n")).endswith(b"no")


async def test_nothing_is_answered_after_the_end(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /refused HTTP/1.1\r\nhost: here\r\ncontent-length: 4\r\n\r\n")
    await reader.readuntil(b"no")
    writer.write(b"body" + GET + b"\r\n")
    assert await _ended(reader) == b""
    writer.close()


async def test_requests_in_one_piece_are_answered_in_their_order(port: int) -> None:
    many = b"".join(b"GET /%d HTTP/1.1\r\nhost: here\r\n\r\n" % number for number in range(20))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(many + GET + b"connection: close\r\n\r\n")
    said = await _ended(reader)
    assert [said.find(b"/%d " % number) for number in range(20)] == sorted(said.find(b"/%d " % number) for number in range(20))
    assert said.count(b"200 OK") == 21
    writer.close()


async def test_requests_in_one_piece_have_a_bound(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write((GET + b"\r\n") * 5_000)
    assert (await _ended(reader)).count(b"200 OK") <= Connection.max_pipeline + 1
    writer.close()
