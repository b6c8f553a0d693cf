"""The admin's interface, as a program of the team uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.conftest import Cluster
from tests.flows.driver import Body, Client
from tests.flows.furnished import PASSWORD, Furnished, House, furnish, open_house
from tollhouse.store.ids import new_id

DENIALS = "/api/v1/admin/denials"


@pytest.fixture
async def house(cluster: Cluster, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(cluster.dsn, tmp_path) as opened:
        yield opened


@pytest.fixture
async def shop(house: House) -> Furnished:
    return await furnish(house, "adm", operator=True)


@pytest.fixture
def owner(house: House, shop: Furnished) -> Client:
    return Client.program(house.app, shop.slug, shop.tokens["owner_key"])


@pytest.fixture
def user(house: House, shop: Furnished) -> Client:
    return Client.program(house.app, shop.slug, shop.tokens["plain_key"])


def hello(agent: str) -> dict[str, Any]:
    return {"agent": agent, "parts": [{"type": "text", "text": "Hello?"}]}


async def limit_calls(owner: Client, shop: Furnished, amount: int, *, hard: bool) -> None:
    """The furnished user has said nothing today: other limits are in nobody's way."""
    limit = {"metric": "calls", "amount": amount, "window": "hour", "hard": hard}
    path = f"/api/v1/admin/subscriptions/{shop.ids['subscriptions']}/overrides"
    answer = await owner.send("PUT", path, Body.json({"overrides": [limit], "reason": "A trial"}))
    assert answer.status == 200, answer.text


# -- denials --------------------------------------------------------------------------------------------------------------


async def test_who_was_told_no_and_why(house: House, shop: Furnished, owner: Client, user: Client) -> None:
    await limit_calls(owner, shop, 0, hard=True)
    began = datetime.now(UTC) - timedelta(seconds=5)
    for name in (shop.ids["agent"], shop.ids["agent"], shop.ids["agents"]):
        assert (await user.post("/api/v1/turns", hello(name))).status in (402, 429)
    listed = (await owner.get(f"{DENIALS}?user_id={shop.plain_id}&reason=limit_reached&from={_moment(began)}")).json
    by_slug = [one for one in listed["items"] if one["agent"] == shop.ids["agent"]]
    assert sum(one["count"] for one in by_slug) == 2  # in one row, unless a minute ended just then
    denial = by_slug[0]
    assert (denial["user_id"], denial["channel"]) == (str(shop.plain_id), "api")
    assert (denial["decision"]["limit"], denial["decision"]["remaining"], denial["decision"]["window"]) == (0, 0, "hour")
    for name in (shop.ids["agent"], shop.ids["agents"]):  # one agent, by either of its names
        found = (await owner.get(f"{DENIALS}?agent={name}&from={_moment(began)}")).json["items"]
        assert {one["agent"] for one in found} == {shop.ids["agent"], shop.ids["agents"]}
    for query in (f"user_id={shop.owner_id}", "reason=agent_not_in_plan", "agent=another", f"to={_moment(began)}"):
        found = (await owner.get(f"{DENIALS}?from={_moment(began)}&{query}")).json["items"]
        assert found == [], query


async def test_denials_come_in_pages_newest_first(house: House, shop: Furnished, owner: Client, user: Client) -> None:
    await limit_calls(owner, shop, 0, hard=True)
    for name in (shop.ids["agent"], shop.ids["agents"]):
        await user.post("/api/v1/turns", hello(name))
    first = (await owner.get(f"{DENIALS}?limit=1")).json
    assert [one["agent"] for one in first["items"]] == [shop.ids["agents"]]
    second = (await owner.get(f"{DENIALS}?limit=1&cursor={first['next_cursor']}")).json
    assert [one["agent"] for one in second["items"]] == [shop.ids["agent"]]


async def test_denials_are_the_teams_and_the_tenants_own(house: House, shop: Furnished, owner: Client, user: Client) -> None:
    other = await furnish(house, "far")
    theirs = Client.program(house.app, other.slug, other.tokens["owner_key"])
    assert [one["user_id"] for one in (await theirs.get(DENIALS)).json["items"]] == [str(other.plain_id)]
    foreign, unknown = [await owner.get(f"{DENIALS}?user_id={one}") for one in (other.plain_id, new_id())]
    assert (foreign.json, foreign.status) == (unknown.json, 200) == ({"items": [], "next_cursor": None}, 200)
    assert (await user.get(DENIALS)).status == 403
    for query, name in (("reason=bogus", "reason"), ("from=yesterday", "from"), ("to=2026-01-01T00:00:00", "to")):
        answer = await owner.get(f"{DENIALS}?{query}")
        assert (answer.status, answer.json["errors"][0]["parameter"]) == (422, name), query


def _moment(at: datetime) -> str:
    return quote(at.isoformat())


# -- soft limits ----------------------------------------------------------------------------------------------------------


async def test_a_soft_limit_warns_and_a_repeated_turn_warns_again(shop: Furnished, owner: Client, user: Client) -> None:
    await limit_calls(owner, shop, 1, hard=False)
    agent = shop.ids["agent"]
    first = await user.post("/api/v1/turns", hello(agent))
    assert (first.status, first.json["warnings"]) == (200, [])
    check = (await user.post("/api/v1/policy/check", {"agent": agent})).json
    assert (check["allowed"], len(check["warnings"])) == (True, 1)
    assert "1 message an hour" in check["warnings"][0]
    warned = await user.post("/api/v1/turns", hello(agent), idempotency_key="soft")
    assert (warned.status, warned.json["warnings"]) == (200, check["warnings"])
    again = await user.post("/api/v1/turns", hello(agent), idempotency_key="soft")
    assert (again.body, again.headers["idempotent-replayed"]) == (warned.body, "true")
    assert (await user.get(f"/api/v1/turns/{warned.json['id']}")).json == warned.json
    said = {"model": agent, "messages": [{"role": "user", "content": "Hello?"}]}
    by_openai = await user.post("/v1/chat/completions", said)
    assert (by_openai.status, by_openai.headers["x-turn-warning"]) == (200, check["warnings"][0])


# -- links ----------------------------------------------------------------------------------------------------------------


async def test_one_time_links_are_given_whole(house: House, shop: Furnished) -> None:
    owner = Client.program(house.app, shop.slug, shop.tokens["owner"])  # no key makes links
    base = house.container.settings.base_url
    made = (await owner.post("/api/v1/admin/tenants", {"slug": f"n{new_id().hex[-8:]}", "name": "New"})).json
    assert made["url"] == f"{base}/t/{made['slug']}/claim/{made['owner_token']}"
    invited = (await owner.post("/api/v1/admin/users", {"email": "new@example.test"})).json
    assert invited["url"] == f"{base}/t/{shop.slug}/invite/{invited['token']}"
    link = await owner.post(f"/api/v1/admin/users/{shop.plain_id}/link")
    assert (link.status, link.json["expires_in"]) == (201, 3600)
    assert link.json["url"] == f"{base}/t/{shop.slug}/link/{link.json['token']}"
    nobody = Client(house.app, "", {"accept": "text/html", "sec-fetch-site": "same-origin"})
    for url in (made["url"], invited["url"], link.json["url"]):
        assert (await nobody.get(urlsplit(url).path)).status == 200, url
    signed_in = await nobody.fill(urlsplit(link.json["url"]).path)
    assert (signed_in.status, "set-cookie" in signed_in.headers) == (303, True)
    taken = await nobody.fill(urlsplit(invited["url"]).path, password=PASSWORD)
    assert taken.status == 303


async def test_a_sign_in_link_is_made_by_who_may_be_that_person(house: House, shop: Furnished, user: Client) -> None:
    assert (await user.post(f"/api/v1/admin/users/{shop.plain_id}/link")).status == 403
    other = await furnish(house, "far")
    theirs = Client.program(house.app, other.slug, other.tokens["owner"])
    foreign, unknown = [await theirs.post(f"/api/v1/admin/users/{one}/link") for one in (shop.plain_id, new_id())]
    assert (foreign.status, {**foreign.json, "request_id": ""}) == (404, {**unknown.json, "request_id": ""})
