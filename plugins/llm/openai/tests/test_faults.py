"""Every way in which an endpoint can fail, on a real socket."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tollhouse_openai import OpenAIBackend, OpenAIConfig
from tollhouse_openai.backend import MAX_BODY

from tollhouse.plugin import (
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    CompletionRequest,
    ContentFiltered,
    ContextTooLong,
    Message,
    Text,
    TokenUsage,
)
from tollhouse.testing import make_context


async def fail(server: Any, answer: Any = None, *, url: str | None = None, timeout: float = 5.0) -> BackendError:
    """The error of a call; whatever it is, it must not show the key."""
    if answer is not None:
        server.answers["m"] = answer
    config = OpenAIConfig(base_url=url or server.url, api_key=server.key)
    request = CompletionRequest("m", (Message("user", (Text("Hello"),)),), 5, timeout, "a1")
    async with make_context(config) as ctx:
        with pytest.raises(BackendError) as error:
            await OpenAIBackend().complete(ctx, request)
    found = error.value
    assert server.key not in f"{found.detail} {found!r} {found.private} {found.__cause__}"
    assert found.private
    return found


def answering(status: int, payload: Any = None, *, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    async def answer(request: web.Request) -> web.Response:
        if body is not None or payload is None:
            return web.Response(status=status, body=body or b"", headers=headers)
        return web.json_response(payload, status=status, headers=headers)

    return answer


MAY_HAVE_RUN = {408, 500, 502, 503, 504, 529}
"""Statuses after which nobody knows whether the model was at work."""


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (400, "context_length_exceeded", "too long", ContextTooLong),
        (400, None, "This model's maximum context length is 8192 tokens", ContextTooLong),
        (400, "content_filter", "filtered", ContentFiltered),
        (400, "content_policy_violation", "filtered", ContentFiltered),
        (400, "unsupported_parameter", "no such parameter", BackendRejected),
        (401, "invalid_api_key", "wrong key", BackendAuthFailed),
        (402, None, "pay first", BackendAuthFailed),
        (403, None, "not your model", BackendAuthFailed),
        (404, "model_not_found", "no such model", BackendRejected),
        (408, None, "too slow", BackendTimeout),
        (409, None, "conflict", BackendUnavailable),
        (413, None, "too large", ContextTooLong),
        (418, None, "teapot", BackendRejected),
        (422, None, "unprocessable", BackendRejected),
        (429, "rate_limit_exceeded", "slow down", BackendRateLimited),
        (429, "insufficient_quota", "pay first", BackendAuthFailed),
        (500, None, "oops", BackendUnavailable),
        (502, None, "gateway", BackendUnavailable),
        (503, None, "overloaded", BackendUnavailable),
        (504, None, "gateway timeout", BackendTimeout),
        (529, None, "overloaded", BackendUnavailable),
    ],
)
async def test_statuses(server: Any, status: int, code: str | None, message: str, expected: type[BackendError]) -> None:
    found = await fail(server, answering(status, server.error(message, code)))
    assert type(found) is expected
    assert found.detail == expected.title
    assert message in (found.private or "")
    assert found.may_have_run is (status in MAY_HAVE_RUN or expected is ContentFiltered)
    assert (found.usage == TokenUsage(output=0)) is (found.may_have_run and expected is not BackendTimeout)


@pytest.mark.parametrize(
    "payload", [["odd"], {"error": "text"}, {"error": None}, {"detail": "fastapi"}, {"message": "m"}, "x", 7]
)
async def test_odd_error_bodies(server: Any, payload: Any) -> None:
    assert type(await fail(server, answering(500, payload))) is BackendUnavailable
    assert type(await fail(server, answering(500, body=b"<html>\xff"))) is BackendUnavailable


@pytest.mark.parametrize(
    ("header", "value", "seconds"),
    [
        ("Retry-After", "7", 7),
        ("Retry-After", "1.2", 2),
        ("retry-after-ms", "1500", 2),
        ("Retry-After", "Thu, 15 Jan 2026 12:01:00 GMT", 60),
        ("Retry-After", "Thu, 15 Jan 2026 11:00:00 GMT", 0),
        ("Retry-After", "99999999", 86_400),
        ("Retry-After", "soon", None),
        ("Retry-After", "-5", None),
        ("Retry-After", "nan", None),
    ],
)
async def test_retry_after(server: Any, header: str, value: str, seconds: int | None) -> None:
    assert (await fail(server, answering(429, server.error("busy"), headers={header: value}))).retry_after == seconds


@pytest.mark.parametrize("body", [b"", b"not json", b"<html></html>", b'{"choices": [', b"[" * 100_000, b"\xff\xfe"])
async def test_bodies_that_are_not_json(server: Any, body: bytes) -> None:
    found = await fail(server, answering(200, body=body, headers={"Content-Type": "text/html"}))
    assert (type(found), found.may_have_run, found.usage) == (BadCompletion, True, None)


async def test_json_counts_whatever_its_content_type_says(server: Any) -> None:
    found = await fail(server, answering(200, body=b'{"choices": []}', headers={"Content-Type": "text/plain"}))
    assert "choices" in (found.private or "")


async def test_an_error_inside_a_200(server: Any) -> None:
    assert type(await fail(server, {"error": {"code": 429, "message": server.key}})) is BackendRateLimited
    assert type(await fail(server, {"error": {"code": "context_length_exceeded"}})) is ContextTooLong
    assert type(await fail(server, {"error": {"message": "x"}})) is BackendUnavailable


async def test_a_body_that_is_too_large(server: Any) -> None:
    assert type(await fail(server, answering(200, body=b" " * (MAX_BODY + 1)))) is BadCompletion
    packed = gzip.compress(b" " * (MAX_BODY + 1))
    found = await fail(server, answering(200, body=packed, headers={"Content-Encoding": "gzip"}))
    assert str(MAX_BODY) in (found.private or "")


async def test_of_an_error_without_an_end_only_the_beginning_is_read(server: Any) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=429, headers={"Retry-After": "7"})
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"slow down " * 6_000)
        return response

    found = await fail(server, endless)
    assert type(found) is BackendRateLimited
    assert found.retry_after == 7
    assert (found.private or "").startswith("HTTP 429: slow down")


async def test_an_answer_of_countless_values_is_none(server: Any) -> None:
    """Each of them would be an object of sixty bytes."""
    body = b'{"choices": [' + b"[]," * (MAX_BODY // 4) + b"1]}"
    assert type(await fail(server, answering(200, body=body))) is BadCompletion


async def test_a_broken_encoding(server: Any) -> None:
    assert (
        type(await fail(server, answering(200, body=b"not gzip", headers={"Content-Encoding": "gzip"}))) is BackendUnavailable
    )


async def test_redirects_are_not_followed(server: Any) -> None:
    found = await fail(server, answering(307, body=b"moved", headers={"Location": f"{server.url}/elsewhere"}))
    assert type(found) is BackendRejected


async def test_no_answer_in_time(server: Any) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(3)
        return web.Response()

    async def slow_body(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.sleep(3)
        return response

    for late in (slow, slow_body):
        found = await fail(server, late, timeout=0.1)
        assert (type(found), found.may_have_run, found.usage) == (BackendTimeout, True, None)


async def test_no_connection_in_time(server: Any) -> None:
    """Somebody listens and never takes the connection: nothing was asked, however long that took."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    with listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # until its queue is full
            one.setblocking(False)
            one.connect_ex(address)
        found = await fail(server, url=f"http://127.0.0.1:{address[1]}/v1", timeout=1.0)
        for one in waiting:
            one.close()
    assert (type(found), found.may_have_run) == (BackendTimeout, False)


async def test_the_connection_breaks(server: Any) -> None:
    async def reset(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def cut_short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices":')
        assert request.transport is not None
        request.transport.close()
        return response

    async def chunks_that_end(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b'{"choices":[{"message":{"content":"Half a')
        assert request.transport is not None
        request.transport.abort()
        return response

    for broken in (reset, cut_short, chunks_that_end):
        found = await fail(server, broken)
        assert (type(found), found.may_have_run, found.usage) == (BackendUnavailable, True, None)


async def test_nobody_is_there(server: Any) -> None:
    for nobody in ("http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"):
        found = await fail(server, url=nobody)
        assert (type(found), found.may_have_run) == (BackendUnavailable, False)


async def test_tls_fails(server: Any, certificate: Path) -> None:
    """A server without TLS, one that hangs up in the handshake, and one whose certificate nobody signed."""
    found = await fail(server, url=server.url.replace("http://", "https://"))
    assert (type(found), found.may_have_run) == (BackendUnavailable, False)
    unsigned = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    unsigned.load_cert_chain(certificate)
    for tls in (None, unsigned):
        listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            found = await fail(server, url=f"https://127.0.0.1:{port}/v1")
            assert (type(found), found.may_have_run) == (BackendUnavailable, False)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + signed.public_bytes(Encoding.PEM)
    path = tmp_path / "server.pem"
    path.write_bytes(pem)
    return path
