"""What an admin does in a day, each by the pages' own forms."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert

from tests.kernel.console.conftest import House
from tests.world import Shop, add_customer, say
from tollhouse.billing.models import orders
from tollhouse.store.ids import new_id
from tollhouse.usage.models import alarms, denials

PLAN: dict[str, Any] = {
    "name": "Pro",
    "slug": "pro",
    "price": "19.50",
    "currency": "EUR",
    "interval": "month",
    "reach": "all",
    "channel_reach": "all",
    "public": "on",
    "grace_days": "3",
}


def version_fields(house: House, template: str, **more: Any) -> dict[str, Any]:
    return {
        "template": template,
        "primary.connection_id": str(house.shop.connection_id),
        "primary.model": "m",
        "max_output_tokens": "50",
        "history_messages": "10",
        **more,
    }


async def test_a_new_version_is_used_by_the_next_turn(house: House) -> None:
    admin = await house.browser("admin")
    agent = house.shop.agent_id
    form = version_fields(house, "You are the second one.", **{"parameters.temperature": "0.3", "post.footer": "Bye."})
    made = await admin.post(f"/console/agents/{agent}/versions", **form)
    version = made.id()
    tried = await admin.post(f"/console/versions/{version}/try", message="Hello?")
    assert tried.status == 200
    assert "Hello." in tried.text
    assert "10 in, 5 out" in tried.text
    assert '<div class="prose"><p>Hello.' in tried.text
    assert "<summary>Source</summary>" in tried.text
    assert "in USD, in which your model costs are counted; plans are sold in EUR" in tried.text
    customer = await house.container.users.get(house.shop.tenant_id, await add_customer(house.store, house.shop))
    caller = await _caller(house, customer.id)
    before = await house.container.turns.run(caller, say())
    assert before.version == 1
    activated = await admin.post(f"/console/versions/{version}/activate", **{f"weight.{version}": "100"})
    assert activated.status == 303
    page = (await admin.get(f"/console/versions/{version}")).text
    assert len(re.findall(r"</time> by admin-\w+@example\.test", page)) == 2, "who wrote it, and who put it into use"
    after = await house.container.turns.run(caller, say())
    assert after.version == 2
    assert after.reply is not None
    assert after.reply.text.endswith("Bye.")
    assert house.plugin.model.calls[-1].messages[0].text.startswith("You are the second one.")
    back = await admin.post(f"/console/versions/{house.shop.version_id}/activate")
    assert back.status == 303
    assert (await house.container.turns.run(caller, say())).version == 1


async def test_a_version_that_cannot_be_saved_keeps_what_was_typed(house: House) -> None:
    admin = await house.browser("admin")
    form = version_fields(house, "Hello {{ plan.price }}", **{"parameters.temperature": "9", "note": "My note"})
    answer = await admin.post(f"/console/agents/{house.shop.agent_id}/versions", **form)
    assert answer.status == 422
    assert "Hello {{ plan.price }}" in answer.text
    assert 'value="My note"' in answer.text
    assert 'id="template-error"' in answer.text
    assert 'id="parameters-temperature-error"' in answer.text
    assert len(await house.container.agents.versions(house.shop.tenant_id, house.shop.agent_id)) == 1


async def test_weights_have_to_add_up(house: House) -> None:
    admin = await house.browser("admin")
    version = (await admin.post(f"/console/agents/{house.shop.agent_id}/versions", **version_fields(house, "Two"))).id()
    old = house.shop.version_id
    wrong = await admin.post(f"/console/versions/{version}/activate", **{f"weight.{version}": "30", f"weight.{old}": "60"})
    assert wrong.status == 422
    assert "Together these are 90 %" in wrong.text
    right = await admin.post(f"/console/versions/{version}/activate", **{f"weight.{version}": "30", f"weight.{old}": "70"})
    assert right.status == 303
    versions = await house.container.agents.versions(house.shop.tenant_id, house.shop.agent_id)
    assert {row.number: row.weight for row in versions} == {1: 7000, 2: 3000}
    diff = await admin.get(f"/console/versions/{version}/diff?from={old}")
    assert "<del>You are {{ agent.name }}.</del>" in diff.text
    assert "<ins>Two</ins>" in diff.text


async def test_a_model_is_connected_and_tested_and_its_key_never_comes_back(house: House) -> None:
    admin = await house.browser("admin")
    secret = "sk-wrong-0987654321"
    fields = {"kind": "llm", "plugin": "scripted", "name": "My model", "values.region": "us", "values.api_key": secret}
    made = await admin.post("/console/connections", **fields)
    connection = made.id()
    shown = [await admin.get(f"/console/connections/{connection}{end}") for end in ("", "/edit")]
    failed = await admin.post(f"/console/connections/{connection}/test")
    assert "The key is not accepted." in failed.text
    right = "sk-right-1234567890"
    refused = await admin.post(f"/console/connections/{connection}", name="", **{"values.api_key": right, "revision": "1"})
    assert refused.status == 422
    revision = re.search(r'name="revision" value="(\d+)"', (await admin.get(f"/console/connections/{connection}/edit")).text)
    assert revision is not None
    changed = {"name": "My model", "revision": revision[1], "values.region": "eu", "values.api_key": right}
    assert (await admin.post(f"/console/connections/{connection}", **changed)).status == 303
    works = await admin.post(f"/console/connections/{connection}/test")
    assert "The key is accepted." in works.text
    pages = [*shown, failed, refused, works, await admin.get("/console/connections"), await admin.get("/console/audit")]
    for page in pages:
        assert secret not in page.text
        assert right not in page.text
    stale = await admin.post(f"/console/connections/{connection}", **changed)
    assert stale.status == 409
    assert (await admin.post(f"/console/connections/{connection}/delete", confirm="something")).status == 422
    assert (await admin.post(f"/console/connections/{connection}/delete", confirm="My model")).status == 303


async def test_a_plan_with_limits_and_its_next_version(house: House) -> None:
    admin = await house.browser("admin")
    limits = {
        "limits.rows": "0",
        "limits.0.amount": "200",
        "limits.0.metric": "calls",
        "limits.0.window": "day",
        "limits.0.hard": "hard",
        "limits.1.amount": "1.5",
        "limits.1.metric": "cost",
        "limits.1.window": "month",
        "limits.1.agent_id": str(house.shop.agent_id),
        "limits.1.hard": "soft",
    }
    plan_id = (await admin.post("/console/plans", **PLAN, **limits)).id()
    plan = await house.container.plans.get(house.shop.tenant_id, plan_id)
    assert (plan.version.price_minor, plan.version.number) == (1950, 1)
    found = {(one.metric, one.window, one.amount, one.agent_id, one.hard) for one in plan.version.limits}
    assert found == {("calls", "day", 200, None, True), ("cost", "month", 1_500_000_000, house.shop.agent_id, False)}
    page = await admin.get(f"/console/plans/{plan_id}")
    assert "200 messages a day" in page.text
    assert "€19.50 a month" in page.text
    changed = await admin.post(f"/console/plans/{plan_id}", **{**PLAN, **limits, "price": "21"})
    assert changed.location.endswith("?done=version")
    same = await admin.post(f"/console/plans/{plan_id}", **{**PLAN, **limits, "price": "21", "description": "New words"})
    assert same.location.endswith("?done=saved")
    assert (await house.container.plans.get(house.shop.tenant_id, plan_id)).version.number == 2


async def test_a_limit_may_be_as_large_as_the_interface_allows(house: House) -> None:
    admin = await house.browser("admin")
    limit = {"limits.rows": "0", "limits.0.metric": "calls", "limits.0.window": "day", "limits.0.hard": "hard"}
    plan_id = (await admin.post("/console/plans", **PLAN, **limit, **{"limits.0.amount": "1,000,000,000,000,000,000"})).id()
    (found,) = (await house.container.plans.get(house.shop.tenant_id, plan_id)).version.limits
    assert found.amount == 10**18
    refused = await admin.post("/console/plans", **PLAN, **limit, **{"limits.0.amount": "1000000000000000001"})
    assert refused.status == 422
    assert "Write an amount from 0 to 1,000,000,000,000,000,000" in refused.text


async def test_a_plan_that_cannot_be_sold_says_why_beside_the_row(house: House) -> None:
    admin = await house.browser("admin")
    rows = {"limits.rows": "1", "limits.2.amount": "ten", "limits.2.metric": "calls", "limits.2.window": "day"}
    answer = await admin.post("/console/plans", **{**PLAN, **rows, "price": "nineteen"})
    assert answer.status == 422
    assert 'id="price-error"' in answer.text
    assert 'id="limits-2-amount-error"' in answer.text
    assert 'value="nineteen"' in answer.text
    yen = await admin.post("/console/plans", **{**PLAN, "currency": "JPY", "price": "19.50"})
    assert yen.status == 422
    more = await admin.post("/console/plans", **{**PLAN, "limits.rows": "0", "more": "1"})
    assert more.status == 200
    assert 'name="limits.3.amount"' in more.text
    assert [plan.slug for plan in await house.container.plans.list(house.shop.tenant_id)] == ["free"]


async def test_a_confirmed_order_is_a_subscription_once(house: House) -> None:
    admin = await house.browser("admin")
    plan_id = (await admin.post("/console/plans", **PLAN)).id()
    plan = await house.container.plans.get(house.shop.tenant_id, plan_id)
    customer, _ = await house.person()
    order_id = await _order(house, customer, plan.version.id)
    support = await house.browser("support")
    waiting = await support.get("/console/orders")
    assert str(order_id) in waiting.text
    assert "€19.50" in waiting.text
    order = (await house.container.subscription_admin.orders(house.shop.tenant_id, user_id=customer)).items[0].order
    email = (await house.container.users.get(house.shop.tenant_id, customer)).email
    assert f'data-confirm-title="Has €19.50 arrived from {email} for Pro ({order.reference})?"' in waiting.text
    assert f'data-confirm-title="Cancel order {order.reference} of {email}?" data-confirm-cancel="Keep it"' in waiting.text
    for _ in range(2):
        assert (await support.post(f"/console/orders/{order_id}/confirm")).status == 303
    found = (await house.container.subscription_admin.subscriptions(house.shop.tenant_id, user_id=customer)).items
    assert [(one.subscription.plan, one.subscription.status) for one in found] == [("pro", "active")]
    paid = (await house.container.audit.list(house.shop.tenant_id, action="order.")).items
    assert [row["action"] for row in paid] == ["order.confirmed"]
    assert (await support.post(f"/console/orders/{order_id}/cancel")).status == 409
    paid_page = (await admin.get("/console/orders?state=paid")).text
    assert ">Mark as refunded…</button>" in paid_page


async def test_badges_of_a_cell_stay_together_on_a_small_screen(house: House) -> None:
    admin = await house.browser("admin")
    await admin.post("/console/plans", **{**PLAN, "public": ""})
    page = (await admin.get("/console/plans")).text
    cells = re.findall(r'<td data-label="Status"><div>(.*?)</div></td>', page)
    assert any(cell.count('class="badge') == 2 for cell in cells)
    assert '<section class="card form" id="logo-card">' in (await admin.get("/console/settings")).text


async def test_there_is_no_way_to_a_shop_that_is_not_there(house: House) -> None:
    admin = await house.browser("admin")
    assert "Open the shop" in (await admin.get("/console")).text
    host = house.container.host  # frozen, as plugins are for the life of a process
    object.__setattr__(host, "channels", {name: one for name, one in host.channels.items() if name != "web"})
    assert "Open the shop" not in (await admin.get("/console")).text


async def test_own_limits_of_one_subscriber_and_why(house: House, other: Shop) -> None:
    admin = await house.browser("admin")
    customer = await add_customer(house.store, house.shop)
    subscription = (await house.container.subscription_admin.subscriptions(house.shop.tenant_id, user_id=customer)).items[0]
    path = f"/console/subscriptions/{subscription.subscription.id}/limits"
    rows = {"limits.rows": "0", "limits.0.amount": "0", "limits.0.metric": "calls", "limits.0.window": "day"}
    assert (await admin.post(path, **rows)).status == 422  # without a reason
    assert (await admin.post(path, **rows, reason="Abuse")).status == 303
    why = await admin.get(f"/console/users/{customer}/explain?agent=guide&channel=api")
    assert "Told no." in why.text
    assert "Messages today: 0 of 0" in why.text
    assert not re.search(r"calls/day|credential", why.text)
    assert re.search(r'Resets <time datetime="[^"]+" data-local>', why.text)
    assert "There is a current subscription" in why.text


async def test_who_was_told_no_is_told_of_in_names(house: House) -> None:
    admin = await house.browser("admin")
    customer = await add_customer(house.store, house.shop)
    agent = await house.container.agents.get(house.shop.tenant_id, house.shop.agent_id)
    decision = {"metric": "calls", "window": "month", "used": 5, "limit": 2000}
    row = {"tenant_id": house.shop.tenant_id, "id": new_id(), "user_id": customer, "agent": agent.slug, "channel": "api"}
    async with house.store.transaction(house.shop.tenant_id) as conn:
        await conn.execute(insert(denials).values(**row, reason="limit_reached", decision=decision, minute=func.app_now()))
    why = f'/console/users/{customer}/explain?agent={agent.slug}&amp;channel=api">Why?</a>'
    title = house.container.host.channels["api"].obj.title if "api" in house.container.host.channels else "api"
    pages = [(await admin.get(path)).text for path in ("/console", f"/console/users/{customer}")]
    for page in pages:
        assert "5 of 2,000 messages a month" in page
        assert f'<td data-label="Agent">{agent.name}</td><td data-label="Channel">{title}</td>' in page
        assert why in page
    assert ["<th>Who</th>" in page.partition("Recently told no")[2] for page in pages] == [True, False]


async def test_settings_say_from_when_a_time_zone_applies(house: House) -> None:
    admin = await house.browser("admin")
    form = {"name": "Shop", "timezone": "Asia/Tokyo", "currency": "EUR", "language": "en", "daily_cost_cap": "12.50"}
    bad = await admin.post("/console/settings", **form, hosts="https://x/", accent="red")
    assert bad.status == 422
    assert 'id="hosts-error"' in bad.text or 'id="accent-error"' in bad.text
    assert (await admin.post("/console/settings", **form, accent="#7a1f3d")).status == 303
    page = await admin.get("/console/settings")
    assert "applies from" in page.text
    assert 'value="12.50"' in page.text
    tenant = await house.container.tenants.get(house.shop.tenant_id)
    assert (tenant.timezone, tenant.next_timezone, tenant.daily_cost_cap) == ("UTC", "Asia/Tokyo", 12_500_000_000)


async def test_the_currency_of_costs_stays_while_a_limit_counts_in_it(house: House) -> None:
    admin = await house.browser("admin")
    form = {"name": "Shop", "timezone": "UTC", "currency": "EUR", "language": "en"}
    lost = await admin.post("/console/settings", **form, cost_currency="EUR")
    assert (lost.status, "no price in EUR: scripted/m" in lost.text, 'name="rate"' in lost.text) == (409, True, True)
    assert (await admin.post("/console/settings", **form, cost_currency="EUR", drop_prices="on")).status == 303
    prices = (await admin.get("/console/prices")).text
    assert "What models cost you in EUR" in prices
    assert "accept it at a rate" in prices, "what the plugin suggests is in dollars"
    offered = (await admin.get("/console/prices/set?backend=scripted&model=m")).text
    assert "This price is suggested in USD" in offered
    price = {
        "backend": "scripted",
        "model": "m",
        "currency": "USD",
        "input_per_million": "0.001",
        "output_per_million": "0.002",
    }
    refused = await admin.post("/console/prices", **price)
    assert (refused.status, 'id="rate-error"' in refused.text) == (422, True)
    assert (await admin.post("/console/prices", **price, rate="0.92")).status == 303
    kept = await house.container.prices.get(house.shop.tenant_id, "scripted", "m")
    assert (kept.input_per_million, kept.currency) == (920_000, "EUR")
    limit = {"limits.rows": "1", "limits.0.amount": "2.50", "limits.0.metric": "cost", "limits.0.window": "month"}
    plan = (await admin.post("/console/plans", **PLAN, **limit)).id()
    assert "2.50 EUR of model cost a month" in (await admin.get(f"/console/plans/{plan}")).text
    refused = await admin.post("/console/settings", **form, cost_currency="USD")
    assert refused.status == 409
    assert re.search(r'id="currency-error"[^>]*>Model costs stay in EUR: a limit of the plan \w+ counts in it', refused.text)
    assert (await admin.post(f"/console/plans/{plan}/archive")).status == 303
    assert (await admin.post("/console/settings", **form, cost_currency="USD")).status == 303


async def test_usage_and_overview_show_what_was_used(house: House) -> None:
    customer = await add_customer(house.store, house.shop)
    caller = await _caller(house, customer)
    for _ in range(3):
        await house.container.turns.run(caller, say())
    analyst = await house.browser("analyst")
    overview = await analyst.get("/console")
    assert "Messages today" in overview.text
    assert ">3<" in overview.text
    assert '<svg class="spark"' in overview.text
    for group in ("day", "agent", "version", "plan", "channel", "user", "model"):
        page = await analyst.get(f"/console/usage?by={group}")
        assert page.status == 200, group
        assert "30" in page.text  # 3 times 10 tokens
        assert (">Margin</th>" in page.text) is (group != "model"), "a model is not what is paid for"
    table = await analyst.get("/console/usage.csv?by=agent")
    assert table.headers["content-type"].startswith("text/csv")
    assert "guide" in table.text


async def test_a_price_ends_the_alarm_of_a_model_without_one(house: House, other: Shop) -> None:
    tenants = (house.shop.tenant_id, other.tenant_id)
    for tenant_id in tenants:
        async with house.store.transaction(tenant_id) as conn:
            for model in ("new/one", "other"):
                values = {"tenant_id": tenant_id, "id": new_id(), "subject": f"scripted/{model}", "message": "No price."}
                await conn.execute(insert(alarms).values(**values, code="unknown_price"))
    admin = await house.browser("admin")
    assert "new/one has no price." in (await admin.get("/console/prices")).text
    form = (await admin.get("/console/prices/set?backend=scripted&model=new/one")).text
    tenant = await house.container.tenants.get(house.shop.tenant_id)
    assert f"{tenant.cost_currency} for a million tokens" in form
    amounts = {"input_per_million": "0.075", "output_per_million": "1"}
    assert (await admin.post("/console/prices", backend="scripted", model="new/one", **amounts)).status == 303
    page = await admin.get("/console/prices")
    assert "new/one has no price." not in page.text
    assert "other has no price." in page.text
    assert "0.075" in page.text
    left = [{row["subject"] for row in await house.container.alarms.open(tenant_id)} for tenant_id in tenants]
    assert left == [{"scripted/other"}, {"scripted/other", "scripted/new/one"}]


async def test_what_changed_names_connections(house: House) -> None:
    admin = await house.browser("admin")
    fields = {"kind": "llm", "plugin": "scripted", "name": "My second", "values.region": "eu"}
    second = (await admin.post("/console/connections", **fields)).id()
    form = version_fields(house, "Two", **{"primary.connection_id": str(second)})
    version = (await admin.post(f"/console/agents/{house.shop.agent_id}/versions", **form)).id()
    first = await house.container.connections.get(house.shop.tenant_id, house.shop.connection_id)
    diff = (await admin.get(f"/console/versions/{version}/diff?from={house.shop.version_id}")).text
    row = next(line for line in diff.splitlines() if ">Connection<" in line)
    assert f">{first.name}<" in row
    assert ">My second<" in row
    assert str(second) not in row


async def test_what_changed_and_the_audit_speak_as_the_forms_do(house: House) -> None:
    owner = await house.browser("owner")
    form = version_fields(house, "Two", modalities=["audio", "file"], **{"parameters.temperature": "0.3", "opens": ["top_p"]})
    version = (await owner.post(f"/console/agents/{house.shop.agent_id}/versions", **form)).id()
    diff = (await owner.get(f"/console/versions/{version}/diff?from={house.shop.version_id}")).text
    for row in ("What people can send", "text, sound, files", "Longest reply", "50 tokens", "Top p", "Temperature"):
        assert f">{row}<" in diff
    assert not re.search(
        r"[\[\]{}]|&#39;|output_tokens|Modalities|>Parameters<", diff.split("Everything else")[1].split("</table>")[0]
    )
    plan_id = (
        await owner.post(
            "/console/plans", **PLAN, **{"limits.0.amount": "200", "limits.0.metric": "calls", "limits.0.window": "day"}
        )
    ).id()
    weights = {f"weight.{version}": "30", f"weight.{house.shop.version_id}": "70"}
    await owner.post(f"/console/versions/{version}/activate", **weights)
    customer, _ = await house.person()
    await owner.post(f"/console/users/{customer}/link")
    plan = await house.container.plans.get(house.shop.tenant_id, plan_id)
    await owner.post(f"/console/orders/{await _order(house, customer, plan.version.id)}/confirm")
    audit = (await owner.get("/console/audit")).text
    email = (await house.container.users.get(house.shop.tenant_id, customer)).email
    agent = await house.container.agents.get(house.shop.tenant_id, house.shop.agent_id)
    assert f'/console/versions/{version}">{agent.name}, version 2</a>' in audit
    assert f'/console/plans/{plan_id}">Pro</a>' in audit
    assert f'/console/users/{customer}">{email}</a>' in audit
    for shown in ("version 1: 70 %, version 2: 30 %", "€19.50", "signing in", "200 messages a day", "a month", "all of them"):
        assert f"<dd>{shown}</dd>" in audit
    assert not re.search(r">show<|_minor|Amount minor|sign_in|\{&#39;|\[&#39;", audit)


async def _caller(house: House, user_id: UUID) -> Any:
    from tollhouse.host.caller import Caller
    from tollhouse.plugin.access import Principal

    tenant = await house.container.directory.by_id(house.shop.tenant_id)
    principal = Principal(house.shop.tenant_id, user_id, "password", "api", credential_kind="identity")
    return Caller(house.container.directory.info(tenant, "http://test"), principal)


async def _order(house: House, user_id: UUID, plan_version_id: UUID) -> UUID:
    order_id = new_id()
    values = {"tenant_id": house.shop.tenant_id, "id": order_id, "user_id": user_id, "plan_version_id": plan_version_id}
    async with house.store.transaction(house.shop.tenant_id) as conn:
        await conn.execute(insert(orders).values(**values, amount_minor=1950, currency="EUR", provider="manual"))
    return order_id
