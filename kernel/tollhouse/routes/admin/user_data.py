"""``/api/v1/admin/users/{id}/…``: a user's sessions, keys and data."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from tollhouse.auth.roles import require_over
from tollhouse.auth.users import User
from tollhouse.host.caller import Caller
from tollhouse.routes import schemas as s
from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Items, answers, items, known_id

EXPORT: dict[str, Any] = {
    "user": {"id": v.ADA, "email": "ada@example.com", "name": "Ada", "created_at": v.BEGAN},
    "identities": [{"provider": "password", "subject": "ada@example.com"}],
    "sessions": [{"id": v.SESSION, "kind": "bearer", "created_at": v.BEGAN}],
    "api_keys": [{"id": v.KEY, "name": "laptop", "prefix": "th_4VqL"}],
    "conversations": [{"id": v.CONVERSATION, "title": "What can you do?"}],
}


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/users", tags=["admin: users"])

    @router.post("/{user_id}/end-sessions", responses=answers({"ended": 2}))
    async def end_sessions(request: Request, user_id: str) -> dict[str, int]:
        """Sign them out everywhere."""
        caller = staff(request, "help")
        user = await _over(services, caller, user_id)
        return {"ended": await services.sessions.end_all_for_user(caller.tenant.id, user.id, actor=caller.actor)}

    @router.get("/{user_id}/api-keys", response_model=Items[s.Key])
    async def list_user_keys(request: Request, user_id: str) -> dict[str, Any]:
        """Their API keys."""
        tenant_id = staff(request, "view").tenant.id
        user = await services.users.get(tenant_id, known_id(user_id))
        return items(await services.keys.list_of(tenant_id, user.id))

    @router.delete("/{user_id}/api-keys/{key_id}", status_code=204)
    async def revoke_user_key(request: Request, user_id: str, key_id: str) -> None:
        """End a key of theirs."""
        caller = staff(request, "help")
        user = await _over(services, caller, user_id)
        await services.keys.revoke_of(caller.tenant.id, user.id, known_id(key_id), actor=caller.actor)

    @router.get("/{user_id}/export", responses=answers(EXPORT))
    async def export_user(request: Request, user_id: str) -> dict[str, Any]:
        """Everything that is kept of them."""
        caller = staff(request, "manage")
        return await services.accounts.export(caller.tenant.id, known_id(user_id), by=caller.user, actor=caller.actor)

    @router.delete("/{user_id}", status_code=204)
    async def erase_user(request: Request, user_id: str) -> None:
        """Forget them; what they used stays in the ledger, without a name."""
        caller = staff(request, "manage")
        await services.accounts.erase(caller.tenant.id, known_id(user_id), by=caller.user, actor=caller.actor)

    return router


async def _over(services: AdminServices, caller: Caller, user_id: str) -> User:
    """The user, if the caller may help them: staff and owners are protected from those below them.

    Raises:
        NotFound: there is no such user.
        Forbidden: the caller may not do that to them.
    """
    user = await services.users.get(caller.tenant.id, known_id(user_id))
    if user.id != caller.user.user_id:
        require_over(caller.user, "help", role=user.role, operator=user.operator)
    return user
