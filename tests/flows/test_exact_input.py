"""Every number, moment and name that the interfaces take, found in their own document, and sent as it must not be."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import Cluster
from tests.flows.driver import Body, Client
from tests.flows.examples import FORMS, JSON, Example, examples
from tests.flows.furnished import Furnished, House, digest, furnish, open_house

NO_NUMBERS: tuple[Any, ...] = (True, False, "1", "1e3", 1.5, 1e3, [1], {"a": 1})
NO_MOMENTS = (
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z",
    "2026-01-01T00:00:00",
    "yesterday",
    1e300,
    True,
)
NO_DAYS = ("9999-12-31", "0001-01-01", "9999-12-31T00:00:00Z", "2026-02-30", "x", "1e3")
NO_NAMES = (
    "A\r\nSet-Cookie: a=b",
    "A\nda",
    "Ada\u202egnp.exe",
    "A\u200bda",
    "A\x07da",
    "A\u2028da",
    "Ada\r",
    "\u2066Ada",
    "\ufeffAda",
)
NAMES = frozenset(("name", "title", "tagline"))
TEXTS = frozenset(("reason", "note", "description", "welcome"))
# Fields of other names that are not exact: what a plugin is configured with, and what goes through to a model as it is.
FREE = frozenset(("parameters", "metadata", "values", "json_schema", "config"))


@pytest.fixture
async def house(cluster: Cluster, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(cluster.dsn, tmp_path) as opened:
        yield opened


@pytest.fixture
async def shop(house: House) -> Furnished:
    return await furnish(house, "exact", operator=True)


def leaves(document: Any, schema: Any, path: tuple[Any, ...] = (), depth: int = 0) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every field of a body, with what it takes; the first of a list stands for all."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from leaves(document, one, path, depth)
    if schema.get("type") == "array" and depth < 8:
        yield from leaves(document, schema.get("items", {}), (*path, 0), depth + 1)
    elif schema.get("type") == "object" and depth < 8:
        for name, one in schema.get("properties", {}).items():
            if name not in FREE:
                yield from leaves(document, one, (*path, name), depth + 1)
    elif schema.get("type") in ("integer", "number", "string"):
        yield path, schema


def put(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The same body with this value at the path; None where there is no place for it."""
    body = copy.deepcopy(body)
    place = body
    for at, step in enumerate(path[:-1]):
        following: Any = [] if isinstance(path[at + 1], int) else {}
        if isinstance(step, int):
            if not isinstance(place, list):
                return None
            if not place:
                place.append(following)
            place = place[0]
        else:
            if not isinstance(place, dict):
                return None
            place = (
                place.setdefault(step, following)
                if place.get(step) is not None
                else place.__setitem__(step, following) or place[step]
            )
    if isinstance(path[-1], int):
        place[:1] = [value]
    else:
        place[path[-1]] = value
    return body


def bodies(house: House, shop: Furnished) -> Iterator[tuple[Example, tuple[Any, ...], Any, Any]]:
    """(route, path, what it takes, body) of every field of every JSON body."""
    document = house.app.openapi()
    for one in examples(house.app):
        operation = document["paths"].get(one.entry.path, {}).get(one.entry.method.lower(), {})
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None or one.key not in JSON:
            continue
        body = JSON[one.key](shop.ids)
        if "spec" not in body and one.key.endswith("/versions"):
            body = JSON["PATCH /api/v1/admin/versions/{version_id}"](shop.ids)
        for path, schema in leaves(document, content["schema"]):
            yield one, path, schema, body


async def refused(client: Client, one: Example, shop: Furnished, path: tuple[Any, ...], body: Any, value: Any) -> str | None:
    """Why it was not refused at its field; None if it was."""
    sent = put(body, path, value)
    if sent is None:
        return None
    if one.key == "POST /api/v1/conversations":  # for who may talk to the agent
        client = Client.program(client.app, shop.slug, shop.tokens["plain_key"])
    ids = {**shop.ids, "prompt_versions": shop.ids["draft"]}
    answer = await client.send(one.entry.method, one.path(ids), Body.json(sent))
    if answer.status not in (400, 422):
        return f"{one.key} {path}={value!r}: {answer.status} {answer.text[:300]}"
    if answer.json.get("code") in ("invalid_json",):
        return None
    pointer = "#/" + "/".join(map(str, path))
    named = {error.get("pointer", "") for error in answer.json.get("errors", ())}
    if not any(
        name == pointer or name.startswith(pointer + "/") or (name and pointer.startswith(name + "/")) for name in named
    ):
        return f"{one.key} {path}={value!r}: names {named} {answer.text[:300]}"
    return None


async def test_whole_numbers_are_nothing_else(house: House, shop: Furnished) -> None:
    client = Client.program(house.app, shop.slug, shop.tokens["owner"])
    tried, wrong = set(), []
    for one, path, schema, body in bodies(house, shop):
        if schema["type"] == "integer":
            tried.add((one.key, path))
            wrong += [why for value in NO_NUMBERS if (why := await refused(client, one, shop, path, body, value))]
    assert not wrong, "\n".join(wrong)
    fields = {path[-1] for _, path in tried}
    assert fields >= {
        "price_minor",
        "amount",
        "grace_days",
        "periods",
        "input_per_million",
        "max_output_tokens",
        "daily_cost_cap",
    }


async def test_moments_and_days_are_where_calendars_have_them(house: House, shop: Furnished) -> None:
    client = Client.program(house.app, shop.slug, shop.tokens["owner"])
    tried, wrong = 0, []
    for one, path, schema, body in bodies(house, shop):
        if schema.get("format") in ("date-time", "date"):
            tried += 1
            wrong += [why for value in NO_MOMENTS if (why := await refused(client, one, shop, path, body, value))]
    assert not wrong, "\n".join(wrong)
    assert tried >= 3
    document, asked = house.app.openapi(), 0
    for one in examples(house.app):
        operation = document["paths"].get(one.entry.path, {}).get(one.entry.method.lower(), {})
        days = [
            name for name in operation.get("parameters", ()) if "format" in str(name.get("schema")) and name["in"] == "query"
        ]
        for day in days:
            for value in NO_DAYS:
                asked += 1
                fine = "2026-01-15T00:00:00Z" if "date-time" in str(day["schema"]) else "2026-01-15"
                others = {item["name"]: fine for item in days} | {day["name"]: value}
                query = urlencode(others)
                answer = await client.get(f"{one.path(shop.ids).partition('?')[0]}?{query}")
                assert answer.status == 422, (one.key, query, answer.text)
                assert day["name"] in {error.get("parameter") for error in answer.json["errors"]}, (one.key, query, answer.text)
    assert asked >= 8 * len(NO_DAYS)


async def test_names_are_one_line_in_which_all_can_be_seen(house: House, shop: Furnished) -> None:
    client = Client.program(house.app, shop.slug, shop.tokens["owner"])
    before = await digest(house.store, shop.tenant_id)
    tried, wrong = set(), []
    for one, path, schema, body in bodies(house, shop):
        if schema["type"] == "string" and path[-1] in NAMES and "enum" not in schema and one.key != "POST /v1/chat/completions":
            if one.key == "POST /api/v1/turns":
                continue  # the name of an attached file: cleaned, for browsers send what they like
            tried.add(one.key)
            wrong += [why for value in NO_NAMES if (why := await refused(client, one, shop, path, body, value))]
        elif schema["type"] == "string" and path[-1] in TEXTS:
            for value in ("A\x1b[2Jb", "A\u202eb", "A\x00b"):
                wrong += [why] if (why := await refused(client, one, shop, path, body, value)) else []
    assert not wrong, "\n".join(wrong)
    assert len(tried) >= 12, tried
    after = await digest(house.store, shop.tenant_id)
    assert {name for name in before if before[name] != after[name]} <= {"api_keys", "users", "sessions"}


async def test_forms_take_no_other_names_and_amounts(house: House, shop: Furnished) -> None:
    owner = Client.browser(house.app, shop.slug, shop.tokens["owner"])
    plain = Client.browser(house.app, shop.slug, shop.tokens["plain"])
    tried = set()
    for one in examples(house.app):
        form = FORMS.get(one.key)
        if form is None or "/as/" in one.entry.path or one.key.startswith(("POST /claim", "POST /invite")):
            continue
        given, client = dict(form(shop.ids)), plain if one.key.startswith("POST /chat") else owner
        for name in sorted(NAMES & given.keys()):
            for value in ("A\r\nSet-Cookie: a=b", "Ada\u202egnp", "A\u200bda"):
                answer = await client.fill(one.path(shop.ids), **{**given, name: value})
                assert answer.status == 422, (one.key, name, value, answer.status)
                assert "set-cookie: a=b" not in answer.everything.lower().split("\n\n")[0]
                tried.add(one.key)
        for name in sorted({"price", "position", "amount"} & given.keys()):
            for value in ("1e3", "1_000", "１０", "0x10", "1 000e1", "nan", "inf", "--1"):
                answer = await client.fill(one.path(shop.ids), **{**given, name: value})
                assert answer.status == 422, (one.key, name, value, answer.status)
                tried.add((one.key, name))
    assert len(tried) >= 6, tried
    for query in ("first=0001-01-01&last=9999-12-31", "last=0001-01-01", "first=9999-12-31", "last=9999-12-31", "first=x"):
        for page in ("/console/usage", "/console/usage.csv"):
            answer = await owner.get(f"{page}?{query}")
            assert answer.status in (404, 422), (page, query, answer.status)
