"""One-time links: proofs that are handed over once and used once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth import repository
from tollhouse.auth.errors import LinkInvalid
from tollhouse.auth.failures import SignInFailures
from tollhouse.auth.roles import require_over, require_session
from tollhouse.auth.throttle import LoginThrottle
from tollhouse.auth.tokens import ParsedToken, digest_of, new_token, parse
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import NotFound, Unauthenticated
from tollhouse.store import audit
from tollhouse.store.audit import Actor
from tollhouse.store.store import Store

Purpose = Literal["sign_in", "invite", "owner", "operator"]

LIFETIME: Final[Mapping[Purpose, timedelta]] = {
    "sign_in": timedelta(hours=1),
    "invite": timedelta(days=7),
    "owner": timedelta(days=7),
    "operator": timedelta(days=1),
}
PAGES: Final[Mapping[Purpose, str]] = {"sign_in": "/link/", "invite": "/invite/", "owner": "/claim/", "operator": "/claim/"}
"""Where on a tenant's pages each is redeemed."""


@dataclass(frozen=True, slots=True)
class Link:
    """A valid link. ``user_id`` is None where redeeming it makes the user."""

    id: UUID
    tenant_id: UUID
    purpose: Purpose
    user_id: UUID | None
    expires_at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


async def issue(
    conn: AsyncConnection,
    tenant_id: UUID,
    purpose: Purpose,
    user_id: UUID | None,
    *,
    ttl: timedelta | None = None,
    data: Mapping[str, Any] | None = None,
) -> str:
    """A new link's token, shown this once; older ones of the same purpose and person are void."""
    token = new_token("link", tenant_id)
    await repository.lock_links(conn, tenant_id, user_id, purpose)
    await repository.void_links(conn, tenant_id, user_id, purpose)
    values = {"purpose": purpose, "user_id": user_id, "token_hash": digest_of(token), "data": dict(data or {})}
    await repository.add_link(conn, tenant_id, ttl=ttl or LIFETIME[purpose], **values)
    return token


def address_of(base_url: str, purpose: Purpose, token: str) -> str:
    """The link itself. ``base_url``: where the pages of its tenant begin."""
    return f"{base_url}{PAGES[purpose]}{token}"


def parse_link(token: str, tenant_id: UUID | None = None) -> ParsedToken:
    """Read a link's token without the database; ``tenant_id``: it must be of this tenant.

    Raises:
        LinkInvalid: it is not a link's token, or another tenant's.
    """
    try:
        parsed = parse(token)
    except Unauthenticated:
        raise LinkInvalid() from None
    if parsed.kind != "link" or (tenant_id is not None and parsed.tenant_id != tenant_id):
        raise LinkInvalid()
    return parsed


async def use(conn: AsyncConnection, parsed: ParsedToken, purposes: Sequence[Purpose]) -> Link:
    """Use a link up, in the present transaction: of any number of parallel tries, one succeeds. Its user's row is locked first,
    as by everybody who changes what somebody signs in with.

    Raises:
        LinkInvalid: used, expired, unknown, or of another purpose.
    """
    found = _link(await repository.peek_link(conn, parsed.tenant_id, parsed.digest, purposes))
    if found.user_id is not None:
        await repository.get_user(conn, parsed.tenant_id, found.user_id, lock=True)
    return _link(await repository.use_link(conn, parsed.tenant_id, parsed.digest, purposes))


class OneTimeLinks:
    """Makes links for people that exist, and looks at links without using them."""

    def __init__(self, store: Store, throttle: LoginThrottle | None = None) -> None:
        """``throttle``: where looks at links that are not valid are counted, for those who look with an address."""
        self.store = store
        self._throttle = throttle
        self._failures = SignInFailures(store)

    async def create(
        self,
        tenant_id: UUID,
        purpose: Purpose,
        user_id: UUID,
        *,
        by: Principal | None,
        actor: Actor,
        ttl: timedelta | None = None,
    ) -> str:
        """A new link's token, shown this once. Whoever holds it is that user, so it takes ``manage``, and ``own`` for an owner.

        Raises:
            NotFound: there is no such active user in this tenant.
            Forbidden: ``by`` may not act for this user, or has not signed in.
        """
        async with self.store.transaction(tenant_id) as conn:
            user = await repository.get_user(conn, tenant_id, user_id)
            if user is None or user["status"] != "active":
                raise NotFound()
            require_over(by, "manage", role=user["role"], operator=user["operator"])
            require_session(by)
            token = await issue(conn, tenant_id, purpose, user_id, ttl=ttl)
            await audit.record(conn, tenant_id, actor, "link.created", target=("user", user_id), data={"purpose": purpose})
        return token

    async def look(self, token: str, purposes: Sequence[Purpose], tenant_id: UUID, address: str) -> Link:
        """The same as :meth:`peek` by somebody at an address, who may be guessing.

        Raises:
            LinkInvalid: it is not valid.
            RateLimited: there were too many such from this address.
        """
        if self._throttle is None:
            return await self.peek(token, purposes, tenant_id=tenant_id)
        async with self._failures.of_links(tenant_id, address), self._throttle.link_try(tenant_id, address):
            return await self.peek(token, purposes, tenant_id=tenant_id)

    async def peek(self, token: str, purposes: Sequence[Purpose], *, tenant_id: UUID | None = None) -> Link:
        """What a link is for; it stays valid.

        Raises:
            LinkInvalid: it is not valid.
        """
        parsed = parse_link(token, tenant_id)
        async with self.store.transaction(parsed.tenant_id) as conn:
            return _link(await repository.peek_link(conn, parsed.tenant_id, parsed.digest, purposes))


def _link(row: repository.Row | None) -> Link:
    if row is None:
        raise LinkInvalid()
    return Link(row["id"], row["tenant_id"], row["purpose"], row["user_id"], row["expires_at"], row["data"])
