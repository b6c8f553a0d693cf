"""Who somebody is: accounts, sessions and API keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from tollhouse.plugin.access import Principal


@dataclass(frozen=True, slots=True)
class Profile:
    """The signed-in person, as they may see themselves."""

    id: str
    email: str | None
    email_verified: bool
    name: str
    language: str | None
    created_at: datetime


class Accounts(Protocol):
    """A user's account: made, shown, changed."""

    async def register(self, email: str, password: str, name: str = "", language: str | None = None) -> Profile:
        """Make an account with the tenant's default plan.

        Raises:
            InvalidInput: the e-mail is malformed, or the password too short or too common.
            Conflict: ``email_taken``.
        """
        ...

    async def profile(self) -> Profile:
        """The principal's own profile."""
        ...

    async def update(self, *, name: str | None = None, language: str | None = None) -> Profile:
        """Change what is given; None leaves a field as it is."""
        ...

    async def change_password(self, current: str, new: str) -> None:
        """Change the password; every other session ends.

        Raises:
            InvalidInput: the current password is wrong, or the new one is not acceptable.
        """
        ...


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session. ``token`` is shown once: a cookie's value for a browser, a bearer token for a program."""

    token: str
    expires_at: datetime
    principal: Principal


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of the user's sessions. ``current`` is the one that asks."""

    id: str
    kind: Literal["cookie", "bearer"]
    user_agent: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool


class Sessions(Protocol):
    """Signing in and out."""

    async def login(self, email: str, password: str, kind: Literal["cookie", "bearer"]) -> SignedIn:
        """Start a session.

        Raises:
            Unauthenticated: ``bad_credentials``; the same answer in the same time for an unknown e-mail.
            RateLimited: too many tries on this account or from this address.
        """
        ...

    async def redeem(self, token: str, kind: Literal["cookie", "bearer"]) -> SignedIn:
        """Start a session by a one-time link.

        Raises:
            Unauthenticated: ``link_invalid``: used, expired or unknown.
        """
        ...

    async def logout(self) -> None:
        """End the session that asks."""
        ...

    async def list(self) -> Sequence[SessionInfo]:
        """The principal's live sessions, newest first."""
        ...

    async def end(self, session_id: str) -> None:
        """End one of the principal's sessions."""
        ...


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """An API key without its secret. ``prefix`` is enough to recognise it."""

    id: str
    name: str
    prefix: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class Keys(Protocol):
    """The principal's API keys."""

    async def list(self) -> Sequence[KeyInfo]:
        """Live keys, newest first."""
        ...

    async def create(self, name: str, scopes: Sequence[str] = (), expires_at: datetime | None = None) -> tuple[KeyInfo, str]:
        """A new key and its secret, which is shown this once. No scopes means everything its owner may.

        Raises:
            Forbidden: an API key cannot make another one with more scopes than it has.
        """
        ...

    async def revoke(self, key_id: str) -> None:
        """End a key, effective at once."""
        ...
