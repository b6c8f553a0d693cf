"""Where connections may lead: the public internet; private addresses by the operator's leave; never to metadata services."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import tollhouse_openai
from aiohttp.abc import AbstractResolver, ResolveResult
from sqlalchemy import update
from yarl import URL

from tests.hosts import INSIDE, LOOPBACK, NEVER, NEVER_BY_NAME, NO_HOSTS, PRIVATE
from tests.world import KEY as WORLD_KEY
from tollhouse import plugin as th
from tollhouse.host.addresses import may_reach
from tollhouse.host.connections import Connections
from tollhouse.host.context import Contexts
from tollhouse.host.http import Http, Unreachable
from tollhouse.host.loader import load_plugins
from tollhouse.host.logs import Scrubber
from tollhouse.settings import Settings
from tollhouse.store.audit import CLI
from tollhouse.store.secrets import SecretBox
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants

KEY = "sk-the-secret-key-of-acme"


@dataclass
class Inside:
    """A service on this machine that says something to everybody, and remembers who came."""

    port: int = 0
    came: int = 0
    say: bytes = b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 26\r\n\r\nthe-banner-of-the-database"
    heads: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.say)
        writer.close()


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    service = Inside()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    yield service
    server.close()
    await server.wait_closed()


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http()
    yield http
    await http.close()


async def outcome(http: Http, url: str, *, private: bool) -> str:
    """What a plugin is told of an address: the class of the error and its words."""
    try:
        async with http.session(private=private).get(url) as answer:
            return f"{answer.status}"
    except (aiohttp.ClientError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


class Names(AbstractResolver):
    """A name server whose answers change."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise OSError("no such name")
        kind = socket.AF_INET6 if ":" in answer else socket.AF_INET
        return [ResolveResult(hostname=host, host=answer, port=port, family=kind, proto=0, flags=0)]

    async def close(self) -> None: ...


def naming(http: Http, monkeypatch: pytest.MonkeyPatch, *answers: str, private: bool = False) -> None:
    connector = http.session(private=private).connector
    assert isinstance(connector, aiohttp.TCPConnector)
    monkeypatch.setattr(connector, "_resolver", Names(*answers))
    monkeypatch.setattr(connector, "_use_dns_cache", False)


# -- at the socket -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", INSIDE)
async def test_nothing_inside_is_connected_to_without_leave(http: Http, inside: Inside, host: str) -> None:
    told = await outcome(http, f"http://{host}:{inside.port}/v1", private=False)
    assert told.startswith(("Unreachable", "InvalidURL", "InvalidUrl", "ValueError")), told
    assert inside.came == 0


@pytest.mark.parametrize("host", [*NEVER, *NEVER_BY_NAME])
async def test_what_nobody_may_reach_is_not_reached_with_leave_either(http: Http, inside: Inside, host: str) -> None:
    told = await outcome(http, f"http://{host}:{inside.port}/v1", private=True)
    assert told.startswith(("Unreachable", "InvalidURL", "InvalidUrl", "ValueError")), told
    assert inside.came == 0


async def test_with_leave_a_model_on_this_machine_is_reached(http: Http, inside: Inside) -> None:
    for host in ("127.0.0.1", "localhost"):
        assert await outcome(http, f"http://{host}:{inside.port}/v1", private=True) == "401"
    assert inside.came == 2
    nobody = Http(private=False)  # the switch of the whole installation
    assert (await outcome(nobody, f"http://127.0.0.1:{inside.port}/v1", private=True)).startswith("Unreachable")
    assert inside.came == 2
    await nobody.close()


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
        ("127.0.0.1", False, True),
        ("10.255.255.255", False, True),
        ("172.31.0.1", False, True),
        ("172.32.0.1", True, True),
        ("100.127.0.1", False, True),
        ("fd12::1", False, True),
        ("::1", False, True),
        ("169.254.169.254", False, False),
        ("fd00:ec2::254", False, False),
        ("fd00:0ec2::0254", False, False),
        ("100.100.100.200", False, False),
        ("168.63.129.16", False, False),
        ("0.0.0.0", False, False),
        ("0.0.0.7", False, False),
        ("::", False, False),
        ("fe80::1", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("255.255.255.255", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("64:ff9b::10.0.0.1", False, False),
        ("no address", False, False),
    ],
)
def test_which_addresses_are_which(address: str, public: bool, private: bool) -> None:
    assert (may_reach(address, private=False), may_reach(address, private=True)) == (public, private)


async def test_a_second_answer_of_the_name_server_is_looked_at_too(
    http: Http, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    naming(http, monkeypatch, "203.0.113.1", "127.0.0.1", "::1", "127.0.0.1")
    for _ in range(4):
        assert (await outcome(http, f"http://rebound.example:{inside.port}/", private=False)).startswith("Unreachable")
    assert inside.came == 0


async def test_what_is_refused_and_what_is_not_there_cannot_be_told_apart(
    http: Http, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = {"open": inside.port, "closed": closed.getsockname()[1]}
        told = set()
        for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", ""):
            naming(http, monkeypatch, address)
            told |= {await outcome(http, f"http://some.example:{port}/", private=False) for port in ports.values()}
    assert told == {"Unreachable: no address that may be called is known by this name"}
    assert inside.came == 0


# -- when a connection is saved ------------------------------------------------------------------------------------------


@pytest.fixture
async def models(store: Store) -> AsyncIterator[Connections]:
    """Connections with the real backend for OpenAI's dialect."""
    host = load_plugins(Settings(), plugins={"openai": tollhouse_openai.plugin}, environ={})
    http = Http()
    yield Connections(store, host, SecretBox([WORLD_KEY]), Contexts(host, store, http, {}), scrubber=Scrubber())
    await http.close()


async def allow(store: Store, tenant_id: UUID, allowed: bool = True) -> None:
    async with store.operator() as conn:
        await conn.execute(update(tenants).where(tenants.c.id == tenant_id).values(private_addresses=allowed))


async def connect(models: Connections, tenant_id: UUID, host: str, name: str = "Main") -> Any:
    values = {"base_url": f"http://{host}/v1", "api_key": KEY}
    return await models.create(CLI, tenant_id, "llm", "openai", name, values)


def info(tenant_id: UUID, **values: Any) -> th.TenantInfo:
    return th.TenantInfo(tenant_id, "t", "T", "UTC", "EUR", "en", "http://127.0.0.1:8000", **values)


@pytest.mark.parametrize("host", INSIDE)
async def test_an_inner_address_is_refused_at_its_field_and_nothing_is_kept(
    models: Connections, tenant_id: UUID, host: str
) -> None:
    with pytest.raises(th.InvalidInput) as refused:
        await connect(models, tenant_id, host)
    assert [fault.pointer for fault in refused.value.errors] == ["#/values/base_url"]
    kept = await connect(models, tenant_id, "api.example.com")
    with pytest.raises(th.InvalidInput) as refused:
        await models.update(CLI, tenant_id, kept.id, values={"base_url": f" https://{host}/", "api_key": KEY})
    assert [fault.pointer for fault in refused.value.errors] == ["#/values/base_url"]
    assert [item.config["base_url"] for item in (await models.list(tenant_id)).items] == ["http://api.example.com/v1"]


async def test_with_the_operators_leave_private_ones_are_saved_and_the_others_not(
    models: Connections, store: Store, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    await allow(store, other_tenant_id)
    for number, host in enumerate([*LOOPBACK, *PRIVATE]):
        await connect(models, other_tenant_id, host, f"n{number}")
    for host in [*NEVER, *NO_HOSTS]:
        with pytest.raises(th.InvalidInput):
            await connect(models, other_tenant_id, host)
    with pytest.raises(th.InvalidInput):
        await connect(models, tenant_id, "127.0.0.1")  # the leave of one is not the other's


async def test_a_leave_that_is_taken_back_ends_at_once(
    models: Connections, store: Store, inside: Inside, tenant_id: UUID
) -> None:
    await allow(store, tenant_id)
    made = await connect(models, tenant_id, f"127.0.0.1:{inside.port}")
    assert not (await models.test(info(tenant_id, private_addresses=True), made.id, CLI)).ok
    bound = await models.bound(info(tenant_id, private_addresses=True), made.id, made.revision)
    assert inside.came == 1
    await allow(store, tenant_id, False)
    again = await models.bound(info(tenant_id), made.id, made.revision)
    assert again.ctx.http is not bound.ctx.http
    with pytest.raises(th.BackendUnavailable):
        await again.obj.models(again.ctx)
    assert inside.came == 1


async def test_a_test_tells_a_prober_nothing_but_no(
    models: Connections, store: Store, inside: Inside, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Ports that are open, closed or silent, addresses that there are or not: the same words, and no packet."""
    caplog.set_level(logging.INFO)
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(1)
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    ports = [inside.port, silent.getsockname()[1], closed.getsockname()[1]]
    made = await connect(models, tenant_id, "api.example.com")
    said = set()
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", ""):
        for port in ports:
            naming(models.contexts.http, monkeypatch, address)
            values = {"base_url": f"http://some.example:{port}/v1", "api_key": KEY}
            await models.update(CLI, tenant_id, made.id, values=values)
            health = await models.test(info(tenant_id), made.id, CLI)
            kept = (await models.get(tenant_id, made.id)).health
            assert kept is not None
            said.add((health.ok, health.detail, kept["detail"]))
    assert len(said) == 1, said
    assert inside.came == 0
    assert "10.0.0.1" in caplog.text, "whoever runs it can see what was refused"
    silent.close()
    closed.close()


async def test_an_answer_of_a_service_is_never_repeated(
    models: Connections, store: Store, inside: Inside, tenant_id: UUID
) -> None:
    await allow(store, tenant_id)
    made = await connect(models, tenant_id, f"127.0.0.1:{inside.port}")
    told = []
    for status in ("401 No", "200 OK", "302 Found", "500 Oh", "418 Teapot"):
        head = f"HTTP/1.1 {status}\r\nLocation: http://x.example/the-banner\r\nContent-Length: 26\r\n\r\n"
        inside.say = head.encode() + b"the-banner-of-the-database"
        told.append((await models.test(info(tenant_id, private_addresses=True), made.id, CLI)).detail)
    inside.say = b"SSH-2.0-the-banner\r\n"
    told.append((await models.test(info(tenant_id, private_addresses=True), made.id, CLI)).detail)
    assert "the-banner" not in " ".join(told)
    assert "does not accept the API key" in told[0], "who may reach it is told what to mend"


async def test_addresses_deep_in_a_configuration_and_in_secrets_are_looked_at(http: Http) -> None:
    values = {"a": {"b": ["https://ok.example", "http://10.0.0.1/"]}, "c": "see http://10.0.0.1", "d": 7, "e": "ftp://[::1]/x"}
    with pytest.raises(th.InvalidInput) as refused:
        await http.check(values, private=False)
    assert [fault.pointer for fault in refused.value.errors] == ["#/values/a/b/1", "#/values/e"]


# -- this installation itself --------------------------------------------------------------------------------------------


class Us:
    """An installation that is called us.example, and listens at one port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def named(self, host: str, port: int | None) -> bool:
        return host == "us.example"

    def at(self, address: str, port: int) -> bool:
        return port == self.port

    async def leads_here(self, host: str, port: int | None) -> bool:
        return self.named(host, port) or port == self.port


async def test_nothing_leads_back_here_by_name_or_by_address(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    http = Http(own=Us(inside.port), hop_headers=lambda: {"Tollhouse-Hops": "x"})
    for url in ("http://us.example/", f"http://127.0.0.1:{inside.port}/", f"http://localhost:{inside.port}/"):
        assert (await outcome(http, url, private=True)).startswith("Unreachable")
    naming(http, monkeypatch, "127.0.0.1", private=True)
    assert (await outcome(http, f"http://alias.example:{inside.port}/", private=True)).startswith("Unreachable")
    assert inside.came == 0
    with pytest.raises(th.InvalidInput, match="cannot be used"):
        await http.check({"base_url": f"https://us.example:{inside.port}"}, private=True)
    await http.close()


async def test_every_request_says_how_many_hops_it_is(inside: Inside) -> None:
    http = Http(hop_headers=lambda: {"Tollhouse-Hops": "ours"})
    session = http.session(private=True)
    for headers in (None, {"tollhouse-hops": "theirs", "X-A": "1"}, [("X-A", "1")]):
        async with session.post(URL(f"http://127.0.0.1:{inside.port}/"), headers=headers, data=b""):
            pass
        head = inside.heads[-1].lower()
        assert head.count(b"tollhouse-hops") == 1
        assert b"tollhouse-hops: ours" in head
        assert (b"x-a: 1" in head) == (headers is not None)
    await http.close()
    with pytest.raises(RuntimeError):
        await session.get("http://127.0.0.1/")
    assert issubclass(Unreachable, aiohttp.ClientError)
