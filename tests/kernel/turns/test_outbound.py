"""Fetching what a client names: nothing but the public internet is ever connected to, measured at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from tests.hosts import INSIDE as INSIDE_HOSTS
from tollhouse.host.addresses import is_private_name, is_public
from tollhouse.plugin.errors import InvalidInput, TooLarge
from tollhouse.turns.outbound import Outbound

INSIDE, OUTSIDE = "127.0.0.1", "127.0.0.77"  # the second one plays the public internet
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xff\xff?\0\x05\xfe\x02\xfe"
    b"\xdc\xccY\xe7\0\0\0\0IEND\xaeB`\x82"
)


@dataclass
class Lab:
    """Two servers on one port: one inside, which must never be reached, and one outside that answers as it is told."""

    port: int = 0
    inside: int = 0
    requests: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    drip: float = 0.0

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        if host in self.names:
            answers = self.names[host]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(entry[4][0]) for entry in found]

    def outbound(self, **options: object) -> Outbound:
        ports = frozenset({80, 443, self.port})
        return Outbound(**{"also": frozenset({OUTSIDE}), "ports": ports, "resolve": self.resolve, **options})  # type: ignore[arg-type]

    def url(self, host: str = OUTSIDE, path: str = "/a.png", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.inside += 1
        writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        answer = self.answers.pop(0)
        try:
            if self.drip:
                for at in range(len(answer)):
                    writer.write(answer[at : at + 1])
                    await writer.drain()
                    await asyncio.sleep(self.drip)
            writer.write(answer)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


def ok(body: bytes = PNG, head: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def moved(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    lab = Lab()
    inside = await asyncio.start_server(lab.count, INSIDE, 0)
    lab.port = inside.sockets[0].getsockname()[1]
    outside = await asyncio.start_server(lab.serve, OUTSIDE, lab.port)
    servers = [inside, outside]
    if socket.has_ipv6:
        with contextlib.suppress(OSError):  # a machine without IPv6 has nothing to protect there
            servers.append(await asyncio.start_server(lab.count, "::1", lab.port))
    yield lab
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("host", INSIDE_HOSTS)
async def test_no_spelling_of_an_inner_address_is_connected_to(lab: Lab, host: str) -> None:
    outbound = lab.outbound()
    for url in (lab.url(host), f"http://{host}/", f"https://{host}/"):
        with pytest.raises(InvalidInput) as refused:
            await outbound.fetch(url, field="parts.0.url")
        assert refused.value.errors[0].pointer == "#/parts/0/url"
    assert lab.inside == 0


@pytest.mark.parametrize("host", INSIDE_HOSTS)
@pytest.mark.parametrize("status", [301, 307])
async def test_no_redirect_leads_inside(lab: Lab, host: str, status: int) -> None:
    lab.answers = [moved(lab.url(host), status)]
    with pytest.raises(InvalidInput):
        await lab.outbound().fetch(lab.url())
    assert (lab.inside, len(lab.requests)) == (0, 1)


@pytest.mark.parametrize(
    "answers",
    [
        [[INSIDE]],
        [[OUTSIDE, INSIDE]],
        [[INSIDE, OUTSIDE]],
        [["::1"]],
        [["::ffff:127.0.0.1"]],
        [["10.0.0.1"]],
        [[]],
        [["not an address"]],
    ],
)
async def test_a_name_that_means_an_inner_address(lab: Lab, answers: list[list[str]]) -> None:
    lab.names["pictures.example.com"] = list(answers)
    with pytest.raises(InvalidInput):
        await lab.outbound().fetch(lab.url("pictures.example.com"))
    assert (lab.inside, lab.requests) == (0, [])


async def test_a_name_that_changes_its_meaning(lab: Lab) -> None:
    lab.names["pictures.example.com"] = [[OUTSIDE], [INSIDE]]
    lab.answers = [moved(lab.url("pictures.example.com", "/b.png"))]
    with pytest.raises(InvalidInput):
        await lab.outbound().fetch(lab.url("pictures.example.com"))
    assert (lab.inside, len(lab.requests)) == (0, 1)
    lab.names["pictures.example.com"] = [[OUTSIDE], [INSIDE]]
    lab.answers = [ok()]
    assert await lab.outbound().fetch(lab.url("pictures.example.com")) == PNG  # looked up once, connected to what was checked
    assert lab.inside == 0


async def test_the_socket_itself_is_the_last_wall(lab: Lab) -> None:
    for address in (INSIDE, "::1", "169.254.169.254", "not an address"):
        with pytest.raises(OSError, match="outbound rules"):
            lab.outbound()._socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, lab.port)))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "data:text/plain,x", "//example.com/",
        "example.com",
        "",
        "http://", "http:///x", "http://user@example.com/", "http://user:pass@example.com/", "http://example.com@127.0.0.1/",
        "http://127.0.0.1#@example.com/", "http://127.0.0.1\\@example.com/", "http://example.com:22/", "http://example.com:8080/",
        "http://example.com:0/", "http://example.com:99999/", "http://exa mple.com/", "http://example.com/\r\nHost: x", "http://[::1/",
        "javascript:alert(1)", "http://" + "a" * 9_000, "http://example.com/\0", "HTTP://LOCALHOST/", "ws://example.com/",
    ],
)  # fmt: skip
async def test_addresses_that_are_refused_before_anything_is_asked(lab: Lab, url: str) -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        raise AssertionError("no name is looked up")

    with pytest.raises(InvalidInput):
        await lab.outbound(resolve=never).fetch(url)
    lab.answers = (
        [moved(url)]
        if "\r" not in url and "\0" not in url and len(url) < 8_000 and url not in ("", "example.com", "//example.com/")
        else []
    )
    if lab.answers:
        with pytest.raises(InvalidInput):
            await lab.outbound(resolve=never).fetch(lab.url())
    assert lab.inside == 0


async def test_a_picture_is_fetched_and_nothing_of_ours_is_sent(lab: Lab) -> None:
    lab.answers = [
        moved("/b.png"),
        moved(lab.url(path="/c.png"), 308),
        moved("d.png", 303),
        ok(head="Content-Type: text/html\r\n"),
    ]
    found = await lab.outbound().media(lab.url(), name="a.png")
    assert (found.type, found.media_type, found.data, found.name) == ("image", "image/png", PNG, "a.png")
    assert [request.split()[1] for request in lab.requests] == [b"/a.png", b"/b.png", b"/c.png", b"/d.png"]
    for request in lab.requests:
        lower = request.lower()
        assert request.startswith(b"GET ")
        assert not any(name in lower for name in (b"cookie", b"authorization", b"referer"))


async def test_a_fourth_redirect_is_one_too_many(lab: Lab) -> None:
    lab.answers = [moved("/x")] * 4
    with pytest.raises(InvalidInput, match="redirects"):
        await lab.outbound().fetch(lab.url())
    assert len(lab.requests) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        ok(head="Content-Encoding: gzip\r\n"),
        b"not http at all\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        ok(b"MZ\x90\0\x03\0"),
    ],
)
async def test_an_answer_that_is_no_file(lab: Lab, answer: bytes) -> None:
    lab.answers = [answer]
    with pytest.raises(InvalidInput):
        await lab.outbound().media(lab.url())


async def test_size_and_time_are_bounded(lab: Lab) -> None:
    small = lab.outbound(max_bytes=1_000)
    lab.answers = [ok(b"x" * 1_000), ok(b"x" * 1_001)]
    assert len(await small.fetch(lab.url())) == 1_000
    with pytest.raises(TooLarge):
        await small.fetch(lab.url())
    lab.answers = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 5_000]
    with pytest.raises(TooLarge):
        await small.fetch(lab.url())
    lab.answers, lab.drip = [ok()], 0.05
    started = asyncio.get_running_loop().time()
    with pytest.raises(InvalidInput):
        await lab.outbound(timeout=0.3).fetch(lab.url())
    assert asyncio.get_running_loop().time() - started < 2


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_public_names() -> None:
    assert not is_private_name("example.com")
    assert not is_private_name("internal.example.com")
    assert is_private_name("foo.internal")
