"""What plugins are told: each event of the contract, once, in the transaction of its cause; and nothing for nobody."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, get_args
from uuid import UUID

import pytest
import tollhouse_manual
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from tests.conftest import Cluster
from tests.world import KEY, WorldPlugin, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.app import Process
from tollhouse.billing.renewal import renew_tenant
from tollhouse.billing.terms import LimitTerms, Terms
from tollhouse.host.caller import Caller
from tollhouse.plugin.events import EventName, Sender
from tollhouse.settings import Settings
from tollhouse.store.audit import Actor
from tollhouse.store.event_data import EVENTS, event_payload
from tollhouse.store.secrets import SecretBox
from tollhouse.wiring.container import emitter
from tollhouse.wiring.guests import find_guest

NAMES: tuple[EventName, ...] = get_args(EventName)
SYSTEM = Actor("system", None)
PASSWORD = "correct horse battery staple"


class Listener:
    """A plugin as the guide shows it, which wants to hear of everything."""

    contract = (1, 0)
    events: ClassVar[tuple[EventName, ...]] = NAMES

    def __init__(self) -> None:
        self.heard: list[th.Event] = []

    @th.impl
    async def on_event(self, event: th.Event) -> None:
        self.heard.append(event)


@dataclass
class Town:
    """A process with that plugin, and a tenant in it."""

    process: Process
    listener: Listener
    tenant_id: UUID
    owner: Caller
    shop: Any
    model: Any
    said: list[str] = field(default_factory=list)

    @property
    def c(self) -> Any:
        return self.process.container

    async def hear(self) -> list[tuple[str, Mapping[str, Any]]]:
        """What the plugin was told since the last time: name and data."""
        self.listener.heard.clear()
        await self.process.background.relay.drain()
        await self.process.background.relay.drain()  # what is told once is told once
        ids = [event.id for event in self.listener.heard]
        assert len(set(ids)) == len(ids)
        return [(event.name, event.data) for event in self.listener.heard]

    async def caller(self, user_id: UUID) -> Caller:
        tenant = await self.c.directory.by_id(self.tenant_id)
        info = self.c.directory.info(tenant, "http://test")
        principal = th.Principal(self.tenant_id, user_id, "password", "api", credential_kind="identity")
        return Caller(info, principal)


async def open_town(dsn: str, folder: Path, *listeners: Listener) -> Town:
    world = WorldPlugin()
    given = {"world": world, "manual": tollhouse_manual.plugin} | {f"listener{n}": one for n, one in enumerate(listeners)}
    settings = Settings(data_dir=folder, enabled=list(given), jobs=False, rate_limit_anonymous=0, rate_limit_login=0)
    process = Process(settings, dsn, SecretBox([KEY]), plugins=given)
    await process.start()
    shop = await open_shop(process.store, {"metric": "calls", "amount": 1, "window": "day"})
    town = Town(process, listeners[0] if listeners else Listener(), shop.tenant_id, None, shop, world.model)  # type: ignore[arg-type]
    town.owner = await town.caller(await add_customer(process.store, shop))
    paid = {"instructions": "Pay {amount} to DE89 3704 0044 0532 0130 00, say {reference}."}
    await town.c.connections.create(SYSTEM, town.tenant_id, "payment", "manual", "Bank", paid)
    await town.c.plans.create(town.owner, "start", "Start", Terms(all_agents=True), default=True)
    pro = Terms(price_minor=1900, all_agents=True, limits=(LimitTerms("calls", 9, "day"),))
    await town.c.plans.create(town.owner, "pro", "Pro", pro)
    return town


@pytest.fixture
async def town(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Town]:
    made = await open_town(cluster.dsn, tmp_path, Listener())
    yield made
    await made.process.close()


async def test_each_event_reaches_a_plugin_once(town: Town) -> None:
    heard: set[str] = set()
    ada = await town.c.accounts.register(town.tenant_id, "ada@example.test", PASSWORD)
    told = await town.hear()
    assert ("user.registered", {"user_id": str(ada.id), "by": "password"}) in told
    assert [(name, data.get("status")) for name, data in told] == [
        ("user.registered", None),
        ("subscription.changed", "active"),
    ]
    heard |= {name for name, _ in told}

    caller = await town.caller(ada.id)
    ordered = (await town.c.subscriptions.subscribe(caller, "pro")).order
    assert await town.hear() == []
    await town.c.subscription_admin.confirm_order(town.owner, UUID(ordered.id))
    told = await town.hear()
    [(_, paid)] = [one for one in told if one[0] == "order.paid"]
    assert (paid["order_id"], paid["user_id"], paid["amount_minor"]) == (ordered.id, str(ada.id), 1900)
    changes = [(data["subscription_id"] == paid["subscription_id"], data["status"]) for _, data in told if "status" in data]
    assert sorted(changes) == [(False, "ended"), (True, "active")]
    heard |= {name for name, _ in told}
    await town.c.subscription_admin.confirm_order(town.owner, UUID(ordered.id))
    assert await town.hear() == [], "confirming again is nothing new"

    customer = await town.caller(await add_customer(town.process.store, town.shop))
    result = await town.c.turns.run(customer, say())
    [(name, turn)] = await town.hear()
    assert (name, turn["turn_id"], turn["outcome"], turn["cost"]) == ("turn.finished", result.id, "ok", 20)
    heard.add(name)
    for _ in range(2):
        with pytest.raises(th.AccessDenied):
            await town.c.turns.run(customer, say())
    denied = {"user_id": str(customer.user.user_id), "agent": "guide", "channel": "api", "reason": "limit_reached"}
    assert await town.hear() == [("turn.denied", denied)], "repeats within a minute are one"
    heard.add("turn.denied")
    assert heard == set(NAMES), "every event that is declared has a cause"


async def test_a_turn_that_fails_is_told_with_its_code(town: Town) -> None:
    customer = await town.caller(await add_customer(town.process.store, town.shop))

    def refuse(request: th.CompletionRequest) -> th.Completion:
        raise th.BackendRejected()

    town.model.answer = refuse
    with pytest.raises(th.BackendRejected):
        await town.c.turns.run(customer, say())
    [(name, data)] = await town.hear()
    assert (name, data["outcome"], data["cost"]) == ("turn.finished", "model_rejected", 0)


async def test_everybody_who_comes_is_told_of_whichever_way(town: Town) -> None:
    sender = Sender("telegram", "bot", "77", name="Gus")
    emit = emitter(town.c.host)
    for _ in range(2):
        guest = await find_guest(town.process.store, town.tenant_id, sender, "api", emit)
    invited, _ = await town.c.accounts.invite(town.tenant_id, "i@example.test", "analyst", by=None, actor=SYSTEM)
    await town.c.accounts.invite(town.tenant_id, "i@example.test", "analyst", by=None, actor=SYSTEM)
    owner = await town.c.accounts.make_owner(town.tenant_id, "o@example.test", PASSWORD, actor=SYSTEM)
    told = [data for name, data in await town.hear() if name == "user.registered"]
    assert told == [
        {"user_id": str(guest.user_id), "by": "telegram"},
        {"user_id": str(invited.id), "by": "invitation"},
        {"user_id": str(owner.id), "by": "owner"},
    ]


async def test_whatever_changes_a_subscription_is_told(town: Town) -> None:
    async def statuses() -> list[str]:
        return [data["status"] for name, data in await town.hear() if name == "subscription.changed"]

    ada = await town.c.accounts.register(town.tenant_id, "ada@example.test", PASSWORD)
    caller, admin = await town.caller(ada.id), town.c.subscription_admin
    assert await statuses() == ["active"]
    orders = [(await town.c.subscriptions.subscribe(caller, "pro")).order]
    await admin.confirm_order(town.owner, UUID(orders[0].id))
    assert await statuses() == ["ended", "active"]
    subscription = UUID((await town.c.subscriptions.list(caller))[0].id)
    await town.c.subscriptions.cancel(caller, subscription)
    await town.c.subscriptions.resume(caller, subscription)
    assert await statuses() == ["canceled", "active"]
    await admin.extend(town.owner, subscription, 2)
    await admin.set_overrides(town.owner, subscription, [LimitTerms("calls", 50, "day")], "a friend")
    assert await statuses() == ["active", "active"]
    await admin.refund_order(town.owner, UUID(orders[0].id))
    assert await statuses() == ["active"], "one period less"
    await admin.end(town.owner, subscription)
    assert await statuses() == ["ended", "active"], "the default plan begins"
    await admin.assign(town.owner, ada.id, "pro", periods=1)
    assert await statuses() == ["ended", "canceled"], "it is not renewed"
    await renew_tenant(town.process.store, town.tenant_id, datetime(2100, 1, 1, tzinfo=UTC), emit=emitter(town.c.host))
    assert await statuses() == ["ended", "active"]
    await town.c.accounts.erase(town.tenant_id, ada.id, by=None, actor=SYSTEM)
    assert await statuses() == ["ended"]


async def test_two_plugins_hear_of_it_each_once_and_nobody_of_nothing(cluster: Cluster, tmp_path: Path) -> None:
    both = Listener(), Listener()
    town = await open_town(cluster.dsn, tmp_path / "two", *both)
    await town.c.accounts.register(town.tenant_id, "ada@example.test", PASSWORD)
    await town.process.background.relay.drain()
    assert [[event.name for event in one.heard] for one in both] == [["user.registered", "subscription.changed"]] * 2
    assert both[0].heard == both[1].heard
    await town.process.close()
    alone = await open_town(cluster.dsn, tmp_path / "none")
    customer = await alone.caller(await add_customer(alone.process.store, alone.shop))
    await alone.c.accounts.register(alone.tenant_id, "ada@example.test", PASSWORD)
    await alone.c.turns.run(customer, say())
    with pytest.raises(th.AccessDenied):
        await alone.c.turns.run(customer, say())
    ordered = (await alone.c.subscriptions.subscribe(customer, "pro")).order
    await alone.c.subscription_admin.confirm_order(alone.owner, UUID(ordered.id))
    async with alone.process.store.transaction(alone.tenant_id) as conn:
        assert (await conn.execute(text("SELECT count(*) FROM outbox"))).scalar_one() == 0
    await alone.process.close()


async def test_what_is_told_is_rolled_back_with_its_cause(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await town.c.accounts.register(town.tenant_id, "ada@example.test", PASSWORD)
    ordered = (await town.c.subscriptions.subscribe(await town.caller(ada.id), "pro")).order
    await town.hear()

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("after the event was written")

    with monkeypatch.context() as patched:
        patched.setattr("tollhouse.store.audit.record", fail)
        with pytest.raises(RuntimeError):
            await town.c.subscription_admin.confirm_order(town.owner, UUID(ordered.id))
    assert await town.hear() == []


GOOD = {
    "id": st.one_of(st.uuids(), st.uuids().map(str), st.none()),
    "number": st.one_of(st.integers(), st.none()),
    "word": st.one_of(st.text(), st.none()),
}
BAD = {
    "id": st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.binary(max_size=3)),
    "number": st.one_of(st.floats(), st.text(), st.booleans(), st.decimals(), st.uuids()),
    "word": st.one_of(st.integers(), st.uuids(), st.binary(max_size=3), st.lists(st.text(), max_size=1), st.datetimes()),
}


@given(st.data(), st.sampled_from(NAMES))
def test_nothing_but_ids_numbers_and_words_reaches_the_outbox(data: st.DataObject, name: EventName) -> None:
    shape = EVENTS[name]
    values = {field: data.draw(GOOD[kind]) for field, kind in shape.items()}
    payload = event_payload(name, values)
    assert json.loads(json.dumps(payload)) == payload
    assert json.dumps(payload, ensure_ascii=False).encode(), "no half of a surrogate pair"
    wrong = data.draw(st.sampled_from(sorted(shape)))
    with pytest.raises(TypeError, match=wrong):
        event_payload(name, {**values, wrong: data.draw(BAD[shape[wrong]])})
    with pytest.raises(TypeError):
        event_payload(name, {**values, "content": "what was said"})
    with pytest.raises(TypeError):
        event_payload(name, {field: value for field, value in values.items() if field != wrong})


def test_the_guide_lists_what_there_is() -> None:
    assert set(EVENTS) == set(NAMES)
    guide = (Path(__file__).parents[2] / "docs/how-to/write-a-plugin.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+\.\w+)` \|.*\| ([^|]*) \|$", guide, re.MULTILINE)
    assert {name: re.findall(r"`(\w+)`", fields) for name, fields in rows} == {name: [*shape] for name, shape in EVENTS.items()}
