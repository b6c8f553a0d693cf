"""Accounts: made, handed over, shown, blanked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.accounts.ports import AccountsPort
from tollhouse.accounts.service import AccountService, first_operator_link, new_owner_link
from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.errors import BadCredentials, EmailNotVerified, EmailTaken, LastOwner, LinkInvalid
from tollhouse.auth.keys import KeyService
from tollhouse.auth.links import OneTimeLinks
from tollhouse.auth.models import api_keys, identities, one_time_tokens, operators, sessions, users
from tollhouse.auth.passwords import Passwords
from tollhouse.auth.sessions import SessionService
from tollhouse.auth.throttle import LoginThrottle
from tollhouse.auth.users import UserService
from tollhouse.host.caller import Caller
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from tollhouse.plugin.ports import Accounts, SignedIn
from tollhouse.settings import Settings
from tollhouse.store.audit import CLI, SYSTEM
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.rates import Rates
from tollhouse.store.store import Store
from tollhouse.tenants.service import TenantService
from tollhouse.usage.models import alarms

PASSWORD = "a sentence that is hard to guess"


class PlanIsBroken(RuntimeError):
    """What the default plan raises when a test says so."""


@dataclass
class World:
    """One process, whose default plan leaves a row that can be counted, and can be broken."""

    store: Store
    accounts: AccountService
    users: UserService
    sessions: SessionService
    keys: KeyService
    links: OneTimeLinks
    authenticator: Authenticator
    plan_is_broken: bool = False

    async def start_default(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> UUID | None:
        """Writes a row that a test can count, as a subscription would be one."""
        await conn.execute(
            insert(alarms).values(tenant_id=tenant_id, id=user_id, code="subscribed", message="", subject=str(user_id))
        )
        if self.plan_is_broken:
            raise PlanIsBroken
        return new_id()

    async def count(self, tenant_id: UUID, table: Any) -> int:
        async with self.store.transaction(tenant_id) as conn:
            return int((await conn.execute(select(func.count()).select_from(table))).scalar_one())

    async def sign_in(self, tenant_id: UUID, email: str, password: str = PASSWORD) -> SignedIn:
        return await self.sessions.login(tenant_id, email, password, "bearer")


async def export_nothing(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Any:
    """What another package would tell."""
    return [{"tenant": tenant_id, "user": user_id, "said": ("hello",)}]


async def forget_alarms(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """What another package would do, on a table that the application may change."""
    await conn.execute(
        alarms.update().where(alarms.c.tenant_id == tenant_id, alarms.c.id == user_id).values(message="forgotten")
    )


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    settings = Settings()
    passwords, throttle, authenticator = Passwords(), LoginThrottle(settings, Rates()), Authenticator(store, settings)
    service = UserService(store, passwords, throttle, authenticator)

    async def start(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> UUID | None:
        return await made.start_default(conn, tenant_id, user_id)

    accounts = AccountService(
        store, service, passwords, authenticator, start, exports={"said": export_nothing}, erases=[forget_alarms]
    )
    sessions_ = SessionService(store, settings, passwords, throttle, authenticator)
    made = World(store, accounts, service, sessions_, KeyService(store, authenticator), OneTimeLinks(store), authenticator)
    yield made
    await authenticator.aclose()
    passwords.close()


# -- Registering -------------------------------------------------------------------------------------------------------


async def test_registering_makes_a_user_with_the_default_plan(world: World, tenant_id: UUID, other_tenant_id: UUID) -> None:
    user = await world.accounts.register(tenant_id, " Ada@Example.test", PASSWORD, "Ada", "en")
    assert (user.email, user.name, user.language, user.role, user.email_verified) == (
        "ada@example.test",
        "Ada",
        "en",
        None,
        False,
    )
    assert await world.count(tenant_id, alarms) == 1
    assert (await world.sign_in(tenant_id, "ada@example.test")).principal.user_id == user.id
    with pytest.raises(BadCredentials):
        await world.sign_in(other_tenant_id, "ada@example.test")
    with pytest.raises(EmailTaken):
        await world.accounts.register(tenant_id, "ada@example.test", "another good sentence")
    assert (await world.accounts.register(other_tenant_id, "ada@example.test", PASSWORD)).id != user.id
    assert await world.count(tenant_id, users) == await world.count(tenant_id, alarms) == 1


async def test_of_parallel_registrations_of_one_email_one_wins(world: World, tenant_id: UUID) -> None:
    tries = (world.accounts.register(tenant_id, "Ada@example.test", PASSWORD + str(number)) for number in range(6))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["EmailTaken"] * 5 + ["User"]
    assert all(result.http_status == 409 for result in results if isinstance(result, EmailTaken))
    winner = next(number for number, result in enumerate(results) if not isinstance(result, BaseException))
    assert await world.sign_in(tenant_id, "ada@example.test", PASSWORD + str(winner))
    for table in (users, identities, alarms):
        assert await world.count(tenant_id, table) == 1


async def test_a_registration_that_fails_leaves_nothing(world: World, tenant_id: UUID) -> None:
    world.plan_is_broken = True
    with pytest.raises(PlanIsBroken):
        await world.accounts.register(tenant_id, "ada@example.test", PASSWORD)
    world.plan_is_broken = False
    bad: list[tuple[str, dict[str, str]]] = [
        ("email", {"email": "nonsense"}),
        ("password", {"password": "short"}),
        ("password", {"password": "password1"}),
        ("password", {"password": "ada@example.test"}),
        ("name", {"name": "x" * 300}),
        ("name", {"name": "a\x00b"}),
        ("language", {"language": "!"}),
    ]
    for name, values in bad:
        with pytest.raises(InvalidInput) as caught:
            await world.accounts.register(tenant_id, **{"email": "ada@example.test", "password": PASSWORD, **values})
        assert caught.value.errors[0].pointer == f"#/{name}"
    for table in (users, identities, alarms):
        assert await world.count(tenant_id, table) == 0
    assert await world.accounts.register(tenant_id, "ada@example.test", PASSWORD)


async def test_the_port(world: World, tenant_id: UUID) -> None:
    info = TenantInfo(tenant_id, "t", "T", "UTC", "EUR", "en", "http://t.test")
    port: Accounts = AccountsPort(world.accounts, Caller(info, None, "192.0.2.1"))
    made = await port.register("ada@example.test", PASSWORD, "Ada")
    for call in (port.profile(), port.update(name="x"), port.change_password("x", "y")):
        with pytest.raises(Unauthenticated):
            await call
    signed_in = await world.sign_in(tenant_id, "ada@example.test")
    mine = AccountsPort(world.accounts, Caller(info, signed_in.principal, "192.0.2.1"))
    assert await mine.profile() == made
    assert (await mine.update(language="de")).language == "de"
    await mine.change_password(PASSWORD, "another good sentence")
    assert await world.sign_in(tenant_id, "ada@example.test", "another good sentence")
    key = (await world.keys.create(signed_in.principal, "k", ["turns"], actor=SYSTEM))[1]
    with_key = AccountsPort(world.accounts, Caller(info, await world.authenticator.authenticate(key), ""))
    for call in (with_key.profile(), with_key.update(name="x"), with_key.change_password("another good sentence", PASSWORD)):
        with pytest.raises(Forbidden):
            await call


# -- Owners and operators ----------------------------------------------------------------------------------------------


async def test_a_new_tenant_starts_with_its_owners_link(world: World) -> None:
    tokens: list[str] = []

    async def fill(conn: AsyncConnection, tenant: Any) -> None:
        tokens.append(await new_owner_link(conn, tenant.id))

    tenant = await TenantService(world.store).create(f"shop-{new_id().hex[-10:]}", "Shop", actor=CLI, fill=fill)
    with pytest.raises(LinkInvalid):
        await world.accounts.claim_operator(tokens[0], "ada@example.test", PASSWORD)
    with pytest.raises(InvalidInput):
        await world.accounts.claim_owner(tokens[0], "ada@example.test", "short")
    claims = (world.accounts.claim_owner(tokens[0], f"owner{number}@example.test", PASSWORD) for number in range(4))
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LinkInvalid"] * 3 + ["User"]
    owner = next(result for result in results if not isinstance(result, BaseException))
    assert (owner.role, owner.operator, owner.tenant_id) == ("owner", False, tenant.id)
    assert await world.count(tenant.id, users) == 1


async def test_the_first_link_makes_the_operator(world: World, tenant_id: UUID, other_tenant_id: UUID) -> None:
    async with world.store.operator() as conn:
        await conn.execute(operators.delete())
    async with world.store.transaction(tenant_id) as conn:
        older = await first_operator_link(conn, tenant_id)
    async with world.store.transaction(tenant_id) as conn:
        token = await first_operator_link(conn, tenant_id)
    assert older is not None
    assert token is not None
    await world.accounts.register(tenant_id, "taken@example.test", PASSWORD)
    with pytest.raises(LinkInvalid):
        await world.accounts.claim_operator(older, "ada@example.test", PASSWORD)
    with pytest.raises(EmailTaken):
        await world.accounts.claim_operator(token, "taken@example.test", PASSWORD)
    user = await world.accounts.claim_operator(token, "ada@example.test", PASSWORD, "Ada")
    assert (user.role, user.operator, user.name) == ("owner", True, "Ada")
    assert (await world.sign_in(tenant_id, "ada@example.test")).principal.roles == ("owner", "operator")
    for tenant in (tenant_id, other_tenant_id):
        async with world.store.transaction(tenant) as conn:
            assert await first_operator_link(conn, tenant) is None
    with pytest.raises(LinkInvalid):
        await world.accounts.claim_operator(token, "eve@example.test", PASSWORD)


async def test_of_two_first_links_one_makes_an_operator(world: World, tenant_id: UUID, other_tenant_id: UUID) -> None:
    async with world.store.operator() as conn:
        await conn.execute(operators.delete())
    claims = []
    for tenant in (tenant_id, other_tenant_id):
        async with world.store.transaction(tenant) as conn:
            token = await first_operator_link(conn, tenant)
        claims.append(world.accounts.claim_operator(token or "", "ada@example.test", PASSWORD))
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LinkInvalid", "User"]
    assert await world.count(tenant_id, users) + await world.count(other_tenant_id, users) == 1


async def test_the_command_line_makes_an_owner(world: World, tenant_id: UUID) -> None:
    user = await world.accounts.make_owner(tenant_id, "ada@example.test", PASSWORD, operator=True, actor=CLI)
    assert (user.role, user.operator) == ("owner", True)
    async with world.store.transaction(tenant_id) as conn:
        assert (await conn.execute(select(audit.c.action).order_by(audit.c.id))).scalars().all() == [
            "owner.added",
            "operator.added",
        ]
    with pytest.raises(EmailTaken):
        await world.accounts.make_owner(tenant_id, "ada@example.test", PASSWORD, actor=CLI)


# -- Invitations -------------------------------------------------------------------------------------------------------


async def test_an_invited_person_chooses_the_password(world: World, tenant_id: UUID, other_tenant_id: UUID) -> None:
    owner = await world.accounts.make_owner(tenant_id, "owner@example.test", PASSWORD, actor=CLI)
    by = (await world.sign_in(tenant_id, "owner@example.test")).principal
    invited, older = await world.accounts.invite(tenant_id, "Bob@example.test", "support", by=by, actor=SYSTEM)
    again, token = await world.accounts.invite(tenant_id, "bob@example.test", "support", by=by, actor=SYSTEM)
    assert again.id == invited.id
    assert again.role == "support"
    with pytest.raises(BadCredentials):
        await world.sign_in(tenant_id, "bob@example.test", "")
    with pytest.raises(EmailTaken):
        await world.accounts.invite(tenant_id, "bob@example.test", "admin", by=by, actor=SYSTEM)
    with pytest.raises(EmailTaken):
        await world.accounts.invite(tenant_id, "owner@example.test", "owner", by=by, actor=SYSTEM)
    with pytest.raises(LinkInvalid):
        await world.accounts.accept_invitation(tenant_id, older, PASSWORD)
    with pytest.raises(LinkInvalid):
        await world.accounts.accept_invitation(other_tenant_id, token, PASSWORD)
    with pytest.raises(InvalidInput):
        await world.accounts.accept_invitation(tenant_id, token, "bob@example.test")
    accept = [world.accounts.accept_invitation(tenant_id, token, PASSWORD, "Bob") for _ in range(4)]
    results = await asyncio.gather(*accept, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LinkInvalid"] * 3 + ["User"]
    assert (await world.sign_in(tenant_id, "bob@example.test")).principal.role == "support"
    assert (await world.users.get(tenant_id, invited.id)).name == "Bob"
    assert await world.count(tenant_id, alarms) == 2, "each has the default plan, once"
    assert owner.id != invited.id


async def test_who_may_invite_whom(world: World, tenant_id: UUID) -> None:
    for role in ("owner", "admin", "support", "analyst"):
        user, token = await world.accounts.invite(tenant_id, f"{role}@example.test", role, by=None, actor=CLI)
        await world.accounts.accept_invitation(tenant_id, token, PASSWORD)
        principal = (await world.sign_in(tenant_id, user.email or "")).principal
        for wanted in ("owner", "admin", "support", "analyst", None):
            invite = world.accounts.invite(tenant_id, f"{role}-{wanted}@example.test", wanted, by=principal, actor=SYSTEM)
            if role == "owner" or (role == "admin" and wanted != "owner"):
                assert (await invite)[0].role == wanted
            else:
                with pytest.raises(Forbidden):
                    await invite


async def test_nobody_who_registered_with_somebody_elses_address_becomes_staff(world: World, tenant_id: UUID) -> None:
    """A stranger registers with the address of the person who is to be the admin, before them."""
    stranger = await world.accounts.register(tenant_id, "boss@example.test", "the stranger's own sentence", "Stranger")
    session = await world.sign_in(tenant_id, "boss@example.test", "the stranger's own sentence")
    _, key = await world.keys.create(session.principal, "A key", actor=SYSTEM)
    for role in ("owner", "admin", "support", "analyst"):
        with pytest.raises(EmailNotVerified):
            await world.users.set_role(tenant_id, stranger.id, role, by=None, actor=CLI)
    with pytest.raises(EmailNotVerified):
        await world.users.make_operator(tenant_id, stranger.id, actor=CLI)

    open_link = await world.links.create(tenant_id, "sign_in", stranger.id, by=None, actor=CLI)
    _, token = await world.accounts.invite(tenant_id, "boss@example.test", "admin", by=None, actor=CLI, name="The boss")
    assert (await world.authenticator.authenticate(session.token)).role is None, "a role only for who comes by the link"
    with pytest.raises(LinkInvalid):
        await world.sessions.redeem(tenant_id, token, "cookie")  # not round the choice of a password

    boss = await world.accounts.accept_invitation(tenant_id, token, PASSWORD)
    assert (boss.id, boss.role, boss.name, boss.email_verified) == (stranger.id, "admin", "The boss", True)
    for credential in (session.token, key):
        with pytest.raises(Unauthenticated):
            await world.authenticator.authenticate(credential)
    with pytest.raises(BadCredentials):
        await world.sign_in(tenant_id, "boss@example.test", "the stranger's own sentence")
    with pytest.raises(LinkInvalid):
        await world.sessions.redeem(tenant_id, open_link, "cookie")
    assert (await world.sign_in(tenant_id, "boss@example.test")).principal.role == "admin"
    await world.users.set_role(tenant_id, boss.id, "owner", by=None, actor=CLI)  # shown to be theirs by now


async def test_an_invitation_takes_nobodys_account_who_is_somebody(world: World, tenant_id: UUID) -> None:
    """Of who has a role or a verified address nothing ends because somebody invites them again."""
    await world.accounts.make_owner(tenant_id, "owner@example.test", PASSWORD, actor=CLI)
    customer = await world.accounts.register(tenant_id, "ada@example.test", PASSWORD)
    await world.users.confirm_email(tenant_id, customer.id, by=None, actor=CLI)
    blocked = await world.accounts.register(tenant_id, "eve@example.test", PASSWORD)
    await world.users.block(tenant_id, blocked.id, by=None, actor=CLI)
    for email in ("owner@example.test", "ada@example.test", "eve@example.test"):
        with pytest.raises(EmailTaken):
            await world.accounts.invite(tenant_id, email, "support", by=None, actor=CLI)
    plain = await world.accounts.register(tenant_id, "carl@example.test", PASSWORD)
    with pytest.raises(EmailTaken):
        await world.accounts.invite(tenant_id, "carl@example.test", None, by=None, actor=CLI)
    _, token = await world.accounts.invite(tenant_id, "carl@example.test", "support", by=None, actor=CLI)
    await world.users.confirm_email(tenant_id, plain.id, by=None, actor=CLI)
    await world.users.set_role(tenant_id, plain.id, "admin", by=None, actor=CLI)
    accepted = await world.accounts.accept_invitation(tenant_id, token, PASSWORD)
    assert accepted.role == "admin", "an older invitation takes no role back"


async def test_a_role_that_gives_less_needs_no_verified_address(world: World, tenant_id: UUID) -> None:
    owner = await world.accounts.make_owner(tenant_id, "owner@example.test", PASSWORD, actor=CLI)
    await world.accounts.make_owner(tenant_id, "second@example.test", PASSWORD, actor=CLI)
    for role in ("admin", "support", "analyst"):
        assert (await world.users.set_role(tenant_id, owner.id, role, by=None, actor=CLI)).role == role
    with pytest.raises(EmailNotVerified):
        await world.users.set_role(tenant_id, owner.id, "support", by=None, actor=CLI)
    assert (await world.users.set_role(tenant_id, owner.id, None, by=None, actor=CLI)).role is None


# -- Export and erasure ------------------------------------------------------------------------------------------------


async def test_everything_of_a_user_is_exported_without_secrets(world: World, tenant_id: UUID, other_tenant_id: UUID) -> None:
    user = await world.accounts.register(tenant_id, "ada@example.test", PASSWORD, "Ada")
    stranger = await world.accounts.register(tenant_id, "eve@example.test", PASSWORD)
    signed_in = await world.sign_in(tenant_id, "ada@example.test")
    _, key = await world.keys.create(signed_in.principal, "my program", actor=SYSTEM)
    found = await world.accounts.export(tenant_id, user.id, by=signed_in.principal, actor=SYSTEM)
    text = json.dumps(found)
    assert found["user"]["email"] == "ada@example.test"
    assert [one["name"] for one in found["api_keys"]] == ["my program"]
    assert len(found["sessions"]) == len(found["identities"]) == 1
    assert found["said"] == [{"tenant": str(tenant_id), "user": str(user.id), "said": ["hello"]}]
    assert key not in text
    assert "argon2" not in text
    assert "eve@" not in text
    by_stranger = (await world.sign_in(tenant_id, "eve@example.test")).principal
    by_key = await world.authenticator.authenticate(key)
    for by in (by_stranger, by_key):
        with pytest.raises(Forbidden):
            await world.accounts.export(tenant_id, user.id, by=by, actor=SYSTEM)
        with pytest.raises(Forbidden):
            await world.accounts.erase(tenant_id, user.id, by=by, actor=SYSTEM)
    for call in (
        world.accounts.export(other_tenant_id, user.id, by=None, actor=SYSTEM),
        world.accounts.erase(other_tenant_id, user.id, by=None, actor=SYSTEM),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await world.users.get(tenant_id, stranger.id)).status == "active"


async def test_an_erased_user_is_a_blank_row(world: World, tenant_id: UUID) -> None:
    user = await world.accounts.make_owner(tenant_id, "ada@example.test", PASSWORD, "Ada", operator=True, actor=CLI)
    bystander = await world.accounts.register(tenant_id, "bob@example.test", PASSWORD)
    signed_in = await world.sign_in(tenant_id, "ada@example.test")
    _, key = await world.keys.create(signed_in.principal, "my program", actor=SYSTEM)
    await world.authenticator.authenticate(key)
    with pytest.raises(LastOwner):
        await world.accounts.erase(tenant_id, user.id, by=signed_in.principal, actor=SYSTEM)
    assert await world.authenticator.authenticate(key)
    await world.accounts.make_owner(tenant_id, "next@example.test", PASSWORD, actor=CLI)
    await world.accounts.erase(tenant_id, user.id, by=signed_in.principal, actor=SYSTEM)

    blank = await world.users.get(tenant_id, user.id)
    assert (blank.email, blank.name, blank.role, blank.operator, blank.status) == (None, "", None, False, "erased")
    for token in (key, signed_in.token):
        with pytest.raises(Unauthenticated):
            await world.authenticator.authenticate(token)
    async with world.store.transaction(tenant_id) as conn:
        for table in (identities, sessions, api_keys, one_time_tokens):
            left = (await conn.execute(select(func.count()).where(table.c.user_id == user.id))).scalar_one()
            assert left == 0
        forgotten = (await conn.execute(select(alarms.c.id).where(alarms.c.message == "forgotten"))).scalars().all()
        assert forgotten == [user.id]
        assert "ada" not in str((await conn.execute(select(audit.c.data, audit.c.target_id))).all()).lower()
    assert (await world.users.get(tenant_id, bystander.id)).email == "bob@example.test"
    assert (await world.accounts.register(tenant_id, "ada@example.test", PASSWORD)).id != user.id


async def test_staff_erase_customers_and_not_each_other(world: World, tenant_id: UUID) -> None:
    owner = await world.accounts.make_owner(tenant_id, "owner@example.test", PASSWORD, actor=CLI)
    customer = await world.accounts.register(tenant_id, "ada@example.test", PASSWORD)
    admin, token = await world.accounts.invite(tenant_id, "admin@example.test", "admin", by=None, actor=CLI)
    await world.accounts.accept_invitation(tenant_id, token, PASSWORD)
    by = (await world.sign_in(tenant_id, "admin@example.test")).principal
    with pytest.raises(Forbidden):
        await world.accounts.erase(tenant_id, owner.id, by=by, actor=SYSTEM)
    await world.accounts.erase(tenant_id, customer.id, by=by, actor=SYSTEM)
    assert (await world.users.get(tenant_id, customer.id)).status == "erased"
    assert admin.role == "admin"
