"""What plugins get: the Accounts port, bound to a caller."""

from __future__ import annotations

from tollhouse.accounts.service import AccountService
from tollhouse.auth.roles import require_scope
from tollhouse.auth.users import User
from tollhouse.host.caller import Caller
from tollhouse.plugin.ports import Profile


class AccountsPort:
    """A user's account; satisfies :class:`tollhouse.plugin.ports.Accounts`."""

    def __init__(self, service: AccountService, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    async def register(self, email: str, password: str, name: str = "", language: str | None = None) -> Profile:
        caller = self._caller
        made = await self._service.register(
            caller.tenant.id, email, password, name, language, address=caller.address, browser=caller.browser
        )
        return profile_of(made)

    async def profile(self) -> Profile:
        principal = self._caller.user
        require_scope(principal, "read")
        return profile_of(await self._service.users.get(principal.tenant_id, principal.user_id))

    async def update(self, *, name: str | None = None, language: str | None = None) -> Profile:
        principal = self._caller.user
        require_scope(principal, "write")
        changed = await self._service.users.update_profile(
            principal.tenant_id, principal.user_id, actor=self._caller.actor, name=name, language=language
        )
        return profile_of(changed)

    async def change_password(self, current: str, new: str) -> None:
        caller = self._caller
        await self._service.users.change_password(caller.user, current, new, address=caller.address, browser=caller.browser)


def profile_of(user: User) -> Profile:
    """A user as they may see themselves."""
    return Profile(
        id=str(user.id),
        email=user.email,
        email_verified=user.email_verified,
        name=user.name,
        language=user.language,
        created_at=user.created_at,
    )
