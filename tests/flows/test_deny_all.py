"""No way round the policy engine: with a policy that denies everything, nothing that the installation has reaches a model.

Everything is tried: each route of the table, the try-out, webhooks and what follows from them, jobs, commands. The same sweep
with a policy without rules does reach the model, so this one can fail.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from tests.conftest import Cluster, make_tenant
from tests.flows.driver import Answer, Body, Client
from tests.flows.examples import Example, examples
from tests.flows.furnished import REPLY, Furnished, House, furnish, open_house
from tollhouse.policy.reasons import Reason
from tollhouse.policy.rules import Case, Rule
from tollhouse.store.models import inbox
from tollhouse.testing.fakes import SIGNATURE, signed_request
from tollhouse.usage.models import entries, holds
from tollhouse.wiring import commands
from tollhouse.wiring.jobs import task_names

CLOSED = Reason("closed_for_all", 403, "Nobody gets in.", "A test denies everything.")
TURNS = {
    "POST /api/v1/turns",
    "POST /v1/chat/completions",
    "POST /chat",
    "POST /chat/{conversation_id}/turns/{turn_id}/again",
    "POST /console/versions/{id}/try",
}
"""The routes that run a turn. A new one is found by the sweep without rules, and belongs here."""


def deny_all(case: Case) -> Reason | None:
    return CLOSED


@dataclass
class Sweep:
    """What became of it."""

    answers: list[tuple[str, Example, Answer]] = field(default_factory=list)
    callers: dict[str, set[str]] = field(default_factory=dict)
    """The routes during which the model was called, and by whom."""


def visitors(house: House, tenant: Furnished) -> dict[str, Client]:
    """An owner who is the operator too, a user, and programs of both."""
    browsers = {name: Client.browser(house.app, tenant.slug, tenant.tokens[name]) for name in ("owner", "plain")}
    programs = {name: Client.program(house.app, tenant.slug, tenant.tokens[name]) for name in ("owner_key", "plain_key")}
    return {**browsers, **programs}


async def sweep(house: House, tenant: Furnished, tried: Sequence[Example], *names: str) -> Sweep:
    """Try these routes, each by these people (else everybody), with ids that exist."""
    found = Sweep()
    for one in tried:
        for name, client in visitors(house, tenant).items():
            if names and name not in names:
                continue
            before = len(house.plugin.model.calls)
            answer = await client.send(one.entry.method, one.path(tenant.ids), one.body(tenant.ids), **one.headers(tenant.ids))
            found.answers.append((name, one, answer))
            if len(house.plugin.model.calls) > before:
                found.callers.setdefault(one.name, set()).add(name)
    return found


async def webhook(house: House, tenant: Furnished, said: str) -> list[str]:
    """Somebody writes to the messenger: intake, the queue's task, delivery. What was sent to them."""
    body = Body.json({"id": said, "chat": said, "user": "someone", "text": "Hello?"})
    path = f"/hooks/{tenant.slug}/{tenant.ids['messenger']}"
    signed = {SIGNATURE: signed_request(body.data).headers[SIGNATURE]}
    assert (await Client(house.app).send("POST", path, body, **signed)).status == 200
    async with house.store.transaction(tenant.tenant_id) as conn:
        waiting = select(inbox.c.connection_id, inbox.c.key).where(inbox.c.state == "new", inbox.c.external_id == said)
        row = (await conn.execute(waiting)).one()
    task = house.process.background.jobs.app.tasks["inbox.handle"]
    await task.func(str(tenant.tenant_id), str(row.connection_id), row.key)
    await house.process.background.relay.drain()
    connected = await house.process.background.connect(tenant.tenant_id, row.connection_id)
    return [one["text"] for one in await house.plugin.messenger.sent(connected.ctx)]


async def run_jobs(house: House, tenant: Furnished) -> None:
    """Every task that the queue knows, and the relay."""
    jobs = house.process.background.jobs
    await jobs.app.open_async()
    try:
        for name in sorted(task_names(jobs.app)):
            if name == "inbox.handle":
                await jobs.app.tasks[name].func(str(tenant.tenant_id), tenant.ids["messenger"], "nothing waits here")
            else:
                await jobs.app.tasks[name].func(timestamp=int(time.time()))
    finally:
        await jobs.app.close_async()
    await jobs.relay.drain()


def command_examples(tenant: Furnished) -> Mapping[str, Sequence[Any]]:
    """Arguments of every command that works on the services of an installation."""
    return {
        "allow_private_addresses": (tenant.slug, False),
        "create_tenant": (f"c{tenant.slug[-8:]}", "New"),
        "list_tenants": (),
        "reanchor_ledgers": ("A story with rows that were put there by hand.",),
        "rebuild_sums": (lambda name: lambda *done: None,),
        "rotate_keys": (),
        "seal_ledgers": (),
        "sign_in_link": (f"owner-{tenant.secret}@example.test", tenant.slug),
        "suspend_tenant": (tenant.slug, False),
        "verify_ledgers": (tenant.slug,),
    }


async def run_commands(house: House, tenant: Furnished) -> list[Any]:
    """Every command of the command line that is given the services."""
    known = command_examples(tenant)
    found: dict[str, Callable[..., Awaitable[Any]]] = {
        name: one
        for name, one in vars(commands).items()
        if inspect.iscoroutinefunction(one)
        and not name.startswith("_")
        and one.__module__ == commands.__name__
        and "container" in inspect.signature(one).parameters
    }
    missing = found.keys() - known.keys()
    assert not missing, f"no example arguments in command_examples for the commands {sorted(missing)}"
    return [await found[name](house.container, *known[name]) for name in sorted(found)]


async def paid_for(house: House, tenant: Furnished) -> tuple[int, int]:
    """Ledger entries of answers, and holds."""
    async with house.store.transaction(tenant.tenant_id) as conn:
        ok = select(func.count()).select_from(entries).where(entries.c.outcome == "ok")
        return (await conn.execute(ok)).scalar_one(), (await conn.execute(select(func.count()).select_from(holds))).scalar_one()


async def test_nothing_gets_past_a_policy_that_denies_everything(cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(cluster.dsn, tmp_path, rules=(deny_all,)) as house:
        tenant = await furnish(house, "closed", operator=True, outcome="error")
        tenant.ids["tenants"] = str(await make_tenant(house.store))  # the operator suspends another one, not this
        before = await paid_for(house, tenant)
        gentle = await sweep(house, tenant, [one for one in examples(house.app) if not one.destroys])
        _each_turn_was_denied(gentle)
        await _the_catalogue_is_closed(house, tenant)
        assert await webhook(house, tenant, "closed") == [CLOSED.sentence]
        rest = await sweep(house, tenant, [one for one in examples(house.app) if one.destroys])
        for found in (gentle, rest):
            _nothing_was_given(found)
            _the_document_knows_each_answer(house, found)
            _nothing_locked_was_shown(tenant, found)
        await run_jobs(house, tenant)
        assert REPLY not in json.dumps(await run_commands(house, tenant), default=str)
        assert house.plugin.model.calls == []
        assert await paid_for(house, tenant) == before
        assert await _rows_with(house, tenant, REPLY) == []


def _nothing_was_given(found: Sweep) -> None:
    assert found.callers == {}
    assert not [(name, one.name) for name, one, answer in found.answers if answer.status >= 500]
    for name, one, answer in found.answers:
        assert REPLY not in answer.everything, (name, one.name)


def _the_document_knows_each_answer(house: House, found: Sweep) -> None:
    """Every status that a route for programs has answered is one that it says it can answer."""
    paths = house.app.openapi()["paths"]
    for name, one, answer in found.answers:
        told = paths.get(one.entry.path.replace(":path}", "}"), {}).get(one.entry.method.lower())
        assert told is None or str(answer.status) in told["responses"], (name, one.name, answer.status, answer.text)


def _each_turn_was_denied(found: Sweep) -> None:
    """Each way to a model was really walked, up to the engine and no further."""
    denied = {one.name for name, one, answer in found.answers if answer.status == 403 and CLOSED.sentence in answer.text}
    assert denied >= TURNS, TURNS - denied


def _nothing_locked_was_shown(tenant: Furnished, found: Sweep) -> None:
    """What the model would be told stays with the team."""
    for name, one, answer in found.answers:
        if not name.startswith("owner"):
            assert f"You are {tenant.secret}." not in answer.text, (name, one.name)


async def _the_catalogue_is_closed(house: House, tenant: Furnished) -> None:
    plain = Client.program(house.app, tenant.slug, tenant.tokens["plain_key"])
    assert (await plain.get("/v1/models")).json["data"] == []
    assert (await plain.get("/api/v1/agents")).json["items"] == []
    assert (await plain.post("/api/v1/conversations", {"agent": tenant.ids["agent"]})).status == CLOSED.status
    check = (await plain.post("/api/v1/policy/check", {"agent": tenant.ids["agent"]})).json
    assert (check["allowed"], check["reason"]) == (False, CLOSED.code)


async def _rows_with(house: House, tenant: Furnished, marker: str) -> list[Any]:
    """What was said and written down."""
    async with house.store.transaction(tenant.tenant_id) as conn:
        found = []
        for table in ("messages", "turns", "outbox", "plugin_state"):
            statement = text(f"SELECT id FROM {table} t WHERE t::text LIKE :marker")
            found += (await conn.execute(statement, {"marker": f"%{marker}%"})).all()
        return found


async def test_without_rules_the_same_sweep_reaches_the_model(cluster: Cluster, tmp_path: Path) -> None:
    no_rules: tuple[Rule, ...] = ()
    async with open_house(cluster.dsn, tmp_path, rules=no_rules) as house:
        tenant = await furnish(house, "open", operator=True, outcome="error")
        found = await sweep(house, tenant, [one for one in examples(house.app) if not one.destroys], "owner", "plain_key")
        _the_document_knows_each_answer(house, found)
        assert found.callers.keys() == TURNS, "a route that runs turns is new, or has ceased to: see TURNS"
        assert "plain_key" in found.callers["POST /api/v1/turns"]
        assert "plain_key" in found.callers["POST /v1/chat/completions"]
        shown = {one.name for _, one, answer in found.answers if REPLY in answer.text}
        # A browser without htmx is sent to the chat's page, which shows it.
        assert shown >= {route for route in TURNS if not route.startswith("POST /chat")}
        assert "GET /chat/{conversation_id}" in shown
        assert REPLY in " ".join(await webhook(house, tenant, "open"))
        assert (await paid_for(house, tenant))[0] >= len(TURNS)
