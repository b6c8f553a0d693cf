"""The first hour of an installation, with the plugins as they are installed: from the link on the terminal to the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from sqlalchemy import text

from tests.flows.driver import Body, Client
from tests.flows.first import PASSWORD, Installation, claimed, cookie_of, installation, payable, registered, say
from tollhouse.usage.verify import verify
from tollhouse.wiring.commands import create_tenant, verify_ledgers

DAY = 20


@pytest.fixture
async def first(empty_dsn: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(empty_dsn, tmp_path, "openai") as made:
        yield made


async def test_somebody_uses_up_the_free_plan_and_is_told_why(first: Installation) -> None:
    ada = await registered(first, "ada@example.test")
    for number in range(DAY):
        answer = await say(ada)
        assert answer.status == 200, (number, answer.text)
    assert answer.json["reply"]["parts"][0]["text"].startswith("Hello!")
    denied = await say(ada)
    assert denied.status == 402
    assert denied.headers["content-type"] == "application/problem+json"
    why = denied.json
    assert (why["code"], why["retryable"]) == ("limit_reached", False)
    assert (why["limit"], why["used"], why["remaining"]) == (DAY, DAY, 0)
    assert why["resets_at"]
    assert why["upgrade_url"] == f"{first.address}/plans"
    [limit] = (await ada.get("/api/v1/usage")).json["items"]
    assert (limit["metric"], limit["window"], limit["used"], limit["held"], limit["remaining"]) == ("calls", "day", DAY, 0, 0)
    check = (await ada.post("/api/v1/policy/check", {"agent": "guide"})).json
    assert (check["allowed"], check["reason"], check["plan"]) == (False, "limit_reached", "free")

    # The same person by API key and OpenAI's own client: one allowance on all channels.
    key = (await ada.post("/api/v1/api-keys", {"name": "laptop"})).json["key"]
    async with openai.AsyncOpenAI(base_url=f"{first.address}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model="guide", messages=[{"role": "user", "content": "Hello!"}])
        assert refused.value.status_code == 402
        assert refused.value.code == "limit_reached"
        await _upgrade(first, ada)
        reply = await client.chat.completions.create(model="guide", messages=[{"role": "user", "content": "Hello!"}])
        assert (reply.choices[0].message.content or "").startswith("Hello!")
    assert await verify_ledgers(first.process.container, None) == []


async def _upgrade(first: Installation, ada: Client) -> None:
    """Order the bigger plan, and an admin confirms that the money has come."""
    refused = await ada.post("/api/v1/subscriptions", {"plan": "pro"})
    assert (refused.status, refused.json["code"]) == (409, "no_payment_provider"), "nobody has said yet how to pay"
    assert (await ada.get("/api/v1/orders")).json["items"] == []
    await payable(first)
    ordered = await ada.post("/api/v1/subscriptions", {"plan": "pro"})
    assert ordered.status == 201
    assert ordered.json["order"]["state"] == "pending"
    assert "19.00" in ordered.json["next_action"]["text"]
    assert (await say(ada)).status == 402  # nothing is given before it is paid
    operator = await claimed(first)
    assert "Ada" in (await operator.get("/console/orders")).text
    assert (await operator.fill(f"/console/orders/{ordered.json['order']['id']}/confirm")).status == 303
    after = await say(ada)
    assert after.status == 200, after.text
    plans = {one["plan"]: one["status"] for one in (await ada.get("/api/v1/subscriptions")).json["items"]}
    assert plans == {"free": "ended", "pro": "active"}


async def test_a_browser_registers_and_talks_and_a_new_version_answers_the_next_turn(first: Installation) -> None:
    app = first.process.app
    stranger = Client.browser(app, "default", None, "")
    landing = await stranger.get("/")
    assert "Guide" in landing.text
    made = await stranger.fill("/register", email="bob@example.test", password=PASSWORD, name="Bob")
    assert (made.status, made.location) == (303, "/chat")
    bob = Client.browser(app, "default", cookie_of(made), "")
    sent = await bob.fill("/chat", agent="guide", text="Hello!", key="first-message")
    assert sent.status == 303
    page = await bob.get(urlsplit(sent.location).path)
    assert "Ask me" in page.text

    operator = await claimed(first)
    [agent] = (await operator.get("/api/v1/admin/agents")).json["items"]
    [version] = (await operator.get(f"/api/v1/admin/agents/{agent['id']}/versions")).json["items"]
    spec = {**version["spec"], "post": {**version["spec"]["post"], "footer": "Second version."}}
    draft = (await operator.post(f"/api/v1/admin/agents/{agent['id']}/versions", {"spec": spec, "note": "Better"})).json
    before = await _turn(bob)
    activated = await operator.post(f"/api/v1/admin/versions/{draft['id']}/activate", {})
    assert activated.status == 200, activated.text
    after = await _turn(bob)
    assert (before["version"], after["version"]) == (1, 2)
    assert after["reply"]["parts"][-1]["text"].endswith("Second version.")
    assert after["channel"] == "web"
    assert await verify(first.process.store, (await first.process.container.directory.by_slug("default")).id) == []


async def test_a_change_of_some_terms_leaves_the_others(first: Installation) -> None:
    operator = await claimed(first)
    plans = {one["slug"]: one for one in (await operator.get("/api/v1/admin/plans")).json["items"]}
    before = plans["pro"]["version"]
    path = f"/api/v1/admin/plans/{plans['pro']['id']}"
    changed = await operator.send("PATCH", path, Body.json({"terms": {"price_minor": 2900}}))
    assert changed.status == 200, changed.text
    after = changed.json["version"]
    assert (after["number"], after["price_minor"]) == (before["number"] + 1, 2900)
    kept = ("currency", "interval", "grace_days", "all_agents", "agents", "channels", "verified_email")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert [one["amount"] for one in after["limits"]] == [one["amount"] for one in before["limits"]]


async def test_a_secret_is_sent_only_where_it_was_meant_to_go(first: Installation) -> None:
    operator = await claimed(first)
    values = {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-secret"}
    body = {"kind": "llm", "plugin": "openai", "name": "Mine", "values": values}
    made = await operator.post("/api/v1/admin/connections", body)
    assert made.status == 201, made.text
    path = f"/api/v1/admin/connections/{made.json['id']}"
    elsewhere = {"values": {"base_url": "http://127.0.0.1:10/v1"}}
    refused = await operator.send("PATCH", path, Body.json(elsewhere))
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/values/api_key"), refused.text
    again = {"values": {**elsewhere["values"], "api_key": "sk-secret"}}
    assert (await operator.send("PATCH", path, Body.json(again))).status == 200


async def test_an_erased_person_leaves_no_words_files_or_plan(first: Installation) -> None:
    ada = await registered(first, "ada@example.test")
    turn = await say(ada, "My secret is a pear")
    uploaded = await ada.send("POST", "/api/v1/uploads", Body.upload(b"A pear, in private.", "pear.txt"))
    assert uploaded.status == 201, uploaded.text
    blobs = first.process.settings.data_dir / "blobs"
    assert [one for one in blobs.rglob("*") if one.is_file()]
    operator = await claimed(first)
    user = (await ada.get("/api/v1/me")).json["user_id"]
    erased = await operator.send("DELETE", f"/api/v1/admin/users/{user}")
    assert erased.status == 204, erased.text
    assert not [one for one in blobs.rglob("*") if one.is_file()]
    tenant = await first.process.container.directory.by_slug("default")
    async with first.process.store.transaction(tenant.id) as conn:
        for table in ("files", "messages"):
            assert (await conn.execute(text(f"SELECT count(*) FROM {table}"))).scalar() == 0, table
        kept = (await conn.execute(text("SELECT reply FROM turns WHERE id = :id"), {"id": turn.json["id"]})).scalar_one()
        assert kept is None
        plans = await conn.execute(text("SELECT status FROM subscriptions WHERE user_id = :user"), {"user": user})
        assert plans.scalars().all() == ["ended"]


async def test_customers_of_a_suspended_tenant_change_nothing_and_can_leave(first: Installation) -> None:
    ada = await registered(first, "ada@example.test")
    operator = await claimed(first)
    tenant = await first.process.container.directory.by_slug("default")
    suspended = await operator.post(f"/api/v1/admin/tenants/{tenant.id}/suspend", {})
    assert suspended.status == 200, suspended.text
    first.process.container.directory.forget()
    for path, body in (("subscriptions", {"plan": "pro"}), ("api-keys", {"name": "late"})):
        refused = await ada.post(f"/api/v1/{path}", body)
        assert (refused.status, refused.json["code"]) == (403, "tenant_suspended"), path
    assert (await say(ada)).status == 403
    assert (await ada.post("/api/v1/auth/logout")).status == 204


async def _key(first: Installation, owner: Client, scope: str) -> Client:
    made = await owner.post("/api/v1/api-keys", {"name": scope, "scopes": [scope]})
    assert made.status == 201, made.text
    return Client.program(first.process.app, "default", made.json["key"], "")


async def test_a_key_does_only_what_its_scopes_say(first: Installation) -> None:
    ada = await registered(first, "ada@example.test")
    reads, talks, writes = [await _key(first, ada, scope) for scope in ("read", "turns", "write")]
    turn = await say(talks)
    assert turn.status == 200
    conversation = f"/api/v1/conversations/{turn.json['conversation_id']}"
    for path in ("conversations", "subscriptions", "usage", "agents"):
        assert (await reads.get(f"/api/v1/{path}")).status == 200, path
    for path in ("conversations", "subscriptions"):
        assert (await talks.get(f"/api/v1/{path}")).status == 403, path
    for client in (reads, talks):
        assert (await client.post("/api/v1/subscriptions", {"plan": "pro"})).status == 403
        assert (await client.send("PATCH", conversation, Body.json({"title": "Mine"}))).status == 403
        assert (await client.send("DELETE", conversation)).status == 403
    assert (await say(reads)).status == 403
    assert (await writes.send("PATCH", conversation, Body.json({"title": "Mine"}))).status == 200
    assert (await say(writes)).status == 403


async def test_staff_see_why_and_customers_still_see_what_they_have_used_up(first: Installation) -> None:
    ada = await registered(first, "ada@example.test")
    for _ in range(DAY):
        await say(ada)
    [agent] = (await ada.get("/api/v1/agents")).json["items"]
    assert (agent["slug"], agent["allowed"], agent["reason"]) == ("guide", False, "limit_reached")
    assert [one["id"] for one in (await ada.get("/v1/models")).json["data"]] == ["guide"]
    operator = await claimed(first)
    user = (await ada.get("/api/v1/me")).json["user_id"]
    explained = await operator.post("/api/v1/admin/explain", {"user_id": user, "agent": "guide", "channel": "api"})
    assert (explained.status, explained.json["decision"]["reason"]) == (200, "limit_reached"), explained.text
    for wrong in ("abc", [1], -1, 1.5):
        body = {"agent": "guide", "metadata": {"prompt_tokens": wrong}}
        assert (await ada.post("/api/v1/policy/check", body)).status == 422, wrong


async def _turn(client: Client) -> Any:
    answer = await say(client, "What can you do?")
    assert answer.status == 200, answer.text
    return answer.json


async def test_a_second_tenant_begins_with_its_owners_link(first: Installation) -> None:
    made = await create_tenant(first.process.container, "second", "Second shop", currency="EUR", timezone="Europe/Berlin")
    link = urlsplit(made["owner_link"])
    assert f"{link.scheme}://{link.netloc}" == first.address
    assert link.path.startswith("/t/second/claim/")
    app = first.process.app
    stranger = Client.browser(app, "second", None, "")
    assert "Second shop" in (await stranger.get(link.path)).text
    assert (await stranger.get(link.path.removeprefix("/t/second"))).status in (401, 403, 404, 410)  # not the first one's
    done = await stranger.fill(link.path, email="otto@example.test", password=PASSWORD, name="Otto")
    assert (done.status, done.location) == (303, "/t/second/console")
    otto = Client.browser(app, "second", cookie_of(done, "second"))
    assert "otto@example.test" in (await otto.get("/console")).text
    assert (await otto.get("/console/tenants")).status == 403  # an owner is no operator
    assert (await otto.get("/api/v1/me")).json["roles"] == ["owner"]
    at_home = Client.browser(app, "default", cookie_of(done, "second"), "")
    assert (await at_home.get("/api/v1/me")).status == 401


async def test_a_plan_for_confirmed_people_is_ordered_by_them_only(first: Installation) -> None:
    await payable(first)
    operator = await claimed(first)
    plans = {one["slug"]: one for one in (await operator.get("/api/v1/admin/plans")).json["items"]}
    changed = await operator.send(
        "PATCH", f"/api/v1/admin/plans/{plans['pro']['id']}", Body.json({"terms": {"verified_email": True}})
    )
    assert changed.status == 200, changed.text
    ada = await registered(first, "ada@example.test")
    refused = await ada.post("/api/v1/subscriptions", {"plan": "pro"})
    assert (refused.status, refused.json["code"]) == (403, "email_unverified"), refused.text
    assert (await ada.get("/api/v1/subscriptions")).json["items"][0]["plan"] == "free"
    user = (await ada.get("/api/v1/me")).json["user_id"]
    confirmed = await operator.post(f"/api/v1/admin/users/{user}/confirm-email", {})
    assert confirmed.json["email_verified"] is True, confirmed.text
    assert (await ada.post("/api/v1/subscriptions", {"plan": "pro"})).status == 201
    assert (await ada.post(f"/api/v1/admin/users/{user}/confirm-email", {})).status == 403
    page = await operator.get(f"/console/users/{user}")
    assert "Verified" in page.text
    assert "Mark as verified" not in page.text
