"""A connection that leads back to the installation itself ends, whichever way it leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.flows.driver import Body, Client
from tests.flows.first import Installation, claimed, installation, registered, say
from tests.world import KEY
from tollhouse.store.hops import HEADER, Hops
from tollhouse.store.secrets import SecretBox


@pytest.fixture
async def first(empty_dsn: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(empty_dsn, tmp_path, "openai") as made:
        yield made


async def key_of(client: Client) -> str:
    return str((await client.post("/api/v1/api-keys", {"name": "k"})).json["key"])


async def connected(operator: Client, base_url: str, key: str) -> dict[str, Any]:
    body = {"kind": "llm", "plugin": "openai", "name": base_url[-90:], "values": {"base_url": base_url, "api_key": key}}
    made = await operator.post("/api/v1/admin/connections", body)
    assert made.status == 201, made.text
    return dict(made.json)


async def used(operator: Client, connection: dict[str, Any], model: str) -> None:
    """The first agent answers by this connection from now on."""
    [agent] = (await operator.get("/api/v1/admin/agents")).json["items"]
    path = f"/api/v1/admin/agents/{agent['id']}/versions"
    spec = (await operator.get(path)).json["items"][0]["spec"]
    primary = {"connection_id": connection["id"], "model": model}
    draft = await operator.post(path, {"spec": {**spec, "primary": primary, "modalities": ["text"]}})
    assert draft.status == 201, draft.text
    assert (await operator.post(f"/api/v1/admin/versions/{draft.json['id']}/activate", {})).status == 200


class Alias:
    """Another address of the installation, as a proxy that nobody told it of: bytes go through as they are."""

    def __init__(self, port: int) -> None:
        self.to, self.port, self.passed = port, 0, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.passed += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.to)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)


@pytest.fixture
async def alias(first: Installation) -> AsyncIterator[Alias]:
    proxy = Alias(int(first.address.rpartition(":")[2]))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()


async def test_no_connection_to_itself_is_saved(first: Installation) -> None:
    operator = await claimed(first)
    port = first.address.rpartition(":")[2]
    [tenant] = (await operator.get("/api/v1/admin/tenants")).json["items"]
    changed = await operator.send("PATCH", f"/api/v1/admin/tenants/{tenant['id']}", body_of(hosts=["agents.acme.example"]))
    assert changed.status == 200, changed.text
    numbers = ("127.0.0.1", "127.1", "127.0.0.9", "2130706433", "0x7f000001")
    for host in (*numbers, "localhost", "agents.acme.example", "AGENTS.acme.example."):
        values = {"base_url": f"http://{host}:{port}/v1", "api_key": "sk-1"}
        body = {"kind": "llm", "plugin": "openai", "name": "Self", "values": values}
        refused = await operator.post("/api/v1/admin/connections", body)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/values/base_url"), (host, refused.text)
        assert "this installation itself" in refused.json["errors"][0]["detail"], host


def body_of(**values: Any) -> Any:
    return Body.json(values)


async def test_a_connection_that_leads_back_by_another_way_ends_after_one_hop(first: Installation, alias: Alias) -> None:
    operator = await claimed(first)
    ada = await registered(first, "ada@example.test")
    await used(operator, await connected(operator, f"http://127.0.0.1:{alias.port}/v1", await key_of(ada)), "guide")
    answer = await say(ada)
    assert (answer.status, answer.json["code"][:6]) == (502, "model_"), answer.text
    async with first.process.store.transaction((await first.process.container.directory.by_slug("default")).id) as conn:
        turns = (await conn.execute(text("SELECT count(*) FROM turns"))).scalar()
        outcomes = set((await conn.execute(text("SELECT outcome FROM entries"))).scalars())
    # The first, and one hop further, whose own call heard that it goes in circles; its tries are one turn, by their key.
    assert turns == 2
    assert outcomes == {"model_unavailable", "model_rejected"}


async def test_one_hop_is_let_in_and_two_are_told_why_they_are_not(first: Installation) -> None:
    ada = await registered(first, "ada@example.test")
    ours, theirs = Hops(SecretBox([KEY])), Hops(SecretBox([b"x" * 32]))
    once = ours.headers()[HEADER]
    ours.arrived(once.encode())
    twice = ours.headers()[HEADER]
    ours.arrived(None)
    body = {"model": "guide", "messages": [{"role": "user", "content": "Hello!"}]}
    for header, status in (
        (once, 200),
        (twice, 508),
        (theirs.headers()[HEADER], 200),
        (twice[:-1] + "0!", 200),
        ("rubbish", 200),
    ):
        answer = await ada.post("/v1/chat/completions", body, tollhouse_hops=header)
        assert answer.status == status, answer.text
        if status == 508:
            assert answer.json["error"]["code"] == "goes_in_circles"
            assert "leads back to this installation" in answer.json["error"]["message"]
            assert answer.headers["x-should-retry"] == "false"
    assert (await ada.get("/api/v1/me", tollhouse_hops=twice)).status == 508


async def test_an_address_that_became_ours_later_is_refused_when_it_is_called(first: Installation, alias: Alias) -> None:
    operator = await claimed(first)
    container = first.process.container
    made = await connected(operator, f"http://127.0.0.1:{alias.port}/v1", "sk-1")
    own = container.http.own
    assert not own.at("127.0.0.1", alias.port)
    own._port = alias.port  # another process of the installation listens there, say
    tested = await operator.post(f"/api/v1/admin/connections/{made['id']}/test", {})
    assert tested.json["ok"] is False
    assert alias.passed == 0
    [tenant] = (await operator.get("/api/v1/admin/tenants")).json["items"]
    await operator.send("PATCH", f"/api/v1/admin/tenants/{tenant['id']}", body_of(hosts=["agents.acme.example"]))
    container.directory.forget()
    port = int(first.address.rpartition(":")[2])
    assert not own.named("agents.acme.example", port)
    assert (await operator.get("/healthz")).status == 200
    seen = Client.program(first.process.app, "default", None, "")
    assert (await seen.get("/api/v1/plans", host=f"agents.acme.example:{port}")).status == 200
    assert own.named("agents.acme.example", port), "a name by which requests come here is ours"
    assert not own.named("other.acme.example", port)
