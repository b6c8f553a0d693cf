"""Users, roles, keys: what staff do with people, and people with themselves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.errors import BadCredentials, EmailTaken, LastOwner
from tollhouse.auth.fields import normal_email
from tollhouse.auth.keys import MAX_KEYS, TooManyKeys
from tollhouse.auth.models import users
from tollhouse.auth.roles import MAY, SCOPES, may, require, require_operator
from tollhouse.auth.users import create_user
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from tollhouse.store.audit import SYSTEM, Actor, record
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.store import Store

from .conftest import PASSWORD, Auth


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (" Me@Example.TEST ", "me@example.test"),
        ("a.b+c@sub.example.test", "a.b+c@sub.example.test"),
        ("me@müller.example", "me@xn--mller-kva.example"),
        ("ｍｅ@example.test", "me@example.test"),
    ],
)
def test_an_email_has_one_form(typed: str, stored: str) -> None:
    assert normal_email(typed) == stored
    assert normal_email(stored) == stored


NOT_EMAILS = [
    *("", "me", "@example.test", "me@", "me@localhost", "a b@example.test", "a@b@c.test", "me@-x.test", "me@x..test"),
    *("a@b.c\x00", "me@example.test\nBcc: you@example.test", ".a@example.test"),
    *("a" * 65 + "@example.test", "a@" + "b." * 130 + "test"),
]


@pytest.mark.parametrize("typed", NOT_EMAILS)
def test_what_is_not_an_email_is_refused(typed: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        normal_email(typed)
    assert caught.value.errors[0].pointer == "#/email"


async def test_one_email_is_one_user_in_a_tenant_and_another_in_the_next(
    auth: Auth, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    async def make(tenant: UUID) -> object:
        async with auth.store.transaction(tenant) as conn:
            return await create_user(conn, tenant, email="Same@example.test")

    results = await asyncio.gather(*(make(tenant_id) for _ in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["EmailTaken"] * 3 + ["User"]
    await make(other_tenant_id)
    with pytest.raises(EmailTaken):
        await make(other_tenant_id)


async def test_a_list_is_paged_and_searched(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    async with auth.store.transaction(tenant_id) as conn:
        for number in range(5):
            await create_user(conn, tenant_id, email=f"user{number}@example.test", name=f"Name {number}")
        await create_user(conn, tenant_id, email="100%@example.test", role="analyst")
    async with auth.store.transaction(other_tenant_id) as conn:
        await create_user(conn, other_tenant_id, email="user9@example.test")
    seen, cursor = [], None
    while True:
        page = await auth.users.list(tenant_id, cursor=cursor, limit=4)
        seen += [user.email for user in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == ["100%@example.test", *(f"user{number}@example.test" for number in (4, 3, 2, 1, 0))]

    async def found(**values: object) -> list[str | None]:
        return [user.email for user in (await auth.users.list(tenant_id, **values)).items]  # type: ignore[arg-type]

    assert await found(search="USER3") == ["user3@example.test"]
    assert await found(search="name 2") == ["user2@example.test"]
    assert await found(search="%") == []
    assert await found(search="user9") == []
    assert await found(staff=True) == await found(role="analyst") == ["100%@example.test"]
    with pytest.raises(InvalidInput):
        await found(role="emperor")
    with pytest.raises(InvalidInput):
        await found(cursor="nonsense!")


async def test_foreign_and_unknown_users_are_not_there(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    theirs = await auth.user(other_tenant_id, role="admin")
    for user_id in (theirs.id, new_id()):
        for call in (
            auth.users.get(tenant_id, user_id),
            auth.users.set_role(tenant_id, user_id, "admin", by=None, actor=SYSTEM),
            auth.users.block(tenant_id, user_id, by=None, actor=SYSTEM),
            auth.users.unblock(tenant_id, user_id, by=None, actor=SYSTEM),
            auth.users.update_profile(tenant_id, user_id, actor=SYSTEM, name="Taken over"),
            auth.users.make_operator(tenant_id, user_id, actor=SYSTEM),
        ):
            with pytest.raises(NotFound):
                await call
    assert await auth.users.get(other_tenant_id, theirs.id) == theirs
    with pytest.raises(NotFound):
        await auth.users.find(tenant_id, theirs.email or "")


async def test_who_may_give_which_role(auth: Auth, tenant_id: UUID) -> None:
    people = {role: await auth.user(tenant_id, role=role) for role in ("owner", "admin", "support", "analyst")}
    principals = {role: (await auth.sign_in(user)).principal for role, user in people.items()}
    customer = await auth.user(tenant_id)

    async def give(by: str, role: str | None) -> None:
        await auth.users.set_role(tenant_id, customer.id, role, by=principals[by], actor=SYSTEM)

    for by, role in (("admin", "owner"), ("support", "analyst"), ("analyst", "analyst")):
        with pytest.raises(Forbidden):
            await give(by, role)
    for by, role in (("admin", "admin"), ("admin", None), ("owner", "owner")):
        await give(by, role)
        assert (await auth.users.get(tenant_id, customer.id)).role == role
    with pytest.raises(Forbidden):
        await give("admin", None)
    with pytest.raises(InvalidInput):
        await give("owner", "emperor")


async def test_the_last_owner_stays(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    await auth.user(other_tenant_id, role="owner")
    first, second = await auth.user(tenant_id, role="owner"), await auth.user(tenant_id, role="owner")
    results = await asyncio.gather(
        auth.users.set_role(tenant_id, first.id, None, by=None, actor=SYSTEM),
        auth.users.block(tenant_id, second.id, by=None, actor=SYSTEM),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["LastOwner", "User"]
    owners = [user for user in (await auth.users.list(tenant_id, role="owner")).items if user.status == "active"]
    assert len(owners) == 1
    with pytest.raises(LastOwner):
        await auth.users.set_role(tenant_id, owners[0].id, "admin", by=None, actor=SYSTEM)
    await auth.users.set_role(tenant_id, owners[0].id, "owner", by=None, actor=SYSTEM)


async def test_who_may_block_whom(auth: Auth, tenant_id: UUID) -> None:
    people = {role: await auth.user(tenant_id, role=role) for role in ("owner", "admin", "support", "analyst")}
    operator, customer = await auth.user(tenant_id), await auth.user(tenant_id)
    await auth.users.make_operator(tenant_id, operator.id, actor=SYSTEM)
    principals = {role: (await auth.sign_in(user)).principal for role, user in people.items()}
    for by, whom in (
        ("support", people["analyst"]),
        ("admin", people["owner"]),
        ("analyst", customer),
        ("owner", operator),
    ):
        with pytest.raises(Forbidden):
            await auth.users.block(tenant_id, whom.id, by=principals[by], actor=SYSTEM)
    assert (await auth.users.block(tenant_id, customer.id, by=principals["support"], actor=SYSTEM)).status == "blocked"
    assert (await auth.users.unblock(tenant_id, customer.id, by=principals["support"], actor=SYSTEM)).status == "active"


async def test_blocking_ends_keys_for_good(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    key = (await auth.keys.create((await auth.sign_in(user)).principal, "k", actor=SYSTEM))[1]
    link = await auth.links.create(tenant_id, "sign_in", user.id, by=None, actor=SYSTEM)
    await auth.authenticator.authenticate(key)
    await auth.users.block(tenant_id, user.id, by=None, actor=SYSTEM)
    await auth.users.unblock(tenant_id, user.id, by=None, actor=SYSTEM)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.authenticate(key)
    with pytest.raises(Unauthenticated):
        await auth.sessions.redeem(tenant_id, link, "bearer")


async def test_a_new_password_ends_every_other_session(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    mine, other = await auth.sign_in(user), await auth.sign_in(user)
    refused = [("wrong", "another good sentence", "current"), (PASSWORD, "short", "new"), (PASSWORD, user.email, "new")]
    for current, wanted, field in refused:
        with pytest.raises(InvalidInput) as caught:
            await auth.users.change_password(mine.principal, current, wanted or "")
        assert caught.value.errors[0].pointer == f"#/{field}"
    assert await auth.authenticator.authenticate(other.token)
    await auth.users.change_password(mine.principal, PASSWORD, "another good sentence")
    fresh = Authenticator(auth.store, auth.settings)
    assert await fresh.authenticate(mine.token)
    with pytest.raises(Unauthenticated):
        await fresh.authenticate(other.token)
    with pytest.raises(BadCredentials):
        await auth.sign_in(user)
    assert await auth.sign_in(user, password="another good sentence")
    await fresh.aclose()


async def test_a_forgotten_password_is_replaced_by_a_fresh_link_only(auth: Auth, tenant_id: UUID) -> None:
    user, start = await auth.user(tenant_id), datetime.now(UTC)
    token = await auth.links.create(tenant_id, "sign_in", user.id, by=None, actor=SYSTEM)
    by_link = (await auth.sessions.redeem(tenant_id, token, "cookie")).principal
    auth.store.at(start + timedelta(minutes=31))
    with pytest.raises(InvalidInput):
        await auth.users.change_password(by_link, "", "a brand new sentence")
    auth.store.at(start + timedelta(minutes=1))
    await auth.users.change_password(by_link, "", "a brand new sentence")
    assert await auth.sign_in(user, password="a brand new sentence")


async def test_a_key_makes_no_stronger_key(auth: Auth, tenant_id: UUID, other_tenant_id: UUID) -> None:
    principal = (await auth.sign_in(await auth.user(tenant_id, role="admin"))).principal
    soon = datetime.now(UTC) + timedelta(days=1)
    info, key = await auth.keys.create(principal, "narrow", ["turns", "write"], soon, actor=SYSTEM)
    assert key.startswith(info.prefix)
    assert info.scopes == ("turns", "write")
    narrow = await auth.authenticator.authenticate(key)
    for scopes, expires_at in (
        ([], soon),
        (["admin"], soon),
        (["turns", "read"], soon),
        (["turns"], None),
        (["turns"], soon + timedelta(1)),
    ):
        with pytest.raises(Forbidden):
            await auth.keys.create(narrow, "stronger", scopes, expires_at, actor=SYSTEM)
    assert await auth.keys.create(narrow, "weaker", ["turns"], soon, actor=SYSTEM)
    for name, scopes, at in (
        ("", [], None),
        ("x" * 101, [], None),
        ("k", ["root"], None),
        ("k", [], datetime(2020, 1, 1, tzinfo=UTC)),
    ):
        with pytest.raises(InvalidInput):
            await auth.keys.create(principal, name, scopes, at, actor=SYSTEM)
    assert [one.name for one in await auth.keys.list(principal)] == ["weaker", "narrow"]
    stranger = (await auth.sign_in(await auth.user(other_tenant_id))).principal
    assert await auth.keys.list(stranger) == []
    with pytest.raises(NotFound):
        await auth.keys.revoke(stranger, UUID(info.id), actor=SYSTEM)
    await auth.keys.revoke(principal, UUID(info.id), actor=SYSTEM)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.authenticate(key)


async def test_keys_are_not_without_number(auth: Auth, tenant_id: UUID) -> None:
    principal = (await auth.sign_in(await auth.user(tenant_id))).principal
    for number in range(MAX_KEYS - 1):
        await auth.keys.create(principal, f"key {number}", actor=SYSTEM)
    results = await asyncio.gather(*(auth.keys.create(principal, "k", actor=SYSTEM) for _ in range(3)), return_exceptions=True)
    assert [isinstance(result, TooManyKeys) for result in results].count(True) == 2


async def test_writes_of_staff_are_in_the_audit_without_personal_data(auth: Auth, tenant_id: UUID) -> None:
    admin, customer = await auth.user(tenant_id, role="admin"), await auth.user(tenant_id)
    by = (await auth.sign_in(admin)).principal
    actor = Actor("user", admin.id, "192.0.2.1")
    await auth.users.block(tenant_id, customer.id, by=by, actor=actor)
    await auth.users.unblock(tenant_id, customer.id, by=by, actor=actor)
    await auth.users.set_role(tenant_id, customer.id, "support", by=by, actor=actor)
    await auth.users.make_operator(tenant_id, customer.id, actor=actor)
    await auth.links.create(tenant_id, "sign_in", admin.id, by=by, actor=actor)
    async with auth.store.transaction(tenant_id) as conn:
        rows = (await conn.execute(select(audit).order_by(audit.c.id))).mappings().all()
    assert rows[0]["action"] == "user.signed_in"
    assert [row["action"] for row in rows[1:]] == [
        "user.blocked",
        "user.unblocked",
        "user.role_changed",
        "operator.added",
        "link.created",
    ]
    assert all(row["actor_id"] == admin.id for row in rows)
    assert "@" not in str([(row["data"], row["target_id"]) for row in rows])


async def test_the_profile(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    changed = await auth.users.update_profile(tenant_id, user.id, actor=SYSTEM, name=" Ada ", language="pt-BR")
    assert (changed.name, changed.language, changed.email) == ("Ada", "pt-BR", user.email)
    assert await auth.users.update_profile(tenant_id, user.id, actor=SYSTEM) == changed
    for values in ({"name": "x" * 201}, {"name": "a\x00b"}, {"name": "a\nb"}, {"language": "English"}, {"language": "en\n"}):
        with pytest.raises(InvalidInput):
            await auth.users.update_profile(tenant_id, user.id, actor=SYSTEM, **values)


async def test_the_application_cannot_make_an_operator_by_itself(auth: Auth, tenant_id: UUID) -> None:
    from sqlalchemy.exc import ProgrammingError

    from tollhouse.auth import repository

    user = await auth.user(tenant_id)
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with auth.store.transaction(tenant_id) as conn:
            await repository.add_operator(conn, tenant_id, user.id)


def test_the_table_of_permissions() -> None:
    assert MAY["owner"] > MAY["admin"] > MAY["support"] > MAY["analyst"] == {"view"}
    for role, permissions in MAY.items():
        for scopes in (None, frozenset({"admin"}), frozenset(SCOPES) - {"admin"}, frozenset[str]()):
            principal = Principal(UUID(int=1), UUID(int=2), "password", "api", role=role, scopes=scopes)
            for permission in MAY["owner"]:
                expected = permission in permissions and (scopes is None or "admin" in scopes)
                assert may(principal, permission) == expected
    customer = Principal(UUID(int=1), UUID(int=2), "password", "web")
    with pytest.raises(Forbidden):
        require(customer, "view")
    with pytest.raises(Forbidden):
        require_operator(customer)


async def test_guests_have_no_email(auth: Auth, tenant_id: UUID) -> None:
    async with auth.store.transaction(tenant_id) as conn:
        assert (await create_user(conn, tenant_id, email=None)).email is None
        assert (await create_user(conn, tenant_id, email=None)).email is None
        assert len((await conn.execute(select(users.c.id))).all()) == 2


async def test_two_admins_write_to_the_trail_at_the_same_time(store: Store, tenant_id: UUID) -> None:
    """Neither waits until the other's transaction ends: the chain is made of what has committed, afterwards."""
    async with store.transaction(tenant_id) as first, store.transaction(tenant_id) as second:
        await record(first, tenant_id, SYSTEM, "thing.made")
        await record(second, tenant_id, SYSTEM, "thing.other")
    async with store.transaction(tenant_id) as conn:
        assert (await conn.execute(select(audit.c.action).order_by(audit.c.action))).scalars().all() == [
            "thing.made",
            "thing.other",
        ]
