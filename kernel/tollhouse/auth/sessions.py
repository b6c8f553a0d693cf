"""Sessions: signing in and out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth import links, repository
from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.errors import AccountBlocked, BadCredentials, LinkInvalid
from tollhouse.auth.failures import Reason, SignInFailures
from tollhouse.auth.fields import normal_email, printable
from tollhouse.auth.passwords import Passwords
from tollhouse.auth.throttle import LoginThrottle
from tollhouse.auth.tokens import ParsedToken, digest_of, new_token
from tollhouse.host.caller import Browser
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.plugin.ports import SessionInfo, SignedIn
from tollhouse.settings import Settings
from tollhouse.store import audit
from tollhouse.store.audit import Actor
from tollhouse.store.store import Store

SessionKind = Literal["cookie", "bearer"]


class SessionService:
    """Starts, lists and ends sessions. Each sign-in is a new token; nothing of an old one is taken over."""

    def __init__(
        self, store: Store, settings: Settings, passwords: Passwords, throttle: LoginThrottle, authenticator: Authenticator
    ) -> None:
        self.store = store
        self._passwords = passwords
        self._throttle = throttle
        self._authenticator = authenticator
        self.failures = SignInFailures(store)
        self._idle = timedelta(hours=settings.session_idle_hours)
        self._lifetime = timedelta(hours=settings.session_absolute_hours)

    async def login(
        self,
        tenant_id: UUID,
        email: str,
        password: str,
        kind: SessionKind,
        *,
        address: str = "",
        user_agent: str = "",
        browser: Browser | None = None,
    ) -> SignedIn:
        """Sign in by e-mail and password.

        Raises:
            BadCredentials: whatever of it is wrong; the same answer, after the same work, for an unknown e-mail.
            AccountBlocked: the password is right, and this person may not sign in.
            RateLimited: too many tries on this account or from this address.
        """
        try:
            known = normal_email(email)
        except InvalidInput:
            known = ""  # nobody has it; everything below is done all the same
        sent = browser.sent if browser is not None else ""
        # Who sends no such cookie is counted before the database is asked at all.
        facts = await self._facts(tenant_id, known) if sent else None
        device = None if facts is None else self._throttle.devices.known(tenant_id, sent, facts["id"], facts["secret"])
        await self._throttle.take(tenant_id, known, address, device=device)
        if not sent:
            facts = await self._facts(tenant_id, known)
        stored = facts["secret"] if facts is not None else None
        matches, fresh = await self._passwords.verify(password, stored)
        if not matches or facts is None:
            # Of an e-mail that nobody has here only that there was one: it may be anything that somebody typed.
            who = (known, facts["id"]) if facts is not None else ("", None)
            reason: Reason = "wrong_password" if facts is not None else "unknown_email"
            await self.failures.note(tenant_id, reason, address, account=who[0], user_id=who[1])
            raise BadCredentials()
        await self._throttle.succeeded(tenant_id, known, address, device=device)
        if facts["status"] == "blocked":
            await self.failures.note(tenant_id, "blocked", address, account=known, user_id=facts["id"])
            raise AccountBlocked()
        async with self.store.transaction(tenant_id) as conn:
            # The row is locked: a password changed meanwhile must not leave a session behind that was opened with the old one.
            user = await repository.get_user(conn, tenant_id, facts["id"], lock=True)
            unchanged = await repository.password_of(conn, tenant_id, facts["id"]) == stored
            if user is None or user["status"] != "active" or not unchanged:
                raise BadCredentials()
            if fresh is not None:
                await repository.set_password(conn, tenant_id, user["id"], fresh)
            where = {"address": address, "user_agent": user_agent}
            return await self._signed_in(conn, user, "password", kind, browser=browser, **where)

    async def _facts(self, tenant_id: UUID, email: str) -> repository.Row | None:
        async with self.store.transaction(tenant_id) as conn:
            return await repository.login_facts(conn, tenant_id, email)

    async def redeem(
        self,
        tenant_id: UUID,
        token: str,
        kind: SessionKind,
        *,
        address: str = "",
        user_agent: str = "",
        browser: Browser | None = None,
    ) -> SignedIn:
        """Sign in by a one-time link.

        Raises:
            LinkInvalid: used, expired, unknown, another tenant's, or of somebody who may not sign in.
            RateLimited: too many links from this address were not valid.
        """
        async with self.failures.of_links(tenant_id, address), self._throttle.link_try(tenant_id, address):
            parsed = links.parse_link(token, tenant_id)
            return await self._redeem(parsed, kind, address=address, user_agent=user_agent, browser=browser)

    async def _redeem(
        self, parsed: ParsedToken, kind: SessionKind, *, address: str, user_agent: str, browser: Browser | None
    ) -> SignedIn:
        tenant_id = parsed.tenant_id
        async with self.store.transaction(tenant_id) as conn:
            link = await links.use(conn, parsed, ["sign_in"])
            user = await repository.get_user(conn, tenant_id, link.user_id, lock=True) if link.user_id else None
            if user is None or user["status"] != "active":
                raise LinkInvalid()
            return await self._signed_in(conn, user, "link", kind, address=address, user_agent=user_agent, browser=browser)

    async def begin(
        self,
        tenant_id: UUID,
        user_id: UUID,
        kind: SessionKind,
        *,
        address: str = "",
        user_agent: str = "",
        browser: Browser | None = None,
    ) -> SignedIn:
        """A session of somebody whose password was set a moment ago, by a link that the caller has redeemed: nothing is tried
        here, so the throttle of sign-ins has no say.

        Raises:
            BadCredentials: this user may not sign in.
        """
        async with self.store.transaction(tenant_id) as conn:
            user = await repository.get_user(conn, tenant_id, user_id, lock=True)
            if user is None or user["status"] != "active":
                raise BadCredentials()
            where = {"address": address, "user_agent": user_agent}
            return await self._signed_in(conn, user, "password", kind, browser=browser, **where)

    async def _signed_in(
        self, conn: AsyncConnection, user: repository.Row, auth_provider: str, kind: SessionKind, *, address: str, **more: Any
    ) -> SignedIn:
        """Open a session, and say so in the audit log."""
        signed_in = await self.open(conn, user, auth_provider, kind, address=address, **more)
        actor, data = Actor("user", user["id"], printable(address, 64)), {"by": auth_provider, "kind": kind}
        await audit.record(conn, user["tenant_id"], actor, "user.signed_in", target=("user", user["id"]), data=data)
        return signed_in

    async def open(
        self,
        conn: AsyncConnection,
        user: repository.Row,
        auth_provider: str,
        kind: SessionKind,
        *,
        address: str = "",
        user_agent: str = "",
        browser: Browser | None = None,
    ) -> SignedIn:
        """A new session of a user (a row of ``repository.get_user``) whose proof was checked by the caller. ``browser``: it is
        known from now on."""
        tenant_id = user["tenant_id"]
        token = new_token("session", tenant_id)
        row = await repository.add_session(
            conn,
            tenant_id,
            lifetime=self._lifetime,
            user_id=user["id"],
            token_hash=digest_of(token),
            kind=kind,
            auth_provider=auth_provider,
            user_agent=printable(user_agent, 300),
            address=printable(address, 64),
        )
        if browser is not None:
            secret = await repository.password_of(conn, tenant_id, user["id"])
            browser.kept = self._throttle.devices.remember(tenant_id, browser.sent, user["id"], secret)
        principal = Principal(
            tenant_id=tenant_id,
            user_id=user["id"],
            auth_provider=auth_provider,
            channel="web" if kind == "cookie" else "api",
            email=user["email"],
            name=user["name"] or None,
            role=user["role"],
            operator=user["operator"],
            credential_id=row["id"],
            language=user["language"],
        )
        return SignedIn(token, row["expires_at"], principal)

    async def logout(self, principal: Principal) -> None:
        """End the session that asks; an API key has none to end."""
        if principal.credential_kind == "session" and principal.credential_id is not None:
            async with self.store.transaction(principal.tenant_id) as conn:
                await repository.end_session(conn, principal.tenant_id, principal.user_id, principal.credential_id)
            self._authenticator.forget(principal.user_id)

    async def list(self, principal: Principal) -> Sequence[SessionInfo]:
        """The principal's live sessions, newest first."""
        async with self.store.transaction(principal.tenant_id) as conn:
            rows = await repository.live_sessions(conn, principal.tenant_id, principal.user_id, idle=self._idle)
        return [_info(row, principal.credential_id) for row in rows]

    async def end(self, principal: Principal, session_id: UUID) -> None:
        """End one of the principal's sessions.

        Raises:
            NotFound: the principal has no such live session.
        """
        async with self.store.transaction(principal.tenant_id) as conn:
            if not await repository.end_session(conn, principal.tenant_id, principal.user_id, session_id):
                raise NotFound()
        self._authenticator.forget(principal.user_id)

    async def end_all_for_user(self, tenant_id: UUID, user_id: UUID, *, actor: Actor, keep: UUID | None = None) -> int:
        """End every session of a user (but ``keep``), by an admin or by the user; how many there were.

        Raises:
            NotFound: there is no such user.
        """
        async with self.store.transaction(tenant_id) as conn:
            if await repository.get_user(conn, tenant_id, user_id, lock=True) is None:
                raise NotFound()
            ended = await repository.end_sessions(conn, tenant_id, user_id, keep=keep)
            await audit.record(conn, tenant_id, actor, "user.sessions_ended", target=("user", user_id), data={"ended": ended})
        self._authenticator.forget(user_id)
        return ended


def _info(row: repository.Row, current: UUID | None) -> SessionInfo:
    return SessionInfo(
        id=str(row["id"]),
        kind=row["kind"],
        user_agent=row["user_agent"],
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
        expires_at=row["expires_at"],
        current=row["id"] == current,
    )
