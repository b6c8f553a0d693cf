"""Sign-ins in the audit log, and those that failed in a table of their own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from tests.conftest import make_tenant
from tollhouse.auth import failures
from tollhouse.auth.errors import AccountBlocked, BadCredentials, LinkInvalid
from tollhouse.auth.models import sign_in_failures
from tollhouse.plugin.errors import InvalidInput
from tollhouse.store.audit import CLI, Actor
from tollhouse.store.audit import record as record_audit
from tollhouse.store.models import audit
from tollhouse.wiring.retention import prune

from .conftest import PASSWORD, Auth


async def rows(auth: Auth, tenant_id: UUID) -> dict[tuple[str, str, str], int]:
    found = (await auth.sessions.failures.list(tenant_id)).items
    return {(row["account"], row["network"], row["reason"]): row["count"] for row in found}


async def test_what_failed_is_written_down_once_with_its_count(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    email = user.email or ""
    wrong = [auth.sessions.login(tenant_id, email, "wrong", "cookie", address="2001:db8:1:2::7") for _ in range(3)]
    await asyncio.gather(*wrong, return_exceptions=True)
    for account in ("nobody@example.test", "not an e-mail"):
        with pytest.raises(BadCredentials):
            await auth.sessions.login(tenant_id, account, "wrong", "cookie", address="::ffff:192.0.2.1")
    with pytest.raises(LinkInvalid):
        await auth.sessions.redeem(tenant_id, "nonsense", "cookie", address="192.0.2.1")
    signed_in = await auth.sign_in(user)
    with pytest.raises(InvalidInput):
        await auth.users.change_password(signed_in.principal, "wrong", "another good sentence", address="192.0.2.1")
    await auth.users.block(tenant_id, user.id, by=None, actor=CLI)
    with pytest.raises(AccountBlocked):
        await auth.sessions.login(tenant_id, email, PASSWORD, "cookie", address="192.0.2.1")
    assert await rows(auth, tenant_id) == {
        (email, "2001:db8:1:2::/64", "wrong_password"): 3,
        ("", "192.0.2.1", "unknown_email"): 2,
        ("", "192.0.2.1", "link"): 1,
        (email, "192.0.2.1", "wrong_password"): 1,
        (email, "192.0.2.1", "blocked"): 1,
    }
    assert await rows(auth, other_tenant_id) == {}
    own = (await auth.sessions.failures.list(tenant_id, user_id=user.id)).items
    assert {row["account"] for row in own} == {email}
    async with auth.store.transaction(tenant_id) as conn:
        assert len(await failures.everything_of(conn, tenant_id, user.id)) == 3
        await failures.forget_of_user(conn, tenant_id, user.id)
    assert {account for account, *_ in await rows(auth, tenant_id)} == {""}


async def test_who_signs_in_is_in_the_audit_log(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    await auth.sessions.login(tenant_id, user.email or "", PASSWORD, "cookie", address="192.0.2.1")
    link = await auth.links.create(tenant_id, "sign_in", user.id, by=None, actor=CLI)
    await auth.sessions.redeem(tenant_id, link, "bearer", address="192.0.2.2")
    with pytest.raises(BadCredentials):
        await auth.sessions.login(tenant_id, user.email or "", "wrong", "cookie")
    async with auth.store.transaction(tenant_id) as conn:
        found = (await conn.execute(select(audit).where(audit.c.action == "user.signed_in").order_by(audit.c.id))).mappings()
        entries = [(row["actor_id"], row["target_id"], row["data"]["by"], row["address"]) for row in found]
    assert entries == [
        (user.id, str(user.id), "password", "192.0.2.1"),
        (user.id, str(user.id), "link", "192.0.2.2"),
    ]


async def test_who_guesses_waits_for_no_admin_and_holds_up_none(auth: Auth, tenant_id: UUID) -> None:
    """A write of an admin holds the lock of the audit log; a guess neither needs it nor has one that the write would need."""
    user = await auth.user(tenant_id)
    async with auth.store.transaction(tenant_id) as conn:
        await record_audit(conn, tenant_id, Actor("user", user.id), "plan.changed")
        async with asyncio.timeout(5):
            with pytest.raises(BadCredentials):
                await auth.sessions.login(tenant_id, user.email or "", "wrong", "cookie", address="192.0.2.1")
    async with auth.store.transaction(tenant_id) as guessing:
        await guessing.execute(text("SELECT 1 FROM sign_in_failures FOR UPDATE"))
        async with asyncio.timeout(5), auth.store.transaction(tenant_id) as conn:
            await record_audit(conn, tenant_id, Actor("user", user.id), "plan.changed")


async def test_failures_are_forgotten_after_ninety_days(auth: Auth) -> None:
    tenant_id = await make_tenant(auth.store)
    for network in ("192.0.2.1", "192.0.2.2"):
        with pytest.raises(BadCredentials):
            await auth.sessions.login(tenant_id, "nobody@example.test", "wrong", "cookie", address=network)
    async with auth.store.transaction(tenant_id) as conn:
        for network, days in (("192.0.2.1", 91), ("192.0.2.2", 89)):
            past = func.now() - timedelta(days=days)
            await conn.execute(update(sign_in_failures).where(sign_in_failures.c.network == network).values(last_at=past))
    await prune(auth.store)
    assert {network for _, network, _ in await rows(auth, tenant_id)} == {"192.0.2.2"}
