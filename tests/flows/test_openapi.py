"""The interface's document: complete, valid, and true to what is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cluster
from tests.flows.driver import Body, Client
from tests.flows.furnished import House, furnish, open_house
from tests.kernel.routes.openapi import contents, examples, faults, operations, resolved, schemas, structure
from tollhouse.gateway.route_table import UNSAFE, Entry

HIDDEN = {"page"}
"""Mounts of pages are for people."""


@pytest.fixture
async def house(cluster: Cluster, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(cluster.dsn, tmp_path) as opened:
        yield opened


@pytest.fixture
def document(house: House) -> dict[str, Any]:
    return house.app.openapi()  # type: ignore[no-any-return]


def entries(house: House) -> dict[tuple[str, str], Entry]:
    found = {}
    for entry in house.app.table.entries:
        if entry.method != "HEAD" and entry.errors not in HIDDEN:
            found[entry.method.lower(), entry.path.replace(":path}", "}")] = entry
    return found


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert list(structure(document)) == []
    assert list(schemas(document)) == []


def test_every_route_for_programs_is_in_it(house: House, document: dict[str, Any]) -> None:
    told = {(method, path) for method, path, _ in operations(document)}
    others = {("get", path) for path in ("/static/{name}", "/favicon.ico", "/robots.txt", "/brand.css", "/brand/logo")}
    unknown = {(method, "/v1/{rest}") for method in ("get", "post", "put", "patch", "delete")}
    assert set(entries(house)) - told == others | unknown
    assert told <= set(entries(house))


def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    silent = [
        (method, path)
        for method, path, operation in operations(document)
        if not all(operation.get(name) for name in ("summary", "description", "tags", "operationId"))
    ]
    assert silent == []


def test_every_success_and_every_body_has_an_example(document: dict[str, Any]) -> None:
    wrong = []
    for method, path, operation in operations(document):
        good = {status: one for status, one in operation["responses"].items() if status.startswith("2")}
        if not good or any(status != "204" and not one.get("content") for status, one in good.items()):
            wrong.append(f"{method} {path}: no success")
    wrong += [where for where, media in contents(document) if not examples(media)]
    assert wrong == [], wrong


def test_every_example_is_valid_by_its_own_schema(document: dict[str, Any]) -> None:
    wrong = [
        (where, fault)
        for where, media in contents(document)
        for example in examples(media)
        for fault in faults(document, media["schema"], example)
    ]
    wrong += [
        (name, fault)
        for name, schema in document["components"]["schemas"].items()
        if "example" in schema
        for fault in faults(document, {"$ref": f"#/components/schemas/{name}"}, schema["example"])
    ]
    assert wrong == [], wrong


def test_an_example_is_no_placeholder(document: dict[str, Any]) -> None:
    assert [where for where, media in contents(document) for one in examples(media) if "string" in _leaves(one)] == []


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key, one in value.items() if key != "type" for leaf in _leaves(one)]
    return [leaf for one in value for leaf in _leaves(one)] if isinstance(value, list) else [value]


def expected(entry: Entry, operation: dict[str, Any]) -> set[int]:
    """The errors that such a route can give, said anew."""
    if entry.infra:
        return set()
    found = {404, 500, 503}
    if not entry.tenantless:
        found |= {401, 403, 429}
    if entry.method in UNSAFE:
        found |= {400, 413}
        found |= set() if entry.tenantless else {409}
    if operation.get("requestBody") or operation.get("parameters"):
        found.add(422)
    if entry.json:
        found.add(415)
    if entry.path in ("/api/v1/turns", "/v1/chat/completions"):
        found |= {402, 502, 504}
    if (entry.method, entry.path) == ("POST", "/api/v1/conversations"):
        found.add(402)
    return found


def test_every_error_that_it_can_give_is_declared_in_its_shape(house: House, document: dict[str, Any]) -> None:
    wrong = []
    for method, path, operation in operations(document):
        entry = entries(house)[method, path]
        missing = {str(status) for status in expected(entry, operation)} - operation["responses"].keys()
        wrong += [f"{method} {path}: {status}" for status in sorted(missing)]
        for status, response in operation["responses"].items():
            if status[0] in "45" and not entry.infra:
                kind, name = (
                    ("application/json", "OpenAIError") if entry.errors == "openai" else ("application/problem+json", "Problem")
                )
                assert resolved(document, response)["content"][kind]["schema"] == {"$ref": f"#/components/schemas/{name}"}
    assert wrong == [], wrong


def test_a_prompt_version_has_its_schema(document: dict[str, Any]) -> None:
    parts = document["components"]["schemas"]
    spec = {"$ref": "#/components/schemas/VersionSpec"}
    assert {"template", "primary", "modalities", "post"} <= parts["VersionSpec"]["properties"].keys()
    assert spec in parts["CreateDraft"]["properties"]["spec"]["anyOf"]
    assert parts["AgentVersionView"]["properties"]["spec"]["$ref"] == spec["$ref"]


async def test_it_is_made_when_somebody_asks(house: House) -> None:
    assert "openapi_json" not in vars(house.app)
    assert (await Client(house.app).get("/openapi.json")).status == 401
    shop = await furnish(house, "doc")
    owner = Client.program(house.app, shop.slug, shop.tokens["owner_key"])
    assert (await owner.get("/openapi.json")).json == house.app.openapi()
    assert "openapi_json" in vars(house.app)


async def test_real_answers_are_as_the_document_says(house: House, document: dict[str, Any]) -> None:
    shop = await furnish(house, "doc", operator=True)
    owner = Client.program(house.app, shop.slug, shop.tokens["owner_key"])
    ids = {"user_id": str(shop.plain_id), "agent": shop.ids["agent"], "plan": shop.ids["plan"], "turn_id": shop.ids["turns"]}
    ids |= {"agent_id": shop.ids["agents"], "version_id": shop.ids["prompt_versions"], "other_id": shop.ids["draft"]}
    ids |= {"subscription_id": shop.ids["subscriptions"], "connection_id": shop.ids["model"], "plan_id": shop.ids["plans"]}
    ids |= {"conversation_id": shop.ids["conversations"], "tenant_id": str(shop.tenant_id), "file_id": shop.ids["files"]}
    ids |= {"kind": "llm", "plugin": "scripted", "id": shop.ids["agent"]}
    checked = 0
    for method, path, operation in operations(document):
        if method != "get" or not path.startswith(("/api/v1/", "/v1/")):
            continue
        where = path
        for name, value in ids.items():
            where = where.replace(f"{{{name}}}", value)
        needed = {"first": "2026-01-01", "last": "2026-01-31", "backend": "scripted", "model": "m"}
        query = "&".join(
            f"{one['name']}={needed[one['name']]}"
            for one in operation.get("parameters", ())
            if one["in"] == "query" and one["required"]
        )
        answer = await owner.get(f"{where}?{query}")
        media = operation["responses"].get(str(answer.status), {}).get("content", {}).get("application/json")
        if answer.status == 200 and media is not None:
            assert faults(document, media["schema"], answer.json) == [], (path, answer.text)
            checked += 1
        else:
            assert str(answer.status) in operation["responses"], (path, answer.status)
    assert checked > 30


OF_THIS_SHOP = ("_id", "/agents", "/weights", "/plugin", "/default")
"""What a good body can be refused for where its ids, or its plugin, are not there; and the default plan has to stay free."""


async def test_examples_of_bodies_are_understood(house: House, document: dict[str, Any]) -> None:
    """Sent as they stand, with ids that nobody has here: everything but those is accepted."""
    shop = await furnish(house, "doc", operator=True)
    owner = Client.program(house.app, shop.slug, shop.tokens["owner_key"])
    wrong = []
    for method, path, operation in operations(document):
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if media is None or path.startswith("/hooks"):
            continue
        where = path.replace("{agent_id}", shop.ids["agents"]).replace("{user_id}", str(shop.plain_id))
        where = where.replace("{version_id}", shop.ids["draft"]).replace("{plan_id}", shop.ids["plans"])
        answer = await owner.send(method.upper(), where, Body.json(media["example"]))
        if answer.status == 422:
            named = [one.get("pointer", "") for one in answer.json.get("errors", ())]
            if not named or not all(name.endswith(OF_THIS_SHOP) for name in named):
                wrong.append((method, path, answer.json))
        assert str(answer.status) in operation["responses"], (path, answer.status, answer.text)
    assert wrong == [], wrong
