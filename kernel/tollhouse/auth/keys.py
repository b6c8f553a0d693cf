"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth import repository
from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.fields import clean_text
from tollhouse.auth.roles import require_session, valid_scopes
from tollhouse.auth.tokens import digest_of, new_token, visible_prefix
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from tollhouse.plugin.ports import KeyInfo
from tollhouse.store import audit
from tollhouse.store.audit import Actor
from tollhouse.store.store import Store

MAX_KEYS: Final = 100


async def issue(
    conn: AsyncConnection,
    tenant_id: UUID,
    user_id: UUID,
    name: str,
    *,
    actor: Actor,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
    made_by: UUID | None = None,
) -> tuple[KeyInfo, str]:
    """A new key of a user and its secret, in the present transaction. No scopes: everything that its owner may. ``made_by``:
    the key with which it ends.

    Raises:
        InvalidInput: the name, a scope or the time is not valid.
        Conflict: ``too_many_keys``.
    """
    name = clean_text(name, field="name", longest=100, required=True)
    chosen = sorted(valid_scopes(scopes)) or None
    if expires_at is not None:
        await _check_time(conn, expires_at)
    if len(await repository.live_keys(conn, tenant_id, user_id)) >= MAX_KEYS:
        raise TooManyKeys()
    token = new_token("api_key", tenant_id)
    values = {"user_id": user_id, "name": name, "scopes": chosen, "expires_at": expires_at, "made_by": made_by}
    row = await repository.add_key(conn, tenant_id, prefix=visible_prefix(token), token_hash=digest_of(token), **values)
    data = {"scopes": chosen, "user": user_id}
    await audit.record(conn, tenant_id, actor, "api_key.created", target=("api_key", row["id"]), data=data)
    return _info(row), token


class TooManyKeys(Conflict):
    code = "too_many_keys"
    title = f"There are {MAX_KEYS} keys already; revoke one that is not used any more"


class KeyService:
    """Makes, lists and revokes API keys."""

    def __init__(self, store: Store, authenticator: Authenticator) -> None:
        self.store = store
        self._authenticator = authenticator

    async def create(
        self, principal: Principal, name: str, scopes: Sequence[str] = (), expires_at: datetime | None = None, *, actor: Actor
    ) -> tuple[KeyInfo, str]:
        """A new key of the principal, and its secret, which is shown this once. One that a key makes ends with that key.

        Raises:
            Forbidden: an API key made it, and the new one would have more scopes or live longer; or a messenger did.
            InvalidInput: the name, a scope or the time is not valid.
        """
        tenant_id = principal.tenant_id
        chosen = valid_scopes(scopes)
        async with self.store.transaction(tenant_id) as conn:
            # The owner's row is locked: keys are counted one after the other.
            owner = await repository.get_user(conn, tenant_id, principal.user_id, lock=True)
            if owner is None or owner["status"] != "active":  # blocked a moment ago: that ends everything for good
                raise Unauthenticated()
            maker = await _maker(conn, principal)
            if maker is not None:
                _is_no_more(chosen, expires_at, maker)
            made_by = None if maker is None else maker["id"]
            values: dict[str, Any] = {"scopes": sorted(chosen), "expires_at": expires_at, "made_by": made_by}
            return await issue(conn, tenant_id, principal.user_id, name, actor=actor, **values)

    async def list(self, principal: Principal) -> Sequence[KeyInfo]:
        """The principal's live keys, newest first."""
        return await self.list_of(principal.tenant_id, principal.user_id)

    async def list_of(self, tenant_id: UUID, user_id: UUID) -> Sequence[KeyInfo]:
        """A user's live keys, newest first; for staff."""
        async with self.store.transaction(tenant_id) as conn:
            return [_info(row) for row in await repository.live_keys(conn, tenant_id, user_id)]

    async def revoke(self, principal: Principal, key_id: UUID, *, actor: Actor) -> None:
        """End one of the principal's keys, and those that it made, effective at once.

        Raises:
            NotFound: the principal has no such live key.
        """
        await self.revoke_of(principal.tenant_id, principal.user_id, key_id, actor=actor)

    async def revoke_of(self, tenant_id: UUID, user_id: UUID, key_id: UUID, *, actor: Actor) -> None:
        """End one of a user's keys, and those that it made; for staff.

        Raises:
            NotFound: the user has no such live key.
        """
        async with self.store.transaction(tenant_id) as conn:
            await repository.get_user(conn, tenant_id, user_id, lock=True)  # no key is being made by this one meanwhile
            ended = await repository.revoke_key(conn, tenant_id, user_id, key_id)
            if not ended:
                raise NotFound()
            for one in ended:
                await audit.record(conn, tenant_id, actor, "api_key.revoked", target=("api_key", one), data={"user": user_id})
        self._authenticator.forget(user_id)


async def _maker(conn: AsyncConnection, principal: Principal) -> repository.Row | None:
    """The key that asks, as it is now; None if somebody who has signed in asks.

    Raises:
        Unauthenticated: it has ended.
        SessionRequired: neither.
    """
    if principal.credential_kind != "api_key" or principal.credential_id is None:
        require_session(principal)
        return None
    maker = await repository.live_key(conn, principal.tenant_id, principal.credential_id)
    if maker is None:
        raise Unauthenticated()
    return maker


def _is_no_more(scopes: frozenset[str], expires_at: datetime | None, maker: repository.Row) -> None:
    """
    Raises:
        Forbidden: a key with these would have more than the one that makes it.
    """
    if maker["scopes"] is not None and (not scopes or not scopes <= {*maker["scopes"]}):
        raise Forbidden("An API key cannot make one with more scopes than it has")
    limit = maker["expires_at"]
    if limit is not None and (expires_at is None or expires_at > limit):
        raise Forbidden("An API key cannot make one that lives longer than itself")


async def _check_time(conn: AsyncConnection, expires_at: datetime) -> None:
    if expires_at.tzinfo is None:
        raise InvalidInput("The time needs its offset from UTC", field="expires_at")
    if expires_at <= (await conn.execute(select(func.app_now()))).scalar_one():
        raise InvalidInput("The time must be in the future", field="expires_at")


def _info(row: repository.Row) -> KeyInfo:
    return KeyInfo(
        id=str(row["id"]),
        name=row["name"],
        prefix=row["prefix"],
        scopes=tuple(row["scopes"] or ()),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )
