"""What no good client sends, and what no installation wishes for: a clear answer each time, and nothing half-written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests.conftest import Cluster
from tests.flows.asking import HELLO, TURNS, hello, problem
from tests.flows.driver import Body, Client
from tests.flows.furnished import Furnished, House, digest, furnish, open_house
from tollhouse import plugin as th
from tollhouse.auth.models import api_keys
from tollhouse.auth.tokens import new_token
from tollhouse.store.ids import new_id
from tollhouse.usage.models import counters, entries
from tollhouse.usage.verify import verify

MIB = 1024 * 1024
PRIVATE = "the provider's own words"


@pytest.fixture
async def house(cluster: Cluster, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(cluster.dsn, tmp_path) as opened:
        yield opened


@pytest.fixture
async def shop(house: House) -> Furnished:
    return await furnish(house, "bad")


@pytest.fixture
def user(house: House, shop: Furnished) -> Client:
    return Client.program(house.app, shop.slug, shop.tokens["plain_key"])


# -- bodies ---------------------------------------------------------------------------------------------------------------


WRONG: list[dict[str, Any]] = [
    {"agent": 1},
    {"agent": None},
    {"agent": ""},
    {"agent": ["guide"]},
    {"parts": []},
    {"parts": "Hello?"},
    {"parts": [{"type": "text"}]},
    {"parts": [{"type": "text", "text": {"a": 1}}]},
    {"parts": [{"type": "video", "text": "Hello?"}]},
    {"parts": [{"type": "text", "text": "Hello?", "colour": "red"}]},
    {"parts": [{"type": "image"}]},
    {"parts": [{"type": "image", "data": "no base64"}]},
    {"parts": [{"type": "image", "url": "http://127.0.0.1/x"}]},
    {"parts": [{"type": "image", "data": "aGVsbG8=", "file_id": "x"}]},
    {"parameters": [1]},
    {"conversation": 12},
    {"unknown": True},
    {"channel": "web"},
    {"user_id": "somebody"},
]


async def test_wrong_types_and_unknown_fields_are_named(house: House, shop: Furnished, user: Client) -> None:
    before = await digest(house.store, shop.tenant_id)
    for change in WRONG:
        answer = await user.post(TURNS, hello(shop, **change))
        assert problem(answer) == (422, "invalid_input"), (change, answer.text)
        assert any(next(iter(change)) in one["pointer"] for one in answer.json["errors"]), (change, answer.text)
    assert house.plugin.model.calls == []
    assert await _unchanged(house, shop, before)


async def test_what_a_service_refuses_is_pointed_at_in_the_body(house: House, shop: Furnished, user: Client) -> None:
    owner = Client.program(house.app, shop.slug, shop.tokens["owner_key"])
    limit = {"metric": "calls", "amount": 1, "window": "now"}
    terms = {"currency": "ZZZ", "limits": [limit], "agents": [str(new_id())]}
    spec = {"template": "{{ nobody }}", "primary": {"connection_id": shop.ids["model"], "model": "m"}, "parameters": {"n": 2}}
    plans, versions = "/api/v1/admin/plans", f"/api/v1/admin/agents/{shop.ids['agents']}/versions"
    connections, tenant = "/api/v1/admin/connections", "/api/v1/admin/tenant"
    secret = {"kind": "llm", "plugin": "scripted", "name": "N", "values": {"odd": 1}}
    said = {"model": shop.ids["agent"], "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": " "}]}
    cases: list[tuple[Client, str, str, Any, set[str]]] = [
        (
            owner,
            "POST",
            plans,
            {"slug": "p-x", "name": "P", "terms": terms},
            {"#/terms/currency", "#/terms/limits/0/window", "#/terms/agents"},
        ),
        (owner, "POST", plans, {"slug": "p-x", "name": " ", "terms": {}}, {"#/name"}),
        (owner, "PATCH", f"{plans}/{shop.ids['plans']}", {"terms": {"grace_days": 91}}, {"#/terms/grace_days"}),
        (owner, "POST", versions, {"spec": spec}, {"#/spec/template", "#/spec/parameters"}),
        (owner, "POST", connections, secret, {"#/values/odd"}),
        (owner, "PATCH", f"{connections}/{shop.ids['model']}", {"clear": ["name"]}, {"#/clear/0"}),
        (owner, "PATCH", tenant, {"currency": "ZZZ"}, {"#/currency"}),
        (user, "POST", TURNS, hello(shop, parameters={"max_tokens": 0}), {"#/parameters/max_tokens"}),
        (user, "POST", TURNS, hello(shop, parts=[{"type": "image", "file_id": "x"}]), {"#/parts/0/file_id"}),
        (user, "POST", TURNS, hello(shop, parts=[{"type": "text", "text": " "}]), {"#/parts"}),
        (user, "POST", "/v1/chat/completions", said, {"#/messages/1/content"}),
    ]
    for client, method, path, body, pointers in cases:
        answer = await client.send(method, path, Body.json(body))
        assert answer.status == (400 if path.startswith("/v1") else 422), (path, answer.text)
        assert {one["pointer"] for one in answer.json["errors"]} == pointers, (path, answer.text)


async def test_a_parameter_of_the_address_is_named(house: House, shop: Furnished) -> None:
    owner = Client.program(house.app, shop.slug, shop.tokens["owner_key"])
    for query, name in (("users?cursor=???", "cursor"), ("subscriptions?status=bogus", "status"), ("audit?limit=0", "limit")):
        answer = await owner.get(f"/api/v1/admin/{query}")
        assert problem(answer) == (422, "invalid_input")
        assert [(one["parameter"], one["in"]) for one in answer.json["errors"]] == [(name, "query")], query


UNSOUND: list[tuple[bytes, int, str]] = [
    (b"", 422, "invalid_input"),
    (b"{", 400, "bad_request"),
    (b"[1, 2", 400, "bad_request"),
    (b"null", 422, "invalid_input"),
    (b'"text"', 422, "invalid_input"),
    (b'{"agent": "\xff\xfe"}', 400, "invalid_json"),
    (b'{"agent": "gui\\u0000de", "parts": []}', 400, "invalid_json"),
    (b'{"agent": "\\ud800", "parts": []}', 400, "invalid_json"),
    (b'{"a":' * 100 + b"1" + b"}" * 100, 400, "too_complex"),
    (b"[" * 100_000, 400, "too_complex"),
    (b'{"agent": ' + b"9" * 5_000 + b"}", 400, "too_complex"),
    (b"{" + b",".join(b'"k%d":1' % i for i in range(20_000)) + b"}", 400, "too_complex"),
]


async def test_what_is_no_sound_json_is_refused(user: Client) -> None:
    for data, status, code in UNSOUND:
        answer = await user.send("POST", TURNS, Body(data, "application/json"))
        assert problem(answer) == (status, code), (data[:100], answer.text)


async def test_a_nul_is_no_error_of_ours(house: House, shop: Furnished, user: Client) -> None:
    owner = Client.program(house.app, shop.slug, shop.tokens["owner_key"])
    for path in ("/api/v1/turns/\x00", "/api/v1/admin/agents/a\x00b", "/v1/models/a\x00b", "/api/v1/admin/plans/\x00"):
        assert (await owner.get(path)).status == 404, path
    for query in ("users?search=%00", "audit?action=a%00b", "audit?target_id=%00", "orders?state=%00", "prices?search=%00"):
        assert problem(await owner.get(f"/api/v1/admin/{query}")) == (400, "bad_request"), query
    browser = Client.browser(house.app, shop.slug, shop.tokens["plain"])
    assert (await browser.fill("/account/profile", name="a\x00b")).status == 400
    assert (await user.post(TURNS, hello(shop), idempotency_key="a\x00b")).status == 400


async def test_only_json_and_only_plain(user: Client) -> None:
    body = Body(b"agent=guide", "application/x-www-form-urlencoded")
    assert problem(await user.send("POST", TURNS, body)) == (415, "unsupported_media_type")
    answer = await user.send("POST", TURNS, Body.json(HELLO), content_encoding="gzip")
    assert problem(answer) == (415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_refused_before_it_is_read(user: Client) -> None:
    for path, limit in (("/api/v1/policy/check", MIB), (TURNS, 32 * MIB), ("/v1/chat/completions", 32 * MIB)):
        answer = await user.send("POST", path, Body(b"{}", "application/json", announced=limit + 1))
        assert (answer.status, answer.reads) == (413, 0), path
        assert answer.json["code"] == "too_large"
        assert answer.json["limit_bytes"] == limit


async def test_a_body_of_unknown_length_is_read_up_to_the_limit(user: Client) -> None:
    pieces = [b" " * (MIB // 4)] * 100
    answer = await user.send("POST", "/api/v1/policy/check", Body(b"", "application/json", announced=None, pieces=pieces))
    assert problem(answer) == (413, "too_large")
    assert answer.reads == 5


async def test_a_length_that_is_none(user: Client) -> None:
    for length in ("x", "-1", "1e3", "9" * 100):
        answer = await user.send("POST", TURNS, Body.json(HELLO), content_length=length)
        assert answer.status in (400, 413), (length, answer.status)
        assert answer.reads == 0


# -- credentials ----------------------------------------------------------------------------------------------------------


def _spoiled(shop: Furnished) -> dict[str, str]:
    key = shop.tokens["plain_key"]
    return {
        "malformed": f"Bearer {key[:-1]}",
        "wrong checksum": f"Bearer {key[:-1]}{'A' if key[-1] != 'A' else 'B'}",
        "invented": f"Bearer {new_token('api_key', shop.tenant_id)}",
        "of nobody's tenant": f"Bearer {new_token('api_key', new_id())}",
        "a session that never was": f"Bearer {new_token('session', shop.tenant_id)}",
        "a link": f"Bearer {shop.ids['link']}",
        "empty": "Bearer ",
        "no scheme": key,
        "another scheme": f"Basic {key}",
        "endless": f"Bearer {'x' * 5000}",
        "not text": "Bearer \xff\xfe",
    }


async def test_a_bad_credential_is_refused_before_the_body(house: House, shop: Furnished) -> None:
    endless = Body(b"", "application/json", announced=None, pieces=[b"{"])
    for body in (endless, Body(b"{}", "application/json", announced=10**12), Body(b"\xff", "application/json")):
        for name, value in {**_spoiled(shop), "none": ""}.items():
            headers = {"authorization": value} if value else {}
            for path in (TURNS, "/v1/chat/completions", "/api/v1/uploads", "/api/v1/admin/agents"):
                answer = await Client(house.app, f"/t/{shop.slug}", headers).send("POST", path, body)
                assert (answer.status, answer.reads) == (401, 0), (name, path)
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_expired_and_revoked_keys_end_at_once(house: House, shop: Furnished, user: Client) -> None:
    assert (await user.get("/api/v1/me")).status == 200
    [key] = [one for one in (await user.get("/api/v1/api-keys")).json["items"] if one["name"].startswith("Key")]
    assert (await user.send("DELETE", f"/api/v1/api-keys/{key['id']}")).status == 204
    assert problem(await user.get("/api/v1/me")) == (401, "unauthenticated")
    async with house.store.transaction(shop.tenant_id) as conn:
        past = func.app_now() - func.make_interval(0, 0, 0, 1)
        await conn.execute(update(api_keys).where(api_keys.c.user_id == shop.owner_id).values(expires_at=past))
    owner = Client.program(house.app, shop.slug, shop.tokens["owner_key"])
    assert problem(await owner.post(TURNS, HELLO)) == (401, "unauthenticated")


# -- ids and keys ---------------------------------------------------------------------------------------------------------


async def test_unknown_and_foreign_ids_in_a_turn_are_the_same(house: House, shop: Furnished, user: Client) -> None:
    other = await furnish(house, "far")
    for name, table in (("conversation", "conversations"), ("agent", "agents")):
        answers = [
            await user.post(TURNS, hello(shop, **{name: value})) for value in (other.ids[table], str(new_id()), "no id at all")
        ]
        documents = [{**answer.json, "request_id": ""} for answer in answers]
        assert documents[0] == documents[1] == documents[2], name
        assert answers[0].status == 404, name
    for value in (other.ids["files"], str(new_id()), "x"):
        answer = await user.post(TURNS, hello(shop, parts=[{"type": "image", "file_id": value}]))
        assert (answer.status, answer.json["detail"]) == (422, "There is no such upload."), answer.text
    assert house.plugin.model.calls == []


async def test_an_idempotency_key_that_is_none(shop: Furnished, user: Client) -> None:
    for key in ("", " ", "x" * 256, '""'):
        assert problem(await user.post(TURNS, hello(shop), idempotency_key=key)) == (400, "bad_idempotency_key"), key


async def test_a_key_is_for_one_body(house: House, shop: Furnished, user: Client) -> None:
    key = "x" * 255
    first = await user.post(TURNS, hello(shop), idempotency_key=key)
    again = await user.post(TURNS, hello(shop), idempotency_key=key)
    assert (first.status, again.status) == (200, 200), first.text
    assert again.body == first.body
    assert again.headers["idempotent-replayed"] == "true"
    other = await user.post(TURNS, hello(shop, parts=[{"type": "text", "text": "Something else"}]), idempotency_key=key)
    assert problem(other) == (422, "idempotency_mismatch")
    assert len(house.plugin.model.calls) == 1


async def test_a_channel_cannot_be_claimed(house: House, shop: Furnished, user: Client) -> None:
    assert (await user.post(TURNS, hello(shop, channel="web"))).status == 422
    assert (await user.post(TURNS, hello(shop), x_channel="web")).status == 422
    assert house.plugin.model.calls == []


# -- a model that is down -------------------------------------------------------------------------------------------------


DOWN: list[tuple[Callable[..., Exception], int]] = [
    (th.BackendUnavailable, 502),
    (th.BackendTimeout, 504),
    (th.BackendAuthFailed, 502),
    (th.BadCompletion, 502),
]


async def test_a_model_that_is_down_costs_nothing(house: House, shop: Furnished, user: Client) -> None:
    used = await _used(house, shop)
    said = {"model": shop.ids["agent"], "messages": [{"role": "user", "content": "Hello?"}]}
    for error, status in DOWN:
        house.plugin.model.answer = _failing(error)
        answer = await user.post(TURNS, hello(shop))
        assert problem(answer)[0] == status, answer.text
        by_openai = await user.post("/v1/chat/completions", said)
        assert by_openai.status == status
        assert by_openai.headers["x-should-retry"] in ("true", "false")
        assert PRIVATE not in answer.text + by_openai.text
        assert await _used(house, shop) == used
    async with house.store.transaction(shop.tenant_id) as conn:
        fresh = select(entries.c.outcome, entries.c.amounts).where(entries.c.id != shop.ids["entries"])
        rows = (await conn.execute(fresh)).all()
    assert len(rows) >= 2 * len(DOWN)
    assert all(row.outcome != "ok" and not any(row.amounts) for row in rows)
    found = await verify(house.store, shop.tenant_id)
    assert [one for one in found if str(one.subject) != shop.ids["entries"]] == [], (
        "but for the one that the tenant was furnished with"
    )


def _failing(error: Callable[..., Exception]) -> Callable[[Any], th.Completion]:
    def fail(request: Any) -> th.Completion:
        raise error(private=PRIVATE)

    return fail


async def _used(house: House, shop: Furnished) -> list[tuple[int, int]]:
    async with house.store.transaction(shop.tenant_id) as conn:
        rows = await conn.execute(select(counters.c.used, counters.c.held).where((counters.c.used > 0) | (counters.c.held > 0)))
        return [(row.used, row.held) for row in rows]


async def _unchanged(house: House, shop: Furnished, before: dict[str, str]) -> bool:
    """Nothing but when the key and its owner were last seen."""
    after = await digest(house.store, shop.tenant_id)
    return {name for name in before if before[name] != after[name]} <= {"api_keys", "users"}
