"""A credential that ends in one process has ended in every other within a second: for each reason there is, at each route.

Two processes share a database. The person is known to the one that has just answered them; what ends their credential happens
in the other. Its clock is moved by the second that is promised, and then every route of the table is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, update

from tests.conftest import Cluster
from tests.flows.driver import Answer, Client
from tests.flows.examples import Example, examples
from tests.flows.furnished import REPLY, Furnished, House, furnish, open_house
from tollhouse.auth import keys
from tollhouse.auth.models import api_keys, sessions
from tollhouse.auth.tokens import new_token
from tollhouse.auth.users import create_user
from tollhouse.billing.models import plan_versions, plans, subscriptions
from tollhouse.gateway.credentials import RECHECKED_AGE
from tollhouse.plugin.access import Principal
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id

WITHIN = 1.0
"""Seconds: what decision 0008 promises."""


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Town:
    """Where things are ended, and where they were known."""

    here: House
    there: House
    clock: Clock
    tenant: Furnished


@pytest.fixture
async def town(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Town]:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    async with open_house(cluster.dsn, tmp_path / "here") as here, open_house(cluster.dsn, tmp_path / "there") as there:
        clock = Clock()
        there.container.authenticator._clock = there.container.directory._clock = clock
        yield Town(here, there, clock, await furnish(here, "ended", operator=True))


@dataclass
class Somebody:
    """A person with each kind of credential, known where nothing is ended."""

    user_id: UUID
    principal: Principal
    key_id: UUID
    cookie: str
    bearer: str
    key: str

    def clients(self, town: Town) -> dict[str, Client]:
        app, slug = town.there.app, town.tenant.slug
        return {
            "cookie": Client.browser(app, slug, self.cookie),
            "bearer": Client.program(app, slug, self.bearer),
            "key": Client.program(app, slug, self.key),
        }


async def somebody(town: Town, *, role: str | None = None) -> Somebody:
    """Signed in twice, with a key; the other process has just answered each of them, and run a turn for two."""
    container, tenant_id = town.here.container, town.tenant.tenant_id
    async with town.here.store.transaction(tenant_id) as conn:
        user = await create_user(conn, tenant_id, email=f"{new_id().hex}@example.test", role=role)
        info, key = await keys.issue(conn, tenant_id, user.id, "A key", actor=CLI)
        await _subscribe(conn, tenant_id, user.id)
    cookie, bearer = [await container.sessions.begin(tenant_id, user.id, kind) for kind in ("cookie", "bearer")]
    found = Somebody(user.id, bearer.principal, UUID(info.id), cookie.token, bearer.token, key)
    for name, client in found.clients(town).items():
        assert (await client.get("/api/v1/me")).status == 200, name
    for name in ("bearer", "key"):
        answer = await complete(found.clients(town)[name], town, f"{name}-{user.id}")
        assert answer.status == 200, answer.text
        assert REPLY in answer.text
    return found


async def _subscribe(conn: Any, tenant_id: UUID, user_id: UUID) -> None:
    plan, version = new_id(), new_id()
    slug = f"all-{plan.hex[-12:]}"
    await conn.execute(insert(plans).values(tenant_id=tenant_id, id=plan, slug=slug, name="All"))
    terms = {"plan_id": plan, "number": 1, "currency": "EUR", "all_agents": True}
    await conn.execute(insert(plan_versions).values(tenant_id=tenant_id, id=version, **terms))
    now = func.app_now()
    current = {"status": "active", "period_start": now, "anchor": now, "plan_version_id": version}
    await conn.execute(insert(subscriptions).values(tenant_id=tenant_id, id=new_id(), user_id=user_id, **current))


async def complete(client: Client, town: Town, key: str, content: Any = "Hello?", **headers: str) -> Answer:
    """``POST /v1/chat/completions`` with an idempotency key."""
    body = {"model": town.tenant.ids["agent"], "messages": [{"role": "user", "content": content}]}
    return await client.post("/v1/chat/completions", body, idempotency_key=key, **headers)


# -- What ends a credential ------------------------------------------------------------------------------------------------


async def blocked(town: Town, who: Somebody) -> set[str]:
    await town.here.container.users.block(town.tenant.tenant_id, who.user_id, by=None, actor=CLI)
    return {"cookie", "bearer", "key"}


async def erased(town: Town, who: Somebody) -> set[str]:
    await town.here.container.accounts.erase(town.tenant.tenant_id, who.user_id, by=None, actor=CLI)
    return {"cookie", "bearer", "key"}


async def revoked(town: Town, who: Somebody) -> set[str]:
    await town.here.container.keys.revoke_of(town.tenant.tenant_id, who.user_id, who.key_id, actor=CLI)
    return {"key"}


async def signed_out(town: Town, who: Somebody) -> set[str]:
    for name in ("cookie", "bearer"):
        client = replace(who.clients(town)[name], app=town.here.app)
        assert (await client.post("/api/v1/auth/logout")).status == 204
    return {"cookie", "bearer"}


async def signed_out_everywhere(town: Town, who: Somebody) -> set[str]:
    await town.here.container.sessions.end_all_for_user(town.tenant.tenant_id, who.user_id, actor=CLI)
    return {"cookie", "bearer"}


async def expired(town: Town, who: Somebody) -> set[str]:
    past = func.app_now() - timedelta(seconds=1)
    async with town.here.store.transaction(town.tenant.tenant_id) as conn:
        for table in (sessions, api_keys):
            await conn.execute(update(table).where(table.c.user_id == who.user_id).values(expires_at=past))
    return {"cookie", "bearer", "key"}


async def unused_for_long(town: Town, who: Somebody) -> set[str]:
    long_ago = func.app_now() - timedelta(days=15)
    async with town.here.store.transaction(town.tenant.tenant_id) as conn:
        await conn.execute(update(sessions).where(sessions.c.user_id == who.user_id).values(last_seen_at=long_ago))
    return {"cookie", "bearer"}


ENDINGS: list[Callable[[Town, Somebody], Awaitable[set[str]]]] = [
    blocked,
    erased,
    revoked,
    signed_out,
    signed_out_everywhere,
    expired,
    unused_for_long,
]


async def test_what_has_ended_in_another_process_is_refused_at_every_route(town: Town) -> None:
    stranger = Client.browser(town.there.app, town.tenant.slug, None)
    for end in ENDINGS:
        who = await somebody(town)
        ended = await end(town, who)
        town.clock.now += WITHIN
        for one in examples(town.there.app):
            if one.entry.tenantless:
                continue  # of the installation: nobody is asked who they are
            for name in sorted(ended):
                answer = await ask(who.clients(town)[name], town, one)
                if name == "cookie":  # sent by habit: as good as none
                    expected = await ask(stranger, town, one)
                    assert (answer.status, answer.location) == (expected.status, expected.location), (end, one.name)
                else:
                    assert answer.status == 401, (end, one.name, name, answer.status)
        for name in {"cookie", "bearer", "key"} - ended:
            assert (await who.clients(town)[name].get("/api/v1/me")).status == 200, "what has not ended goes on"


async def ask(client: Client, town: Town, one: Example) -> Answer:
    """One route, with ids that exist; nothing that can be used once is used."""
    ids = {**town.tenant.ids, "fresh": new_id().hex[-12:], "link": new_token("link", town.tenant.tenant_id)}
    return await client.send(one.entry.method, one.path(ids), one.body(ids), **one.headers(ids))


# -- What is answered without an admission ---------------------------------------------------------------------------------


async def test_an_answer_is_not_given_again_to_what_has_ended(town: Town) -> None:
    """The busiest route believes a look-up for half a minute, because an admission reads the credential again. An answer that
    is stored, a turn that runs, a key that was used otherwise: all of that is told without one. (A session that ends because
    it is not used cannot have been looked up half a minute ago.)"""
    fetched: list[str] = []
    picture = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    town.there.container.turns._media._fetch = fetched.append
    for end in [one for one in ENDINGS if one is not unused_for_long]:
        who = await somebody(town)
        ended = await end(town, who)
        for later in (0.0, WITHIN, RECHECKED_AGE - WITHIN - 1):
            town.clock.now += later
            for name in {"bearer", "key"} & ended:
                client = who.clients(town)[name]
                for answer in (
                    await complete(client, town, f"{name}-{who.user_id}"),
                    await complete(client, town, f"{name}-{who.user_id}", "Something else"),
                    await complete(client, town, "a new key"),
                    await complete(client, town, "a picture", picture),
                ):
                    assert answer.status == 401, (end, name, later, answer.text)
    assert fetched == []


async def test_a_key_that_was_narrowed_elsewhere_has_lost_what_it_lost(town: Town) -> None:
    who = await somebody(town, role="owner")
    client = who.clients(town)["key"]
    assert (await client.get("/api/v1/admin/users")).status == 200
    async with town.here.store.transaction(town.tenant.tenant_id) as conn:
        await conn.execute(update(api_keys).where(api_keys.c.id == who.key_id).values(scopes=["write"]))
    for key in (f"key-{who.user_id}", "new"):
        answer = await complete(client, town, key)  # at once: it is read with what is answered
        assert (answer.status, answer.json["error"]["code"]) == (403, "scope_missing")
    town.clock.now += WITHIN
    for path in ("/api/v1/admin/users", "/api/v1/agents", "/api/v1/conversations", "/v1/models"):
        assert (await client.get(path)).status == 403, path


async def test_a_role_that_was_taken_elsewhere_opens_nothing(town: Town) -> None:
    who = await somebody(town, role="owner")
    for name, client in who.clients(town).items():
        assert (await client.get("/console")).status == 200, name
    await town.here.container.users.set_role(town.tenant.tenant_id, who.user_id, None, by=None, actor=CLI)
    town.clock.now += WITHIN
    for one in examples(town.there.app):
        if one.entry.path.startswith(("/api/v1/admin", "/console")) and one.entry.path not in DOORS:
            for name, client in who.clients(town).items():
                assert (await ask(client, town, one)).status == 403, (one.name, name)


DOORS = ("/console/sign-in", "/console/sign-out")


async def test_a_tenant_that_was_suspended_elsewhere_takes_nothing_more(town: Town) -> None:
    who = await somebody(town)
    await town.here.container.tenants.suspend(town.tenant.tenant_id, actor=CLI)
    town.clock.now += WITHIN
    for one in examples(town.there.app):
        if one.entry.method != "GET" and not one.entry.path.endswith(("/logout", "/sign-out")) and not one.entry.tenantless:
            if one.entry.path.startswith("/hooks/"):
                continue  # nobody's credential: what it brings is refused where it is admitted
            for name, client in who.clients(town).items():
                assert (await ask(client, town, one)).status == 403, (one.name, name)
