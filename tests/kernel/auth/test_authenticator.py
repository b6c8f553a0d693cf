"""From a token to a principal, and how fast a change is effective."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.models import api_keys, sessions
from tollhouse.auth.tokens import new_token
from tollhouse.plugin.errors import Unauthenticated
from tollhouse.store.audit import SYSTEM
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.store import Store

from .conftest import Auth


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("kind", "channel"), [("cookie", "web"), ("bearer", "api")])
async def test_a_session_says_who_it_is(auth: Auth, tenant_id: UUID, kind: str, channel: str) -> None:
    user = await auth.user(tenant_id, role="admin")
    signed_in = await auth.sign_in(user, kind)
    principal = await auth.authenticator.authenticate(signed_in.token)
    assert principal == signed_in.principal
    assert (principal.user_id, principal.tenant_id, principal.channel) == (user.id, tenant_id, channel)
    assert (principal.auth_provider, principal.credential_kind, principal.roles) == ("password", "session", ("admin",))


async def test_a_key_says_who_it_is_and_carries_no_more_than_its_scopes(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id, role="owner")
    await auth.users.make_operator(tenant_id, user.id, actor=SYSTEM)
    owner = (await auth.sign_in(user)).principal
    assert owner.roles == ("owner", "operator")
    for scopes, roles in (
        ((), ("owner", "operator")),
        (("turns",), ()),
        (("admin",), ("owner",)),
        (("operator",), ("operator",)),
    ):
        info, key = await auth.keys.create(owner, "a program", scopes, actor=SYSTEM)
        principal = await auth.authenticator.authenticate(key)
        assert (principal.channel, principal.auth_provider, principal.credential_kind) == ("api", "api_key", "api_key")
        assert str(principal.credential_id) == info.id
        assert principal.roles == roles
        assert principal.scopes == (frozenset(scopes) or None)


async def test_tokens_that_are_not_credentials(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    link = await auth.links.create(tenant_id, "sign_in", user.id, by=None, actor=SYSTEM)
    unknown = [new_token("session", tenant_id), new_token("api_key", other_tenant_id), new_token("api_key", UUID(int=5))]
    for token in [link, *unknown, "", "x", "th_", "Bearer x"]:
        with pytest.raises(Unauthenticated):
            await auth.authenticator.authenticate(token)


async def test_a_malformed_token_never_reaches_the_database(auth: Auth, tenant_id: UUID) -> None:
    nowhere = Store("postgresql://nobody@127.0.0.1:1/nothing")
    authenticator = Authenticator(nowhere, auth.settings)
    good = new_token("session", tenant_id)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(good[:-1] + ("a" if good[-1] != "a" else "b"))
    with pytest.raises(DatabaseDown):
        await authenticator.authenticate(good)
    await nowhere.close()


async def test_another_tenants_row_with_the_same_hash_is_not_found(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    mine, theirs = await auth.user(tenant_id), await auth.user(other_tenant_id)
    signed_in = await auth.sign_in(mine)
    await auth.sign_in(theirs)
    async with auth.store.transaction(other_tenant_id) as conn:
        assert (await conn.execute(select(sessions.c.user_id))).scalars().all() == [theirs.id]
    assert (await auth.authenticator.authenticate(signed_in.token)).user_id == mine.id


async def test_a_change_is_effective_in_another_process_within_a_second(
    auth: Auth, processes: Callable[..., Auth], tenant_id: UUID
) -> None:
    here, clock = processes(), Clock()
    there = Authenticator(auth.store, auth.settings, clock=clock)
    user = await here.user(tenant_id, role="support")
    token = (await here.sign_in(user)).token
    assert (await there.authenticate(token)).role == "support"

    await here.users.set_role(tenant_id, user.id, None, by=None, actor=SYSTEM)
    assert (await here.authenticator.authenticate(token)).role is None, "at once in the process that changed it"
    clock.now += 0.99
    assert (await there.authenticate(token)).role == "support", "remembered"
    clock.now += 0.01
    assert (await there.authenticate(token)).role is None, "and for no more than a second"

    await here.users.block(tenant_id, user.id, by=None, actor=SYSTEM)
    clock.now += 1
    for authenticator in (there, here.authenticator):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(token)
    await here.users.unblock(tenant_id, user.id, by=None, actor=SYSTEM)
    with pytest.raises(Unauthenticated):
        await there.authenticate(token)
    assert await here.sign_in(user)
    await there.aclose()


async def test_parallel_questions_about_one_token_are_one_statement(
    auth: Auth, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:

    token = (await auth.sign_in(await auth.user(tenant_id))).token
    asked = 0
    run = auth.store.run

    async def counting(*args: object) -> object:
        nonlocal asked
        asked += 1
        return await run(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(auth.store, "run", counting)
    principals = await asyncio.gather(*(auth.authenticator.authenticate(token) for _ in range(50)))
    assert len(set(principals)) == 1
    assert asked == 1


async def test_what_is_remembered_is_bounded(auth: Auth, tenant_id: UUID) -> None:
    small = Authenticator(auth.store, auth.settings, size=3)
    user = await auth.user(tenant_id)
    for _ in range(6):
        await small.authenticate((await auth.sign_in(user)).token)
    assert len(small._known) == 3
    await small.aclose()


async def test_idle_and_absolute_ends(processes: Callable[..., Auth], tenant_id: UUID) -> None:
    auth = processes(session_idle_hours=2, session_absolute_hours=5)
    user, start = await auth.user(tenant_id), datetime.now(UTC)

    async def works(hours: float, token: str) -> bool:
        auth.store.at(start + timedelta(hours=hours))
        fresh = Authenticator(auth.store, auth.settings)
        try:
            await fresh.authenticate(token)
        except Unauthenticated:
            return False
        finally:
            await fresh.aclose()
        return True

    auth.store.at(start)
    idle, busy = (await auth.sign_in(user)).token, (await auth.sign_in(user)).token
    assert [await works(hours, busy) for hours in (1.9, 3.8, 4.99, 5.0)] == [True, True, True, False]
    assert [await works(hours, idle) for hours in (1.99, 3.98, 3.99 + 2.0)] == [True, True, False]
    auth.store.at(start)
    unused = (await auth.sign_in(user)).token
    assert not await works(2.0, unused)


async def test_a_key_ends_at_its_time(auth: Auth, tenant_id: UUID) -> None:
    principal = (await auth.sign_in(await auth.user(tenant_id))).principal
    start = datetime.now(UTC)
    _, key = await auth.keys.create(principal, "short", expires_at=start + timedelta(hours=1), actor=SYSTEM)
    assert await auth.authenticator.authenticate(key)
    auth.store.at(start + timedelta(hours=1))
    with pytest.raises(Unauthenticated):
        await Authenticator(auth.store, auth.settings).authenticate(key)


async def test_the_last_use_is_noted_once_a_minute(auth: Auth, tenant_id: UUID) -> None:
    principal = (await auth.sign_in(await auth.user(tenant_id))).principal
    _, key = await auth.keys.create(principal, "a program", actor=SYSTEM)
    start = datetime.now(UTC)
    noted = []
    for seconds in (0, 30, 61):
        auth.store.at(start + timedelta(seconds=seconds))
        process = Authenticator(auth.store, auth.settings)
        await process.authenticate(key)
        await process.aclose()
        async with auth.store.transaction(tenant_id) as conn:
            noted.append((await conn.execute(select(api_keys.c.last_used_at))).scalar_one())
    assert [at - start for at in noted] == [timedelta(0), timedelta(0), timedelta(seconds=61)]


async def test_a_use_that_cannot_be_noted_is_logged_and_harms_nobody(
    auth: Auth, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    principal = (await auth.sign_in(await auth.user(tenant_id))).principal
    _, key = await auth.keys.create(principal, "a program", actor=SYSTEM)

    def broken(_: object) -> object:
        raise DatabaseDown()

    with caplog.at_level(logging.WARNING), monkeypatch.context() as patch:
        patch.setattr(auth.store, "transaction", broken)
        assert await auth.authenticator.authenticate(key)
        await auth.authenticator.aclose()
    assert "could not be noted" in caplog.text
