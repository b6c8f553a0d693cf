"""Users: made, found, changed, blocked. Never deleted: what they used stays in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth import repository
from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.errors import EmailNotVerified, EmailTaken, LastOwner
from tollhouse.auth.failures import SignInFailures
from tollhouse.auth.fields import clean_text, normal_email, valid_language
from tollhouse.auth.passwords import Passwords, check_password
from tollhouse.auth.roles import is_more, require_over, require_session, valid_role
from tollhouse.auth.throttle import LoginThrottle
from tollhouse.host.caller import Browser
from tollhouse.plugin.access import Principal, Role
from tollhouse.plugin.errors import Conflict, Forbidden, InvalidInput, NotFound
from tollhouse.plugin.ports import Page
from tollhouse.store import audit
from tollhouse.store.audit import Actor
from tollhouse.store.scope import OPERATOR
from tollhouse.store.store import Store
from tollhouse.tenants.repository import names_of
from tollhouse.tenants.scoping import within

FRESH_LINK: Final = timedelta(minutes=30)
"""How long after signing in by a one-time link a password can be set without the old one."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as staff see it."""

    id: UUID
    tenant_id: UUID
    email: str | None
    email_verified: bool
    name: str
    language: str | None
    status: str
    role: Role | None
    operator: bool
    created_at: datetime
    last_seen_at: datetime | None


async def create_user(
    conn: AsyncConnection,
    tenant_id: UUID,
    *,
    email: str | None,
    name: str = "",
    language: str | None = None,
    role: str | None = None,
) -> User:
    """A new user, in the present transaction. ``email`` None makes a guest.

    Raises:
        InvalidInput: something given is not valid.
        EmailTaken: somebody has this e-mail; of parallel tries one succeeds.
    """
    row = await repository.add_user(
        conn,
        tenant_id,
        email=None if email is None else normal_email(email),
        name=clean_text(name, field="name"),
        language=None if language is None else valid_language(language),
        role=valid_role(role),
    )
    if row is None:
        raise EmailTaken()
    return user_of(row)


class UserService:
    """What staff do with users, and users with themselves."""

    def __init__(self, store: Store, passwords: Passwords, throttle: LoginThrottle, authenticator: Authenticator) -> None:
        self.store = store
        self._passwords = passwords
        self.throttle = throttle
        self._failures = SignInFailures(store)
        self._authenticator = authenticator

    async def get(self, tenant_id: UUID, user_id: UUID) -> User:
        """
        Raises:
            NotFound: there is no such user in this tenant.
        """
        async with self.store.transaction(tenant_id) as conn:
            return user_of(await _existing(conn, tenant_id, user_id))

    async def find(self, tenant_id: UUID, email: str) -> User:
        """The user with this e-mail.

        Raises:
            NotFound: nobody here has it.
        """
        async with self.store.transaction(tenant_id) as conn:
            row = await repository.find_user(conn, tenant_id, normal_email(email))
        if row is None:
            raise NotFound()
        return user_of(row)

    async def list(
        self,
        tenant_id: UUID,
        *,
        search: str = "",
        role: str | None = None,
        staff: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[User]:
        """Users, newest first. ``search``: the beginning of an e-mail or name; ``role`` and ``staff`` narrow it."""
        search, role = clean_text(search, field="search"), valid_role(role)
        async with self.store.transaction(tenant_id) as conn:
            rows, following = await repository.page_of_users(
                conn, tenant_id, search=search, role=role, staff=staff, cursor=cursor, limit=limit
            )
        return Page([user_of(row) for row in rows], following)

    async def set_role(self, tenant_id: UUID, user_id: UUID, role: str | None, *, by: Principal | None, actor: Actor) -> User:
        """Make somebody staff, or a customer again (``role`` None). ``by`` None: the command line.

        Raises:
            Forbidden: ``by`` may not, or has not signed in; only an owner makes or unmakes owners.
            EmailNotVerified: anybody could have registered with this address; an invitation ends what they have.
            LastOwner: nobody would own the tenant.
        """
        wanted = valid_role(role)
        async with self.store.transaction(tenant_id) as conn:
            owners = await repository.lock_owners(conn, tenant_id)
            row = await _existing(conn, tenant_id, user_id, lock=True)
            is_self = by is not None and by.user_id == user_id
            require_over(by, "manage", role=row["role"], operator=row["operator"], is_self=is_self)
            require_over(by, "manage", role=wanted, operator=False)
            require_session(by)
            if row["status"] != "active":
                raise Conflict("Only an active user can have a role")
            if is_more(wanted, row["role"]) and row["email_verified_at"] is None:
                raise EmailNotVerified()
            if wanted != "owner" and list(owners) == [user_id]:
                raise LastOwner()
            await repository.change_user(conn, tenant_id, user_id, role=wanted)
            data = {"from": row["role"], "to": wanted}
            await audit.record(conn, tenant_id, actor, "user.role_changed", target=("user", user_id), data=data)
            changed = await _existing(conn, tenant_id, user_id)
        self._authenticator.forget(user_id)
        return user_of(changed)

    async def block(self, tenant_id: UUID, user_id: UUID, *, by: Principal | None, actor: Actor) -> User:
        """Shut somebody out: sessions, keys and open links end, and do not come back.

        Raises:
            Forbidden: ``by`` may not, or may not this person.
            LastOwner: nobody would own the tenant.
        """
        async with self.store.transaction(tenant_id) as conn:
            owners = await repository.lock_owners(conn, tenant_id)
            await self._may_help(conn, tenant_id, user_id, by)
            if list(owners) == [user_id]:
                raise LastOwner()
            await repository.change_user(conn, tenant_id, user_id, status="blocked")
            await repository.end_sessions(conn, tenant_id, user_id, keep=None)
            await repository.revoke_keys(conn, tenant_id, user_id)
            await repository.void_links(conn, tenant_id, user_id, None)
            await audit.record(conn, tenant_id, actor, "user.blocked", target=("user", user_id))
            row = await _existing(conn, tenant_id, user_id)
        self._authenticator.forget(user_id)
        return user_of(row)

    async def unblock(self, tenant_id: UUID, user_id: UUID, *, by: Principal | None, actor: Actor) -> User:
        """Let somebody in again; a new sign-in is needed, and new keys.

        Raises:
            Forbidden: ``by`` may not, or may not this person.
        """
        async with self.store.transaction(tenant_id) as conn:
            await self._may_help(conn, tenant_id, user_id, by)
            await repository.change_user(conn, tenant_id, user_id, status="active")
            await audit.record(conn, tenant_id, actor, "user.unblocked", target=("user", user_id))
            row = await _existing(conn, tenant_id, user_id)
        return user_of(row)

    async def confirm_email(self, tenant_id: UUID, user_id: UUID, *, by: Principal | None, actor: Actor) -> User:
        """Note that somebody's e-mail is theirs: staff have seen that it is, by whatever way.

        Raises:
            Forbidden: ``by`` may not, or may not this person.
            Conflict: they have no e-mail.
        """
        async with self.store.transaction(tenant_id) as conn:
            await self._may_help(conn, tenant_id, user_id, by)
            row = await _existing(conn, tenant_id, user_id)
            if row["email"] is None:
                raise Conflict("This user has no e-mail")
            if row["email_verified_at"] is None:
                await repository.change_user(conn, tenant_id, user_id, email_verified_at=func.app_now())
                await audit.record(conn, tenant_id, actor, "user.email_confirmed", target=("user", user_id))
            return user_of(await _existing(conn, tenant_id, user_id))

    async def _may_help(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID, by: Principal | None) -> None:
        row = await _existing(conn, tenant_id, user_id, lock=True)
        require_over(by, "help", role=row["role"], operator=row["operator"])
        if row["status"] == "erased":
            raise Conflict("This user was erased")

    async def make_operator(self, tenant_id: UUID, user_id: UUID, *, actor: Actor) -> User:
        """Let somebody run the installation; only for who runs it already: the caller checks."""
        async with self.store.transaction(tenant_id) as conn:
            row = await _existing(conn, tenant_id, user_id, lock=True)
            if row["status"] != "active":
                raise Conflict("Only an active user can be an operator")
            if row["email_verified_at"] is None:
                raise EmailNotVerified()
            await grant_operator(conn, tenant_id, user_id, actor=actor)
            changed = await _existing(conn, tenant_id, user_id)
        self._authenticator.forget(user_id)
        return user_of(changed)

    async def update_profile(
        self, tenant_id: UUID, user_id: UUID, *, actor: Actor, name: str | None = None, language: str | None = None
    ) -> User:
        """Change what is given; None leaves it as it is.

        Raises:
            InvalidInput: the name or the language is not valid.
        """
        values: dict[str, str] = {}
        if name is not None:
            values["name"] = clean_text(name, field="name")
        if language is not None:
            values["language"] = valid_language(language)
        async with self.store.transaction(tenant_id) as conn:
            if values:
                if await repository.change_user(conn, tenant_id, user_id, **values) is None:
                    raise NotFound()
                data = {"changed": sorted(values)}  # what it was and is stays out: erasing somebody leaves the log as it is
                await audit.record(conn, tenant_id, actor, "user.profile_changed", target=("user", user_id), data=data)
            row = await _existing(conn, tenant_id, user_id)
        self._authenticator.forget(user_id)
        return user_of(row)

    async def change_password(
        self, principal: Principal, current: str, new: str, *, address: str = "", browser: Browser | None = None
    ) -> None:
        """Change one's own password; every other session ends. API keys stay: they are revoked one by one.

        Who came by a one-time link in the last half hour need not know the old one: that is how a forgotten one is replaced.

        Raises:
            InvalidInput: the current password is wrong, or the new one is not acceptable.
            Forbidden: an API key asks.
            RateLimited: too many tries.
        """
        require_session(principal)
        if principal.credential_id is None:
            raise Forbidden()
        tenant_id, user_id, account = principal.tenant_id, principal.user_id, f"user/{principal.user_id}"
        async with self.store.transaction(tenant_id) as conn:
            row = await _existing(conn, tenant_id, user_id)
            names = await names_of(conn, tenant_id)
            stored = await repository.password_of(conn, tenant_id, user_id)
            age = await repository.session_age(conn, tenant_id, principal.credential_id)
        check_password(new, email=row["email"], names=(row["name"], *names), field="new")
        if not (principal.auth_provider == "link" and age is not None and age < FRESH_LINK):
            # Strangers have no such session, so it counts by itself.
            here = f"session/{principal.credential_id}"
            await self.throttle.take(tenant_id, account, address, device=here)
            if not (await self._passwords.verify(current, stored))[0]:
                email = row["email"] or ""
                await self._failures.note(tenant_id, "wrong_password", address, account=email, user_id=user_id)
                raise InvalidInput("The current password is not right", field="current")
            await self.throttle.succeeded(tenant_id, account, address, device=here)
        hashed = await self._passwords.hash(new)
        async with self.store.transaction(tenant_id) as conn:
            row = await _existing(conn, tenant_id, user_id, lock=True)
            if row["status"] != "active" or await repository.password_of(conn, tenant_id, user_id) != stored:
                raise Conflict("The password was changed meanwhile")
            await repository.set_password(conn, tenant_id, user_id, hashed)
            await repository.end_sessions(conn, tenant_id, user_id, keep=principal.credential_id)
            await repository.void_links(conn, tenant_id, user_id, None)
            actor = Actor("user", user_id, address)
            await audit.record(conn, tenant_id, actor, "user.password_changed", target=("user", user_id))
        self._authenticator.forget(user_id)
        if browser is not None:
            browser.kept = self.throttle.devices.remember(tenant_id, browser.sent, user_id, hashed)


async def grant_operator(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, *, actor: Actor) -> None:
    """Make a user an operator, in the present transaction of the user's tenant."""
    async with within(conn, OPERATOR):
        await repository.add_operator(conn, tenant_id, user_id)
    await audit.record(conn, tenant_id, actor, "operator.added", target=("user", user_id))


async def blank_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """Take everything from a user's row that says who it was, and every proof; the row itself stays for the ledger.

    Raises:
        LastOwner: nobody would own the tenant.
        NotFound: there is no such user.
    """
    owners = await repository.lock_owners(conn, tenant_id)
    await _existing(conn, tenant_id, user_id, lock=True)
    if list(owners) == [user_id]:
        raise LastOwner()
    blank = {"email": None, "email_verified_at": None, "name": "", "language": None, "last_seen_at": None}
    await repository.change_user(conn, tenant_id, user_id, **blank, role=None, status="erased")
    await repository.remove_proofs(conn, tenant_id, user_id)
    async with within(conn, OPERATOR):
        await repository.remove_operator(conn, tenant_id, user_id)


async def _existing(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, *, lock: bool = False) -> repository.Row:
    row = await repository.get_user(conn, tenant_id, user_id, lock=lock)
    if row is None:
        raise NotFound()
    return row


def user_of(row: repository.Row) -> User:
    """A row of ``repository`` as a user."""
    return User(
        id=row["id"],
        tenant_id=row["tenant_id"],
        email=row["email"],
        email_verified=row["email_verified_at"] is not None,
        name=row["name"],
        language=row["language"],
        status=row["status"],
        role=row["role"],
        operator=row.get("operator", False),
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
    )
