"""Accounts: what spans users, proofs and subscriptions, in one transaction each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import func, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth import links, repository
from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.errors import EmailTaken, LinkInvalid
from tollhouse.auth.fields import clean_text, normal_email
from tollhouse.auth.links import Purpose
from tollhouse.auth.passwords import Passwords, check_password
from tollhouse.auth.roles import require_over, require_session, valid_role
from tollhouse.auth.users import User, UserService, blank_user, create_user, grant_operator, user_of
from tollhouse.host.caller import Browser
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import NotFound, gather
from tollhouse.plugin.events import EventName
from tollhouse.store import audit
from tollhouse.store.audit import Actor
from tollhouse.store.scope import OPERATOR
from tollhouse.store.store import Store
from tollhouse.tenants.repository import names_of
from tollhouse.tenants.scoping import within


class StartsSubscription(Protocol):
    """Begins the tenant's default plan for a new user, if there is one."""

    def __call__(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID, /) -> Awaitable[UUID | None]: ...


class Emits(Protocol):
    """Tells plugins of an event, in the transaction of its cause."""

    def __call__(
        self, conn: AsyncConnection, tenant_id: UUID, name: EventName, data: Mapping[str, Any], /
    ) -> Awaitable[None]: ...


class Exports(Protocol):
    """What one package knows of a user, as JSON or nearly."""

    def __call__(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID, /) -> Awaitable[Any]: ...


Afterwards = Callable[[], Awaitable[None]]


class Erases(Protocol):
    """Removes what one package keeps of a user and need not keep, in the transaction of the erasure. What lies outside of the
    database goes when that is committed: by the callable that is given back, if there is one."""

    def __call__(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID, /) -> Awaitable[Afterwards | None]: ...


class AccountService:
    """Makes accounts, hands them over, shows all of one, and blanks it."""

    def __init__(
        self,
        store: Store,
        users: UserService,
        passwords: Passwords,
        authenticator: Authenticator,
        start_subscription: StartsSubscription,
        *,
        exports: Mapping[str, Exports] | None = None,
        erases: Sequence[Erases] = (),
        emit: Emits | None = None,
    ) -> None:
        """``exports`` by the name of its part in the export; ``erases`` in the order in which they are to run."""
        self.store = store
        self.users = users
        self._passwords = passwords
        self._authenticator = authenticator
        self._start_subscription = start_subscription
        self._emit = emit
        self._exports = dict(exports or {})
        self._erases = tuple(erases)

    # -- New accounts --------------------------------------------------------------------------------------------------

    async def register(
        self,
        tenant_id: UUID,
        email: str,
        password: str,
        name: str = "",
        language: str | None = None,
        *,
        address: str | None = None,
        browser: Browser | None = None,
    ) -> User:
        """A new user with a password and the tenant's default plan: all of it or nothing. ``address`` and ``browser``: whose
        accounts are counted.

        Raises:
            InvalidInput: something given is not valid; names the field.
            EmailTaken: somebody has this e-mail; of parallel tries one succeeds.
            RateLimited: too many were made from there.
        """
        email = await self._check(tenant_id, email, password, name)
        if address is not None:
            throttle = self.users.throttle
            device = throttle.devices.device(tenant_id, browser.sent) if browser is not None else None
            await throttle.register(tenant_id, address, device)
        hashed = await self._passwords.hash(password)
        async with self.store.transaction(tenant_id) as conn:
            return await self._add(conn, tenant_id, email, hashed, by="password", name=name, language=language)

    async def make_owner(
        self, tenant_id: UUID, email: str, password: str, name: str = "", *, operator: bool = False, actor: Actor
    ) -> User:
        """A new owner of a tenant, who may be an operator too; for the command line.

        Raises:
            InvalidInput, EmailTaken: as for :meth:`register`.
        """
        email, hashed = await self._checked(tenant_id, email, password, name)
        async with self.store.transaction(tenant_id) as conn:
            return await self._add_owner(conn, tenant_id, email, hashed, name=name, operator=operator, actor=actor)

    async def claim_operator(self, token: str, email: str, password: str, name: str = "") -> User:
        """Redeem the link of the first start: its holder becomes an operator, and an owner of the link's tenant.

        Raises:
            LinkInvalid: used, expired or unknown, or there is an operator already; of parallel tries one succeeds.
            InvalidInput, EmailTaken: as for :meth:`register`; the link stays valid.
        """
        return await self._claim(token, "operator", email, password, name)

    async def claim_owner(self, token: str, email: str, password: str, name: str = "") -> User:
        """Redeem the link of a new tenant: its holder becomes an owner.

        Raises:
            LinkInvalid, InvalidInput, EmailTaken: as for :meth:`claim_operator`.
        """
        return await self._claim(token, "owner", email, password, name)

    async def _claim(self, token: str, purpose: Purpose, email: str, password: str, name: str) -> User:
        parsed = links.parse_link(token)
        await links.OneTimeLinks(self.store).peek(token, [purpose])  # no password is hashed for a link that is not valid
        email, hashed = await self._checked(parsed.tenant_id, email, password, name)
        async with self.store.transaction(parsed.tenant_id) as conn:
            if purpose == "operator" and await _operators(conn):
                raise LinkInvalid("There is an operator already; ask them to make you one")
            link = await links.use(conn, parsed, [purpose])
            actor = Actor("system", None)
            return await self._add_owner(
                conn, link.tenant_id, email, hashed, name=name, operator=purpose == "operator", actor=actor
            )

    async def _checked(self, tenant_id: UUID, email: str, password: str, name: str) -> tuple[str, str]:
        return await self._check(tenant_id, email, password, name), await self._passwords.hash(password)

    async def _check(self, tenant_id: UUID, email: str, password: str, name: str) -> str:
        """The e-mail in its normal form.

        Raises:
            InvalidInput: any of these is not valid.
        """
        names = (name, *await self._names(tenant_id))
        gather(
            lambda: normal_email(email),
            lambda: check_password(password, email=email.strip(), names=names),
            lambda: clean_text(name, field="name"),
        )
        return normal_email(email)

    async def _names(self, tenant_id: UUID) -> Sequence[str]:
        async with self.store.transaction(tenant_id) as conn:
            return await names_of(conn, tenant_id)

    async def _add_owner(
        self, conn: AsyncConnection, tenant_id: UUID, email: str, hashed: str, *, name: str, operator: bool, actor: Actor
    ) -> User:
        user = await self._add(conn, tenant_id, email, hashed, by="owner", name=name, role="owner")
        await audit.record(conn, tenant_id, actor, "owner.added", target=("user", user.id))
        if operator:
            await grant_operator(conn, tenant_id, user.id, actor=actor)
        return await self._read(conn, tenant_id, user.id)

    async def _add(
        self,
        conn: AsyncConnection,
        tenant_id: UUID,
        email: str,
        hashed: str | None,
        *,
        by: str,
        name: str = "",
        language: str | None = None,
        role: str | None = None,
    ) -> User:
        user = await create_user(conn, tenant_id, email=email, name=name, language=language, role=role)
        if hashed is not None:
            await repository.set_password(conn, tenant_id, user.id, hashed)
        if self._emit is not None:
            await self._emit(conn, tenant_id, "user.registered", {"user_id": user.id, "by": by})
        await self._start_subscription(conn, tenant_id, user.id)
        return user

    # -- Invitations ---------------------------------------------------------------------------------------------------

    async def invite(
        self, tenant_id: UUID, email: str, role: str | None, *, by: Principal | None, actor: Actor, name: str = ""
    ) -> tuple[User, str]:
        """Somebody new, and the token of the link by which they take over. Again for who has not taken over: a newer link.

        Whoever has registered with an address without showing that it is theirs may be somebody else. For such an account the
        link carries the role, and whoever accepts it begins anew: what was there ends (see :meth:`accept_invitation`).

        ``by`` None: the command line.

        Raises:
            Forbidden: ``by`` may not, or has not signed in; only an owner invites owners.
            EmailTaken: somebody uses this e-mail already, and it is theirs; give them the role instead.
        """
        email, wanted = normal_email(email), valid_role(role)
        require_over(by, "manage", role=wanted, operator=False)
        require_session(by)
        carried: dict[str, Any] = {}
        async with self.store.transaction(tenant_id) as conn:
            known = await repository.find_user(conn, tenant_id, email)
            if known is None:
                user = await self._add(conn, tenant_id, email, None, by="invitation", name=name, role=wanted)
            else:
                user, waiting = await self._invited(conn, tenant_id, known["id"], wanted)
                carried = {} if waiting else {"role": wanted, "name": clean_text(name, field="name")}
            token = await links.issue(conn, tenant_id, "invite", user.id, data=carried)
            data = {"role": wanted}
            await audit.record(conn, tenant_id, actor, "user.invited", target=("user", user.id), data=data)
        return user, token

    async def _invited(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID, role: str | None) -> tuple[User, bool]:
        """Who has this address and can be invited all the same; and whether they were, with this very role, and have not come.

        Raises:
            EmailTaken: they cannot.
        """
        row = await repository.get_user(conn, tenant_id, user_id, lock=True)
        came = await repository.identities_of(conn, tenant_id, user_id)
        if row is None or row["status"] != "active":
            raise EmailTaken()
        waiting = not came and row["last_seen_at"] is None and row["role"] == role
        strange = row["email_verified_at"] is None and row["role"] is None and not row["operator"] and role is not None
        if not waiting and not strange:
            raise EmailTaken()
        return user_of(row), waiting

    async def accept_invitation(self, tenant_id: UUID, token: str, password: str, name: str = "") -> User:
        """Take over an account by its invitation: the invited person chooses the password, nobody else ever knows it. They were
        handed the link of this address, so it counts as theirs.

        If somebody had registered with it before, they lose it here, with all that they had: password, sessions, keys, links.

        Raises:
            LinkInvalid: used, expired, unknown, or another tenant's.
            InvalidInput: the password or the name is not valid; the link stays valid.
        """
        parsed = links.parse_link(token, tenant_id)
        link = await links.OneTimeLinks(self.store).peek(token, ["invite"], tenant_id=tenant_id)
        if link.user_id is None:
            raise LinkInvalid()
        invited = await self.users.get(tenant_id, link.user_id)
        name = clean_text(name, field="name")
        check_password(password, email=invited.email, names=(name, *await self._names(tenant_id)))
        hashed = await self._passwords.hash(password)
        async with self.store.transaction(tenant_id) as conn:
            link = await links.use(conn, parsed, ["invite"])
            row = await repository.get_user(conn, tenant_id, invited.id, lock=True)
            if row is None or row["status"] != "active":
                raise LinkInvalid()
            values: dict[str, Any] = {"name": name} if name else {}
            if row["email_verified_at"] is None:
                values["email_verified_at"] = func.app_now()
            if carried := link.data.get("role"):
                await repository.end_proofs(conn, tenant_id, invited.id)
                values |= {"role": row["role"] or carried, "name": name or link.data.get("name", ""), "language": None}
            await repository.set_password(conn, tenant_id, invited.id, hashed)
            if values:
                await repository.change_user(conn, tenant_id, invited.id, **values)
            actor, data = Actor("user", invited.id), {"role": carried} if carried else {}
            await audit.record(conn, tenant_id, actor, "user.invitation_accepted", target=("user", invited.id), data=data)
            accepted = await self._read(conn, tenant_id, invited.id)
        self._authenticator.forget(invited.id)
        return accepted

    # -- Everything of one person --------------------------------------------------------------------------------------

    async def export(self, tenant_id: UUID, user_id: UUID, *, by: Principal | None, actor: Actor) -> dict[str, Any]:
        """Everything that is kept of a user, as JSON; without secrets.

        Raises:
            NotFound: there is no such user.
            Forbidden: it is not ``by`` themself, and not staff that may.
        """
        async with self.store.transaction(tenant_id) as conn:
            user = await self._permitted(conn, tenant_id, user_id, by)
            found: dict[str, Any] = {
                "user": user,
                "identities": await repository.identities_of(conn, tenant_id, user_id),
                "sessions": await repository.sessions_of(conn, tenant_id, user_id),
                "api_keys": await repository.keys_of(conn, tenant_id, user_id),
            }
            for name, export in self._exports.items():
                found[name] = await export(conn, tenant_id, user_id)
            await audit.record(conn, tenant_id, actor, "user.exported", target=("user", user_id))
        return {name: _plain(part) for name, part in found.items()}

    async def erase(self, tenant_id: UUID, user_id: UUID, *, by: Principal | None, actor: Actor) -> None:
        """Blank a user: proofs, conversations and everything personal go; the ledger's rows stay, and say no name.

        Raises:
            NotFound: there is no such user.
            Forbidden: it is not ``by`` themself, and not staff that may.
            LastOwner: nobody would own the tenant.
        """
        async with self.store.transaction(tenant_id) as conn:
            await conn.execute(text("SET LOCAL statement_timeout = '60s'"))  # it looks through much, and is asked for rarely
            await repository.lock_owners(conn, tenant_id)
            await repository.get_user(conn, tenant_id, user_id, lock=True)
            await self._permitted(conn, tenant_id, user_id, by)
            # Who they are to messengers is known until their proofs go.
            left = [await erase(conn, tenant_id, user_id) for erase in self._erases]
            await blank_user(conn, tenant_id, user_id)
            await audit.record(conn, tenant_id, actor, "user.erased", target=("user", user_id))
        self._authenticator.forget(user_id)
        for afterwards in left:
            if afterwards is not None:
                await afterwards()

    async def _permitted(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID, by: Principal | None) -> repository.Row:
        row = await repository.get_user(conn, tenant_id, user_id)
        if row is None:
            raise NotFound()
        is_self = by is not None and by.user_id == user_id and by.credential_kind == "session"
        if not is_self:
            require_over(by, "manage", role=row["role"], operator=row["operator"])
        return row

    async def _read(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> User:
        row = await repository.get_user(conn, tenant_id, user_id)
        if row is None:
            raise NotFound()
        return user_of(row)


async def new_owner_link(conn: AsyncConnection, tenant_id: UUID, *, by: Principal | None = None) -> str:
    """The token of the link by which a tenant's first owner comes in; an older one is void. ``by`` None: the command line.

    Raises:
        SessionRequired: an API key asks.
    """
    require_session(by)
    return await links.issue(conn, tenant_id, "owner", None)


async def first_operator_link(conn: AsyncConnection, tenant_id: UUID) -> str | None:
    """The token of the link that makes the first operator, who also owns this tenant; None if there is an operator."""
    return None if await _operators(conn) else await links.issue(conn, tenant_id, "operator", None)


async def _operators(conn: AsyncConnection) -> int:
    async with within(conn, OPERATOR):
        return await repository.count_operators(conn)


def _plain(value: Any) -> Any:
    """Rows, times and ids as JSON knows them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
