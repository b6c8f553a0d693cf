"""What a plugin finds in its context: ports it declared, the shared HTTP session, the clock, and its state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from tollhouse import plugin as th
from tollhouse.host.caller import Caller
from tollhouse.host.clock import Clock
from tollhouse.host.context import PortGate
from tollhouse.host.http import Http
from tollhouse.host.state import MAX_BYTES, StoredState
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store

# -- ports ---------------------------------------------------------------------------------------------------------------


async def test_a_port_is_made_for_the_caller_when_it_is_asked_for(world: Any, tenant_id: UUID) -> None:
    made: list[Caller] = []

    def turns(caller: Caller) -> str:
        made.append(caller)
        return f"turns of {caller.tenant.slug}"

    world.ports[th.Turns] = turns
    world.ports[th.Files] = lambda caller: pytest.fail("nobody asked for files")
    person = th.Principal(tenant_id, new_id(), "password", "web")
    caller = Caller(world.info(tenant_id), person, "192.0.2.7")
    ctx = world.connections.contexts.for_route("acme-suite", caller)
    assert made == []
    assert ctx.port(th.Turns) == "turns of t"
    assert made == [caller]
    assert (ctx.principal, ctx.connection_id) == (person, None)
    assert ctx.config is world.host.settings("acme-suite")


async def test_an_undeclared_port_is_refused_by_name(world: Any, tenant_id: UUID) -> None:
    world.ports[th.Files] = lambda caller: "files"
    ctx = world.connections.contexts.for_route("acme-suite", Caller(world.info(tenant_id), None))
    with pytest.raises(th.ConfigError, match=r"plugin 'acme-suite' uses the port Files without declaring it"):
        ctx.port(th.Files)
    with pytest.raises(th.ConfigError, match=r"plugin 'acme-suite' needs the port Turns, which this process does not offer"):
        ctx.port(th.Turns)


async def test_where_a_credential_is_only_remembered_nothing_but_turns_can_be_asked(world: Any, tenant_id: UUID) -> None:
    """A route that its mount names as `rechecked`: what admits a turn reads the credential again, no other port does."""
    world.ports[th.Files] = world.ports[th.Turns] = lambda caller: "a port"
    caller = Caller(world.info(tenant_id), None)
    ports = th.PORTS
    context = world.connections.contexts
    gate = PortGate("acme-suite", ports, context.ports, replace(caller, remembered=True))
    assert gate(th.Turns) == "a port"
    with pytest.raises(th.ConfigError, match="can only run turns"):
        gate(th.Files)
    assert PortGate("acme-suite", ports, context.ports, caller)(th.Files) == "a port"


# -- http ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[BaseTestServer]:
    """Redirects /away to /there, and shows at /there what it was sent."""

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/there", "Set-Cookie": "a=1"})

    async def there(request: web.Request) -> web.Response:
        return web.json_response({"cookie": request.headers.get("Cookie")})

    app = web.Application()
    app.router.add_route("*", "/away", away)
    app.router.add_route("*", "/there", there)
    async with TestServer(app) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http()
    yield http
    await http.close()


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete", "head", "options"])
async def test_no_redirect_is_ever_followed(server: BaseTestServer, http: Http, verb: str) -> None:
    for kwargs in ({}, {"allow_redirects": True}):
        async with getattr(http.session(private=True), verb)(server.make_url("/away"), **kwargs) as answer:
            assert (answer.status, answer.url.path) == (307, "/away")
    async with http.session(private=True).request(verb, server.make_url("/away"), allow_redirects=True) as answer:
        assert answer.status == 307


async def test_one_session_that_keeps_no_cookies_and_has_no_limit(server: BaseTestServer, http: Http) -> None:
    session = http.session(private=True)
    assert session is http.session(private=True)
    assert session is not http.session(private=False)
    async with session.get(server.make_url("/away")):
        pass
    async with session.get(server.make_url("/there")) as answer:
        assert await answer.json() == {"cookie": None}
    assert isinstance(session.connector, aiohttp.TCPConnector)
    assert session.connector.limit == 0
    assert session.timeout.total == 10
    await http.close()
    assert session.closed
    assert not http.session(private=True).closed, "a closed one is replaced"


# -- time ----------------------------------------------------------------------------------------------------------------


async def test_the_clock_goes_by_the_database(store: Store) -> None:
    clock = Clock()
    there = datetime(2031, 5, 1, 12, tzinfo=UTC)
    store.at(there)
    await clock.refresh(store)
    assert timedelta(0) <= clock.now() - there < timedelta(seconds=10)
    store.at(None)
    await clock.refresh(store)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=10)


async def test_using_a_connection_sets_the_clock(world: Any, tenant_id: UUID) -> None:
    created = await world.connections.create(CLI, tenant_id, "llm", "acme", "Main", {"api_key": "secret"})
    world.store.at(datetime(2031, 5, 1, 12, tzinfo=UTC))
    bound = await world.connections.bound(world.info(tenant_id), created.id)
    assert bound.ctx.now().year == 2031
    assert bound.ctx.log.extra == {"tenant": str(tenant_id), "plugin": "acme-suite", "connection": str(created.id)}


# -- state ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(store: Store, tenant_id: UUID) -> StoredState:
    return StoredState(store, tenant_id, "acme", None)


@pytest.mark.parametrize("value", [None, 0, "", "é\\u0000", [1, {"a": None}], {"deep": {"er": [True]}}, 1.5])
async def test_a_value_is_remembered_as_it_was(state: StoredState, value: Any) -> None:
    assert await state.get("k") == (None, 0)
    assert await state.put("k", value, revision=0)
    assert await state.get("k") == (value, 1)
    assert await state.put("k", {"then": value}, revision=1)
    assert await state.get("k") == ({"then": value}, 2)


@pytest.mark.parametrize("begin", [0, 1])
async def test_of_many_writers_with_one_revision_exactly_one_wins(state: StoredState, begin: int) -> None:
    if begin:
        assert await state.put("k", "old", revision=0)
    done = await asyncio.gather(*(state.put("k", n, revision=begin) for n in range(12)))
    assert done.count(True) == 1
    assert await state.get("k") == (done.index(True), begin + 1)


async def test_counting_by_compare_and_set_loses_nothing(state: StoredState) -> None:
    async def count() -> None:
        while True:
            value, revision = await state.get("n")
            if await state.put("n", (value or 0) + 1, revision=revision):
                return

    await asyncio.gather(*(count() for _ in range(10)))
    assert await state.get("n") == (10, 10)


@pytest.mark.parametrize("revision", [2, 7, -1])
async def test_a_revision_that_is_not_there_writes_nothing(state: StoredState, revision: int) -> None:
    assert not await state.put("new", 1, revision=revision)
    assert await state.put("k", "kept", revision=0)
    assert not await state.put("k", "lost", revision=revision)
    assert await state.get("k") == ("kept", 1)
    assert await state.get("new") == (None, 0)


async def test_tenants_plugins_and_connections_do_not_share_state(
    world: Any, store: Store, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    first = await world.connections.create(CLI, tenant_id, "llm", "acme", "A", {"api_key": "secret"})
    second = await world.connections.create(CLI, tenant_id, "llm", "acme", "B", {"api_key": "secret"})
    places = [
        (tenant_id, "acme", None),
        (tenant_id, "acme", first.id),
        (tenant_id, "acme", second.id),
        (tenant_id, "other", None),
        (other_tenant_id, "acme", None),
    ]
    states = [StoredState(store, *place) for place in places]
    for n, state in enumerate(states):
        assert await state.put("k", n, revision=0), "nothing is there yet"
    assert [await state.get("k") for state in states] == [(n, 1) for n in range(len(states))]


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("", 1, "key"),
        ("x" * 201, 1, "key"),
        ("a\0", 1, "key"),
        ("\ud800", 1, "key"),
        ("k", {1, 2}, "value"),
        ("k", float("nan"), "value"),
        ("k", "a\0b", "value"),
        ("k", {"\0": 1}, "value"),
        ("k", "\ud800", "value"),
        ("k", "x" * MAX_BYTES, "value"),
    ],
)
async def test_what_cannot_be_stored_names_the_field(state: StoredState, key: str, value: Any, field: str) -> None:
    with pytest.raises(th.InvalidInput) as caught:
        await state.put(key, value, revision=0)
    assert [fault.pointer for fault in caught.value.errors] == [f"#/{field}"]
