"""Signing in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import func, select

from tests.conftest import Cluster
from tollhouse.auth import repository
from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.errors import AccountBlocked, BadCredentials, LinkInvalid
from tollhouse.auth.models import sessions
from tollhouse.auth.ports import KeysPort, SessionsPort
from tollhouse.host.caller import Caller
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import Forbidden, NotFound, RateLimited, Unauthenticated
from tollhouse.plugin.ports import Keys, Sessions
from tollhouse.store.audit import SYSTEM
from tollhouse.store.ids import new_id

from .conftest import PASSWORD, Auth


def caller(auth: Auth, tenant_id: UUID, principal: object = None) -> Caller:
    info = TenantInfo(tenant_id, "t", "T", "UTC", "EUR", "en", "http://t.test")
    return Caller(info, principal, "192.0.2.7", "a browser\x00\n" + "x" * 1000)  # type: ignore[arg-type]


async def test_the_wrong_person_hears_nothing(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    user, blocked = await auth.user(tenant_id), await auth.user(tenant_id)
    await auth.users.block(tenant_id, blocked.id, by=None, actor=SYSTEM)
    tries = [
        (tenant_id, user.email, "not the password"),
        (tenant_id, "nobody@example.test", PASSWORD),
        (tenant_id, "not an e-mail \x00", PASSWORD),
        (tenant_id, blocked.email, "not the password"),
        (tenant_id, user.email, "x" * 5000),
        (other_tenant_id, user.email, PASSWORD),
    ]
    answers = set()
    for tenant, email, password in tries:
        with pytest.raises(BadCredentials) as caught:
            await auth.sessions.login(tenant, email or "", password, "cookie")
        answers.add((caught.value.http_code, caught.value.http_status, caught.value.detail))
    assert len(answers) == 1


async def test_who_is_blocked_is_told_so_by_their_own_password_and_by_no_other(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    await auth.users.block(tenant_id, user.id, by=None, actor=SYSTEM)
    with pytest.raises(BadCredentials):
        await auth.sessions.login(tenant_id, user.email or "", "not the password", "cookie")
    with pytest.raises(AccountBlocked) as caught:
        await auth.sessions.login(tenant_id, user.email or "", PASSWORD, "cookie")
    assert (caught.value.http_status, caught.value.http_code) == (403, "user_blocked")
    async with auth.store.transaction(tenant_id) as conn:
        assert (await conn.execute(select(sessions))).all() == []
    await auth.users.unblock(tenant_id, user.id, by=None, actor=SYSTEM)
    assert await auth.sign_in(user)


async def test_an_unknown_email_costs_one_check_of_a_password_too(
    auth: Auth, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, checked = await auth.user(tenant_id), []
    verify = auth.passwords._hasher.verify_and_update
    monkeypatch.setattr(auth.passwords._hasher, "verify_and_update", lambda *args: checked.append(1) or verify(*args))
    for email in (user.email, "nobody@example.test", "nonsense"):
        with pytest.raises(BadCredentials):
            await auth.sessions.login(tenant_id, email or "", "not the password", "bearer")
    assert len(checked) == 3


async def test_the_email_is_the_same_in_any_case(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    assert user.email is not None
    assert await auth.sessions.login(tenant_id, f"  {user.email.upper()} ", PASSWORD, "bearer")


async def test_each_sign_in_is_a_new_token_and_logout_ends_one(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    first, second = await auth.sign_in(user), await auth.sign_in(user)
    assert first.token != second.token
    await auth.authenticator.authenticate(first.token)
    await auth.sessions.logout(first.principal)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.authenticate(first.token)
    assert await auth.authenticator.authenticate(second.token)
    async with auth.store.transaction(tenant_id) as conn:
        stored = (await conn.execute(select(sessions.c.token_hash))).scalars().all()
    assert all(second.token.encode() not in row for row in stored)


async def test_wrong_tries_of_one_tenant_are_nothing_to_another(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    user, other = await auth.user(tenant_id), await auth.user(other_tenant_id)
    for number in range(12):
        with pytest.raises((BadCredentials, RateLimited)):
            await auth.sessions.login(tenant_id, user.email or "", "wrong", "bearer", address=f"192.0.2.{number}")
    with pytest.raises(RateLimited):
        await auth.sessions.login(tenant_id, user.email or "", PASSWORD, "bearer", address="192.0.2.99")
    assert await auth.sessions.login(other_tenant_id, other.email or "", PASSWORD, "bearer", address="192.0.2.1")


async def test_ten_wrong_tries_shut_an_address_for_a_while(auth: Auth, tenant_id: UUID) -> None:
    for number in range(10):
        with pytest.raises(BadCredentials):
            await auth.sessions.login(tenant_id, f"user{number}@example.test", "wrong", "bearer", address="192.0.2.1")
    user = await auth.user(tenant_id)
    with pytest.raises(RateLimited):
        await auth.sessions.login(tenant_id, user.email or "", PASSWORD, "bearer", address="192.0.2.1")
    assert await auth.sessions.login(tenant_id, user.email or "", PASSWORD, "bearer", address="192.0.2.2")


async def test_who_knows_the_password_is_never_shut_out_by_own_tries(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    for _ in range(3):
        for _ in range(9):
            with pytest.raises(BadCredentials):
                await auth.sessions.login(tenant_id, user.email or "", "wrong", "bearer", address=new_id().hex)
        assert await auth.sessions.login(tenant_id, user.email or "", PASSWORD, "bearer", address="192.0.2.1")
    for _ in range(15):
        assert await auth.sessions.login(tenant_id, user.email or "", PASSWORD, "bearer", address="192.0.2.1")


async def test_parallel_tries_do_not_slip_through(processes: Callable[..., Auth], tenant_id: UUID) -> None:
    auth = processes(rate_limit_login=3)
    user = await auth.user(tenant_id)
    login = [auth.sessions.login(tenant_id, user.email or "", "wrong", "bearer", address=str(n)) for n in range(20)]
    results = await asyncio.gather(*login, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["BadCredentials"] * 3 + ["TooManyTries"] * 17


async def test_zero_turns_the_brake_off(processes: Callable[..., Auth], tenant_id: UUID) -> None:
    auth = processes(rate_limit_login=0)
    for _ in range(15):
        with pytest.raises(BadCredentials):
            await auth.sessions.login(tenant_id, "nobody@example.test", "wrong", "bearer", address="192.0.2.1")


async def test_an_old_hash_is_renewed_by_signing_in(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    old = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8 * 1024, parallelism=1),)).hash(PASSWORD)
    async with auth.store.transaction(tenant_id) as conn:
        await repository.set_password(conn, tenant_id, user.id, old)
    await auth.sign_in(user)
    async with auth.store.transaction(tenant_id) as conn:
        stored = await repository.password_of(conn, tenant_id, user.id)
    assert stored is not None
    assert "m=19456,t=2,p=1" in stored
    assert await auth.sign_in(user)


async def test_a_link_signs_in_once(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    token = await auth.links.create(tenant_id, "sign_in", user.id, by=None, actor=SYSTEM)
    with pytest.raises(LinkInvalid):
        await auth.sessions.redeem(other_tenant_id, token, "cookie")
    assert (await auth.links.peek(token, ["sign_in"])).user_id == user.id
    results = await asyncio.gather(
        *(auth.sessions.redeem(tenant_id, token, "cookie") for _ in range(8)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["LinkInvalid"] * 7 + ["SignedIn"]
    signed_in = next(result for result in results if not isinstance(result, BaseException))
    assert signed_in.principal.user_id == user.id
    assert signed_in.principal.auth_provider == "link"
    with pytest.raises(LinkInvalid):
        await auth.links.peek(token, ["sign_in"])


async def test_links_expire_are_voided_and_have_one_purpose(auth: Auth, tenant_id: UUID) -> None:
    user, start = await auth.user(tenant_id), datetime.now(UTC)

    async def link(purpose: str = "sign_in", **values: object) -> str:
        return await auth.links.create(tenant_id, purpose, user.id, by=None, actor=SYSTEM, **values)  # type: ignore[arg-type]

    older = await link()
    newer = await link()
    short = await link("invite", ttl=timedelta(minutes=5))
    other_purpose = await link("owner")
    key = (await auth.keys.create((await auth.sign_in(user)).principal, "k", actor=SYSTEM))[1]
    for token in (older, other_purpose, key, newer[:-1], "tho_x", ""):
        with pytest.raises(LinkInvalid):
            await auth.sessions.redeem(tenant_id, token, "bearer")
    assert await auth.sessions.redeem(tenant_id, newer, "bearer")
    auth.store.at(start + timedelta(minutes=6))
    with pytest.raises(LinkInvalid):
        await auth.sessions.redeem(tenant_id, short, "bearer")


async def test_a_link_is_as_strong_as_who_it_signs_in(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    owner, support, admin = [await auth.user(tenant_id, role=role) for role in ("owner", "support", "admin")]
    customer, theirs = await auth.user(tenant_id), await auth.user(other_tenant_id)
    for by, whom in ((support, customer), (admin, owner), (support, admin)):
        with pytest.raises(Forbidden):
            await auth.links.create(tenant_id, "sign_in", whom.id, by=(await auth.sign_in(by)).principal, actor=SYSTEM)
    assert await auth.links.create(tenant_id, "sign_in", customer.id, by=(await auth.sign_in(admin)).principal, actor=SYSTEM)
    with pytest.raises(NotFound):
        await auth.links.create(tenant_id, "sign_in", theirs.id, by=None, actor=SYSTEM)


async def test_own_sessions_are_listed_and_ended_others_are_not(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    mine, neighbour, theirs = await auth.user(tenant_id), await auth.user(tenant_id), await auth.user(other_tenant_id)
    first = await auth.sessions.login(tenant_id, mine.email or "", PASSWORD, "cookie", user_agent="a\nbrowser" + "x" * 999)
    second = await auth.sign_in(mine)
    strangers = [await auth.sign_in(neighbour), await auth.sign_in(theirs)]
    port = SessionsPort(auth.sessions, caller(auth, tenant_id, second.principal))
    listed = await port.list()
    assert [(one.kind, one.current) for one in listed] == [("bearer", True), ("cookie", False)]
    assert "\n" not in listed[1].user_agent
    assert len(listed[1].user_agent) <= 300
    for stranger in (*(str(s.principal.credential_id) for s in strangers), "nonsense", str(new_id())):
        with pytest.raises(NotFound):
            await port.end(stranger)
    await port.end(str(first.principal.credential_id))
    with pytest.raises(Unauthenticated):
        await Authenticator(auth.store, auth.settings).authenticate(first.token)
    for stranger_session in strangers:
        assert await auth.authenticator.authenticate(stranger_session.token)
    with pytest.raises(NotFound):
        await auth.sessions.end_all_for_user(tenant_id, theirs.id, actor=SYSTEM)
    assert await auth.sessions.end_all_for_user(tenant_id, mine.id, actor=SYSTEM) == 1
    assert await auth.sessions.list(second.principal) == []


async def test_ports_need_somebody_and_satisfy_the_contract(auth: Auth, tenant_id: UUID) -> None:
    sessions_port: Sessions = SessionsPort(auth.sessions, caller(auth, tenant_id))
    keys_port: Keys = KeysPort(auth.keys, caller(auth, tenant_id))
    for call in (sessions_port.list(), sessions_port.logout(), sessions_port.end("x"), keys_port.list(), keys_port.create("x")):
        with pytest.raises(Unauthenticated):
            await call
    user = await auth.user(tenant_id)
    signed_in = await sessions_port.login(user.email or "", PASSWORD, "cookie")
    narrow = (await auth.keys.create(signed_in.principal, "turns only", ["turns"], actor=SYSTEM))[1]
    with_key = KeysPort(auth.keys, caller(auth, tenant_id, await auth.authenticator.authenticate(narrow)))
    for call in (with_key.list(), with_key.create("more"), with_key.revoke(str(new_id()))):
        with pytest.raises(Forbidden):
            await call


async def test_a_login_that_fails_leaves_no_session(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    with pytest.raises(BadCredentials):
        await auth.sign_in(user, password="wrong wrong")
    async with auth.store.transaction(tenant_id) as conn:
        assert (await conn.execute(select(func.count()).select_from(sessions))).scalar_one() == 0


async def _until_somebody_waits(cluster: Cluster) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    conn = await asyncpg.connect(cluster.dsn)  # the login itself, who sees what its connections wait for
    async with asyncio.timeout(10):
        while not await conn.fetchval(waiting):  # noqa: ASYNC110 - a lock wait tells nobody
            await asyncio.sleep(0.01)
    await conn.close()


@pytest.mark.parametrize("what", ["session", "link"])
async def test_everybody_locks_a_user_before_what_they_sign_in_with(
    auth: Auth, cluster: Cluster, tenant_id: UUID, what: str
) -> None:
    """Else a password that changes and a session that is used would wait for each other."""
    user = await auth.user(tenant_id)
    signed_in = await auth.sign_in(user)
    token = await auth.links.create(tenant_id, "sign_in", user.id, by=None, actor=SYSTEM)

    async def touch() -> None:
        session_id = signed_in.principal.credential_id
        assert session_id is not None
        async with auth.store.transaction(tenant_id) as conn:
            await repository.touch_session(conn, tenant_id, session_id, user.id)

    async def redeem() -> None:
        with pytest.raises(LinkInvalid):
            await auth.sessions.redeem(tenant_id, token, "bearer")

    async with auth.store.transaction(tenant_id) as conn:
        await repository.get_user(conn, tenant_id, user.id, lock=True)
        other = asyncio.create_task(touch() if what == "session" else redeem())
        await _until_somebody_waits(cluster)
        await repository.end_sessions(conn, tenant_id, user.id, keep=None)
        await repository.void_links(conn, tenant_id, user.id, None)
    await other
