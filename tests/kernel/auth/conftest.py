"""The services of authentication, as a process has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from tollhouse.auth import repository
from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.keys import KeyService
from tollhouse.auth.links import OneTimeLinks
from tollhouse.auth.passwords import Passwords
from tollhouse.auth.sessions import SessionService
from tollhouse.auth.throttle import LoginThrottle
from tollhouse.auth.users import User, UserService, create_user
from tollhouse.plugin.ports import SignedIn
from tollhouse.settings import Settings
from tollhouse.store.ids import new_id
from tollhouse.store.rates import Rates
from tollhouse.store.store import Store

PASSWORD = "a sentence that is hard to guess"


@dataclass
class Auth:
    """One process's services; another process is another one of these on the same store."""

    store: Store
    settings: Settings
    passwords: Passwords
    throttle: LoginThrottle
    authenticator: Authenticator
    sessions: SessionService
    keys: KeyService
    links: OneTimeLinks
    users: UserService

    async def user(self, tenant_id: UUID, *, role: str | None = None, password: str = PASSWORD, verified: bool = True) -> User:
        """Somebody new who can sign in, and whose e-mail is theirs."""
        hashed = await self.passwords.hash(password)
        async with self.store.transaction(tenant_id) as conn:
            user = await create_user(conn, tenant_id, email=f"{new_id().hex}@example.test", role=role)
            await repository.set_password(conn, tenant_id, user.id, hashed)
            if verified:
                await repository.change_user(conn, tenant_id, user.id, email_verified_at=repository.NOW)
        return replace(user, email_verified=verified)

    @property
    def guarded_links(self) -> OneTimeLinks:
        """The same for those who may be guessing."""
        return OneTimeLinks(self.store, self.throttle)

    async def sign_in(self, user: User, kind: str = "bearer", password: str = PASSWORD) -> SignedIn:
        """Sign in as somebody."""
        assert user.email is not None
        return await self.sessions.login(user.tenant_id, user.email, password, kind)  # type: ignore[arg-type]

    async def close(self) -> None:
        await self.authenticator.aclose()
        self.passwords.close()


def make_auth(store: Store, **values: object) -> Auth:
    settings = Settings(**values)  # type: ignore[arg-type]
    passwords, throttle = Passwords(), LoginThrottle(settings, Rates())
    authenticator = Authenticator(store, settings)
    return Auth(
        store,
        settings,
        passwords,
        throttle,
        authenticator,
        SessionService(store, settings, passwords, throttle, authenticator),
        KeyService(store, authenticator),
        OneTimeLinks(store),
        UserService(store, passwords, throttle, authenticator),
    )


@pytest.fixture
async def auth(store: Store) -> AsyncIterator[Auth]:
    """One process."""
    services = make_auth(store)
    yield services
    await services.close()


@pytest.fixture
async def processes(store: Store) -> AsyncIterator[Callable[..., Auth]]:
    """As many processes as asked for, with settings of one's own."""
    made: list[Auth] = []

    def another(**values: object) -> Auth:
        made.append(make_auth(store, **values))
        return made[-1]

    yield another
    closing: list[Awaitable[None]] = [one.close() for one in made]
    for one in closing:
        await one
