"""All SQL of users, identities, sessions, API keys and one-time links."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, RowMapping, Select, Update, and_, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth.models import api_keys, identities, one_time_tokens, operators, sessions, users
from tollhouse.store.ids import new_id
from tollhouse.store.pages import page_by_id

Row: TypeAlias = RowMapping
NOW = func.app_now()

# -- Who a credential is: one statement each, on the driver, because every request begins with one ---------------------------

_PERSON = """
       u.id AS user_id, u.email, u.name, u.language, u.role,
       EXISTS (SELECT FROM operators o WHERE o.tenant_id = u.tenant_id AND o.id = u.id) AS operator
"""
AUTHENTICATE_SESSION = f"""
SELECT s.id, s.kind, s.auth_provider, s.last_seen_at < app_now() - $4::interval AS stale, {_PERSON}
  FROM sessions s JOIN users u ON u.tenant_id = s.tenant_id AND u.id = s.user_id
 WHERE s.tenant_id = $1 AND s.token_hash = $2 AND s.revoked_at IS NULL AND s.expires_at > app_now()
   AND s.last_seen_at > app_now() - $3::interval AND u.status = 'active'
"""
AUTHENTICATE_KEY = f"""
SELECT k.id, k.scopes, coalesce(k.last_used_at < app_now() - $3::interval, true) AS stale, {_PERSON}
  FROM api_keys k JOIN users u ON u.tenant_id = k.tenant_id AND u.id = k.user_id
 WHERE k.tenant_id = $1 AND k.token_hash = $2 AND k.revoked_at IS NULL
   AND (k.expires_at IS NULL OR k.expires_at > app_now()) AND u.status = 'active'
"""


# A user's row is locked before the rows of its sessions, keys and links, by everybody.


async def touch_session(conn: AsyncConnection, tenant_id: UUID, session_id: UUID, user_id: UUID) -> None:
    """Note that a session, and with it its user, was seen now."""
    await _touch_user(conn, tenant_id, user_id)
    await conn.execute(_one(sessions, tenant_id, session_id).values(last_seen_at=NOW))


async def touch_key(conn: AsyncConnection, tenant_id: UUID, key_id: UUID, user_id: UUID) -> None:
    """Note that a key, and with it its user, was seen now."""
    await _touch_user(conn, tenant_id, user_id)
    await conn.execute(_one(api_keys, tenant_id, key_id).values(last_used_at=NOW))


async def _touch_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    await conn.execute(_one(users, tenant_id, user_id).values(last_seen_at=NOW))


def _one(table: Any, tenant_id: UUID, row_id: UUID) -> Update:
    return update(table).where(table.c.tenant_id == tenant_id, table.c.id == row_id)


async def _row(conn: AsyncConnection, statement: Executable) -> Row | None:
    return (await conn.execute(statement)).mappings().one_or_none()


async def _added(conn: AsyncConnection, statement: Executable) -> Row:
    return (await conn.execute(statement)).mappings().one()


# -- Users and identities --------------------------------------------------------------------------------------------------


def _users(tenant_id: UUID) -> Select[Any]:
    operator = select(operators.c.id).where(operators.c.tenant_id == users.c.tenant_id, operators.c.id == users.c.id).exists()
    return select(users, operator.label("operator")).where(users.c.tenant_id == tenant_id)


async def add_user(conn: AsyncConnection, tenant_id: UUID, **values: Any) -> Row | None:
    """The new user, or None if somebody has this e-mail."""
    statement = upsert(users).values(tenant_id=tenant_id, id=new_id(), **values)
    return await _row(conn, statement.on_conflict_do_nothing(index_elements=["tenant_id", "email"]).returning(users))


async def get_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, *, lock: bool = False) -> Row | None:
    statement = _users(tenant_id).where(users.c.id == user_id)
    # Rows that refer to the user (a conversation that begins) may be added all the same.
    return await _row(conn, statement.with_for_update(of=users, key_share=True) if lock else statement)


async def find_user(conn: AsyncConnection, tenant_id: UUID, email: str) -> Row | None:
    return await _row(conn, _users(tenant_id).where(users.c.email == email))


async def page_of_users(
    conn: AsyncConnection, tenant_id: UUID, *, search: str, role: str | None, staff: bool, cursor: str | None, limit: int
) -> tuple[Sequence[Row], str | None]:
    """Users, newest first; ``search`` is the beginning of an e-mail or of a name."""
    statement = _users(tenant_id)
    if search:
        statement = statement.where(
            or_(users.c.email.istartswith(search, autoescape=True), users.c.name.istartswith(search, autoescape=True))
        )
    if role is not None:
        statement = statement.where(users.c.role == role)
    if staff:
        statement = statement.where(users.c.role.is_not(None))
    return await page_by_id(conn, statement, users.c.id, cursor=cursor, limit=limit)


async def change_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, **values: Any) -> Row | None:
    return await _row(conn, _one(users, tenant_id, user_id).values(**values).returning(users))


async def lock_owners(conn: AsyncConnection, tenant_id: UUID) -> Sequence[UUID]:
    """The active owners; nobody else can change who is one until the transaction ends."""
    await conn.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 7404))"), {"tenant": str(tenant_id)})
    found = select(users.c.id).where(users.c.tenant_id == tenant_id, users.c.role == "owner", users.c.status == "active")
    return (await conn.execute(found.order_by(users.c.id).with_for_update(key_share=True))).scalars().all()


async def add_operator(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """Needs the operator's scope."""
    row = upsert(operators).values(tenant_id=tenant_id, id=user_id)
    await conn.execute(row.on_conflict_do_nothing(index_elements=["tenant_id", "id"]))


async def remove_operator(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """Needs the operator's scope."""
    await conn.execute(operators.delete().where(operators.c.tenant_id == tenant_id, operators.c.id == user_id))


async def count_operators(conn: AsyncConnection) -> int:
    """In the whole installation; needs the operator's scope. Parallel questions wait: there is one first operator."""
    await conn.execute(text("SELECT pg_advisory_xact_lock(7403221022)"))
    return int((await conn.execute(select(func.count()).select_from(operators))).scalar_one())


def _password(tenant_id: UUID) -> ColumnElement[bool]:
    return and_(identities.c.tenant_id == tenant_id, identities.c.provider == "password", identities.c.issuer == "")


async def set_password(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, hashed: str) -> None:
    """Store a password's hash; the identity's subject is the user's id, so that a changed e-mail keeps it."""
    statement = upsert(identities).values(
        tenant_id=tenant_id, id=new_id(), user_id=user_id, provider="password", subject=str(user_id), secret=hashed
    )
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "provider", "issuer", "subject"], set_={"secret": statement.excluded.secret}
        )
    )


async def password_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> str | None:
    found = select(identities.c.secret).where(_password(tenant_id), identities.c.user_id == user_id)
    return (await conn.execute(found)).scalar_one_or_none()


async def login_facts(conn: AsyncConnection, tenant_id: UUID, email: str) -> Row | None:
    """Who has this e-mail, and the hash of the password; one statement, whether or not there is such a user."""
    joined = and_(_password(tenant_id), identities.c.user_id == users.c.id)
    statement = select(users.c.id, users.c.status, identities.c.secret).outerjoin_from(users, identities, joined)
    return await _row(conn, statement.where(users.c.tenant_id == tenant_id, users.c.email == email))


async def identities_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Sequence[Row]:
    """Without secrets."""
    columns = (identities.c.provider, identities.c.issuer, identities.c.subject, identities.c.created_at)
    statement = select(*columns).where(identities.c.tenant_id == tenant_id, identities.c.user_id == user_id)
    return (await conn.execute(statement.order_by(identities.c.id))).mappings().all()


async def end_proofs(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """Everything that somebody could come in by ends: password and other identities, sessions, keys, open links."""
    where = (identities.c.tenant_id == tenant_id, identities.c.user_id == user_id)
    await conn.execute(identities.delete().where(*where))
    await end_sessions(conn, tenant_id, user_id, keep=None)
    await revoke_keys(conn, tenant_id, user_id)
    await void_links(conn, tenant_id, user_id, None)


async def remove_proofs(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """Identities, sessions, keys and links of a user: gone, with their addresses and names."""
    for table in (identities, sessions, api_keys, one_time_tokens):
        await conn.execute(table.delete().where(table.c.tenant_id == tenant_id, table.c.user_id == user_id))


# -- Sessions --------------------------------------------------------------------------------------------------------------


async def add_session(conn: AsyncConnection, tenant_id: UUID, *, lifetime: timedelta, **values: Any) -> Row:
    statement = insert(sessions).values(tenant_id=tenant_id, id=new_id(), expires_at=NOW + lifetime, **values)
    return await _added(conn, statement.returning(sessions))


async def live_sessions(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, *, idle: timedelta) -> Sequence[Row]:
    where = (sessions.c.tenant_id == tenant_id, sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
    alive = (sessions.c.expires_at > NOW, sessions.c.last_seen_at > NOW - idle)
    return (await conn.execute(select(sessions).where(*where, *alive).order_by(sessions.c.id.desc()))).mappings().all()


async def sessions_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Sequence[Row]:
    """Live and ended ones, without their tokens."""
    table = sessions.c
    columns = (table.kind, table.auth_provider, table.user_agent, table.address, table.created_at, table.last_seen_at)
    statement = select(*columns, table.expires_at, table.revoked_at).where(
        table.tenant_id == tenant_id, table.user_id == user_id
    )
    return (await conn.execute(statement.order_by(table.id))).mappings().all()


async def session_age(conn: AsyncConnection, tenant_id: UUID, session_id: UUID) -> timedelta | None:
    statement = select(NOW - sessions.c.created_at).where(sessions.c.tenant_id == tenant_id, sessions.c.id == session_id)
    return (await conn.execute(statement)).scalar_one_or_none()


async def end_session(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, session_id: UUID) -> bool:
    """Whether there was such a live session of this user."""
    where = (sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
    return (await conn.execute(_one(sessions, tenant_id, session_id).where(*where).values(revoked_at=NOW))).rowcount == 1


async def end_sessions(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, *, keep: UUID | None) -> int:
    where = [sessions.c.tenant_id == tenant_id, sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None)]
    if keep is not None:
        where.append(sessions.c.id != keep)
    return (await conn.execute(update(sessions).where(*where).values(revoked_at=NOW))).rowcount


# -- API keys --------------------------------------------------------------------------------------------------------------


async def add_key(conn: AsyncConnection, tenant_id: UUID, **values: Any) -> Row:
    statement = insert(api_keys).values(tenant_id=tenant_id, id=new_id(), **values)
    return await _added(conn, statement.returning(api_keys))


async def live_key(conn: AsyncConnection, tenant_id: UUID, key_id: UUID) -> Row | None:
    table = api_keys.c
    alive = and_(table.revoked_at.is_(None), or_(table.expires_at.is_(None), table.expires_at > NOW))
    return await _row(conn, select(api_keys).where(table.tenant_id == tenant_id, table.id == key_id, alive))


async def live_keys(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Sequence[Row]:
    """Newest first."""
    where = (api_keys.c.tenant_id == tenant_id, api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
    alive = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > NOW)
    return (await conn.execute(select(api_keys).where(*where, alive).order_by(api_keys.c.id.desc()))).mappings().all()


async def keys_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Sequence[Row]:
    """Live and ended ones, without their secrets."""
    table = api_keys.c
    columns = (table.name, table.prefix, table.scopes, table.created_at, table.expires_at, table.last_used_at, table.revoked_at)
    statement = select(*columns).where(table.tenant_id == tenant_id, table.user_id == user_id)
    return (await conn.execute(statement.order_by(table.id))).mappings().all()


async def revoke_key(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, key_id: UUID) -> Sequence[UUID]:
    """Ends it, and whatever was made by it or by those; ids of what has ended, none if this user has no such live key. The
    user's row is locked by the caller."""
    mine = (api_keys.c.tenant_id == tenant_id, api_keys.c.user_id == user_id)
    family = select(api_keys.c.id).where(*mine, api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).cte(recursive=True)
    family = family.union(select(api_keys.c.id).where(*mine, api_keys.c.made_by == family.c.id))
    ended = update(api_keys).where(*mine, api_keys.c.id.in_(select(family.c.id)), api_keys.c.revoked_at.is_(None))
    found: Sequence[UUID] = (await conn.execute(ended.values(revoked_at=NOW).returning(api_keys.c.id))).scalars().all()
    return found


async def revoke_keys(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> int:
    where = (api_keys.c.tenant_id == tenant_id, api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
    return (await conn.execute(update(api_keys).where(*where).values(revoked_at=NOW))).rowcount


# -- One-time links --------------------------------------------------------------------------------------------------------


async def void_links(conn: AsyncConnection, tenant_id: UUID, user_id: UUID | None, purpose: str | None) -> None:
    """End the open links of somebody (or of nobody yet); of one purpose, or of all."""
    where = [one_time_tokens.c.tenant_id == tenant_id, one_time_tokens.c.used_at.is_(None)]
    where.append(one_time_tokens.c.user_id.is_not_distinct_from(user_id))
    if purpose is not None:
        where.append(one_time_tokens.c.purpose == purpose)
    await conn.execute(update(one_time_tokens).where(*where).values(used_at=NOW))


async def add_link(conn: AsyncConnection, tenant_id: UUID, *, ttl: timedelta, **values: Any) -> Row:
    statement = insert(one_time_tokens).values(tenant_id=tenant_id, id=new_id(), expires_at=NOW + ttl, **values)
    return await _added(conn, statement.returning(one_time_tokens))


async def lock_links(conn: AsyncConnection, tenant_id: UUID, user_id: UUID | None, purpose: str) -> None:
    """Of two links made at the same time, one is the newer one."""
    name = {"name": f"{tenant_id}/{user_id}/{purpose}"}
    await conn.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 7405))"), name)


def _open_link(tenant_id: UUID, digest: bytes, purposes: Sequence[str]) -> ColumnElement[bool]:
    link = one_time_tokens.c
    mine = and_(link.tenant_id == tenant_id, link.token_hash == digest, link.purpose.in_(purposes))
    return and_(mine, link.used_at.is_(None), link.expires_at > NOW)


async def peek_link(conn: AsyncConnection, tenant_id: UUID, digest: bytes, purposes: Sequence[str]) -> Row | None:
    return await _row(conn, select(one_time_tokens).where(_open_link(tenant_id, digest, purposes)))


async def use_link(conn: AsyncConnection, tenant_id: UUID, digest: bytes, purposes: Sequence[str]) -> Row | None:
    """The link, used up by this very statement; None if it is not valid (any more)."""
    statement = update(one_time_tokens).where(_open_link(tenant_id, digest, purposes)).values(used_at=NOW)
    return await _row(conn, statement.returning(one_time_tokens))
