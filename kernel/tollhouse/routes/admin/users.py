"""``/api/v1/admin/users``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field

from tollhouse.auth.links import LIFETIME, address_of
from tollhouse.plugin.access import Role
from tollhouse.routes import schemas as s
from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Input, Items, Limit, View, items, known_id
from tollhouse.routes.vocabulary import example


class UserView(View):
    model_config = example(id=v.ADA, email_verified=True, name="Ada", role=None, operator=False)
    id: UUID
    email: str | None
    email_verified: bool
    name: str
    language: str | None
    status: str
    role: str | None
    operator: bool
    created_at: datetime
    last_seen_at: datetime | None


class SetRole(Input):
    model_config = example(role="support")
    role: Role | None = Field(description="null for a customer.")


class Invite(Input):
    model_config = example(email="sam@example.com", role="support", name="Sam")
    email: str = Field(max_length=320)
    role: Role | None = None
    name: str = Field("", max_length=200)


class Invited(View):
    """``token``: the one-time invitation, shown this once. ``url``: the page that takes it."""

    model_config = example(
        token="thl_8hKq…",  # noqa: S106 - an example
        url="https://example.com/t/acme/invite/thl_8hKq…",
    )
    user: UserView
    token: str
    url: str


class SignInLink(View):
    """``token``: signs its holder in as the user, once; shown this once. ``url``: the page that takes it."""

    model_config = example(
        token="thl_8hKq…",  # noqa: S106 - an example
        url="https://example.com/t/acme/link/thl_8hKq…",
        expires_in=3600,
    )
    token: str
    url: str
    expires_in: int = Field(description="Seconds.")


class AssignPlan(Input):
    model_config = example(plan="pro", periods=12)
    plan: str = Field(max_length=100, description="Short name or id.")
    periods: int | None = Field(None, ge=1, le=120, description="How many; null: without an end.")


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/users", tags=["admin: users"])
    users, accounts = services.users, services.accounts

    @router.get("", response_model=Items[UserView])
    async def list_users(
        request: Request,
        search: Annotated[str, Query(max_length=200)] = "",
        role: Role | None = None,
        staff_only: bool = False,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """Users, newest first."""
        tenant_id = staff(request, "view").tenant.id
        page = await users.list(tenant_id, search=search, role=role, staff=staff_only, cursor=cursor, limit=limit)
        return items(page.items, page.next_cursor)

    @router.post("", status_code=201, response_model=Invited)
    async def invite_user(request: Request, body: Invite) -> Any:
        """Invite somebody; they choose their own password."""
        caller = staff(request, "manage")
        user, token = await accounts.invite(
            caller.tenant.id, body.email, body.role, by=caller.user, actor=caller.actor, name=body.name
        )
        url = address_of(caller.tenant.base_url, "invite", token)
        return Invited(user=UserView.model_validate(user), token=token, url=url)

    @router.get("/{user_id}", response_model=UserView)
    async def get_user(request: Request, user_id: str) -> Any:
        """One user."""
        return await users.get(staff(request, "view").tenant.id, known_id(user_id))

    @router.put("/{user_id}/role", response_model=UserView)
    async def set_role(request: Request, user_id: str, body: SetRole) -> Any:
        """Make somebody staff, or a customer again."""
        caller = staff(request, "manage")
        return await users.set_role(caller.tenant.id, known_id(user_id), body.role, by=caller.user, actor=caller.actor)

    @router.post("/{user_id}/block", response_model=UserView)
    async def block_user(request: Request, user_id: str) -> Any:
        """Shut out: sessions and keys end at once."""
        caller = staff(request, "help")
        return await users.block(caller.tenant.id, known_id(user_id), by=caller.user, actor=caller.actor)

    @router.post("/{user_id}/unblock", response_model=UserView)
    async def unblock_user(request: Request, user_id: str) -> Any:
        """Let in again."""
        caller = staff(request, "help")
        return await users.unblock(caller.tenant.id, known_id(user_id), by=caller.user, actor=caller.actor)

    @router.post("/{user_id}/confirm-email", response_model=UserView)
    async def confirm_email(request: Request, user_id: str) -> Any:
        """Note that their e-mail is theirs; plans that need a verified one then let them in."""
        caller = staff(request, "help")
        return await users.confirm_email(caller.tenant.id, known_id(user_id), by=caller.user, actor=caller.actor)

    @router.post("/{user_id}/link", status_code=201, response_model=SignInLink)
    async def create_sign_in_link(request: Request, user_id: str) -> SignInLink:
        """A link that signs them in once, for who has lost the password; an older one is void."""
        caller = staff(request, "manage")
        token = await services.links.create(caller.tenant.id, "sign_in", known_id(user_id), by=caller.user, actor=caller.actor)
        seconds = int(LIFETIME["sign_in"].total_seconds())
        return SignInLink(token=token, url=address_of(caller.tenant.base_url, "sign_in", token), expires_in=seconds)

    @router.post("/{user_id}/subscription", status_code=201, response_model=s.Subscription)
    async def assign_plan(request: Request, user_id: str, body: AssignPlan) -> Any:
        """Put them on a plan, without payment."""
        caller = staff(request, "manage")
        return await services.subscriptions.assign(caller, known_id(user_id), body.plan, periods=body.periods)

    return router
