"""What plugins get: the Sessions and Keys ports, bound to a caller."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from tollhouse.auth.keys import KeyService
from tollhouse.auth.roles import require_scope
from tollhouse.auth.sessions import SessionService
from tollhouse.host.caller import Caller
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.ports import KeyInfo, SessionInfo, SignedIn
from tollhouse.store.ids import parse_id


class SessionsPort:
    """Signing in and out; satisfies :class:`tollhouse.plugin.ports.Sessions`."""

    def __init__(self, service: SessionService, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    async def login(self, email: str, password: str, kind: Literal["cookie", "bearer"]) -> SignedIn:
        caller = self._caller
        return await self._service.login(
            caller.tenant.id,
            email,
            password,
            kind,
            address=caller.address,
            user_agent=caller.user_agent,
            browser=caller.browser,
        )

    async def redeem(self, token: str, kind: Literal["cookie", "bearer"]) -> SignedIn:
        caller = self._caller
        return await self._service.redeem(
            caller.tenant.id, token, kind, address=caller.address, user_agent=caller.user_agent, browser=caller.browser
        )

    async def logout(self) -> None:
        await self._service.logout(self._caller.user)

    async def end(self, session_id: str) -> None:
        require_scope(self._caller.user, "write")
        await self._service.end(self._caller.user, _id(session_id))

    async def list(self) -> Sequence[SessionInfo]:
        require_scope(self._caller.user, "read")
        return await self._service.list(self._caller.user)


class KeysPort:
    """The principal's API keys; satisfies :class:`tollhouse.plugin.ports.Keys`."""

    def __init__(self, service: KeyService, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    async def create(self, name: str, scopes: Sequence[str] = (), expires_at: datetime | None = None) -> tuple[KeyInfo, str]:
        require_scope(self._caller.user, "write")
        return await self._service.create(self._caller.user, name, scopes, expires_at, actor=self._caller.actor)

    async def revoke(self, key_id: str) -> None:
        require_scope(self._caller.user, "write")
        await self._service.revoke(self._caller.user, _id(key_id), actor=self._caller.actor)

    async def list(self) -> Sequence[KeyInfo]:
        require_scope(self._caller.user, "read")
        return await self._service.list(self._caller.user)


def _id(text: str) -> UUID:
    found = parse_id(text)
    if found is None:
        raise NotFound()
    return found
