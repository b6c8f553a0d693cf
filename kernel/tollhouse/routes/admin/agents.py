"""``/api/v1/admin/agents``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Input, Items, Limit, View, items, known_id
from tollhouse.routes.vocabulary import example


class AgentView(View):
    model_config = example(id=v.AGENT, slug="guide", name="Guide", status="published")
    id: UUID
    slug: str
    name: str
    description: str
    welcome: str
    status: str
    position: int
    created_at: datetime
    updated_at: datetime


class CreateAgent(Input):
    model_config = example(slug="guide", name="Guide", description="Answers questions about Acme.")
    slug: str = Field(max_length=60)
    name: str = Field(max_length=200)
    description: str = Field("", max_length=5000)
    welcome: str = Field("", max_length=5000)


class ChangeAgent(Input):
    model_config = example(welcome="Hello! What would you like to know?")
    slug: str | None = Field(None, max_length=60)
    name: str | None = Field(None, max_length=200)
    description: str | None = Field(None, max_length=5000)
    welcome: str | None = Field(None, max_length=5000)
    position: int | None = Field(None, ge=0, le=1_000_000)


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/agents", tags=["admin: agents"])
    agents = services.agents
    one, many = AgentView, Items[AgentView]

    @router.get("", response_model=many)
    async def list_agents(
        request: Request,
        status: Literal["draft", "published", "archived"] | None = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """Every agent, drafts too."""
        caller = staff(request, "view")
        page = await agents.list(caller.tenant.id, status=status, cursor=cursor, limit=limit)
        return items(page.items, page.next_cursor)

    @router.post("", status_code=201, response_model=one)
    async def create_agent(request: Request, body: CreateAgent) -> Any:
        """A new agent, not yet published."""
        caller = staff(request, "manage")
        return await agents.create(caller.tenant.id, caller.actor, **body.model_dump())

    @router.get("/{agent}", response_model=one)
    async def get_agent(request: Request, agent: str) -> Any:
        """One agent, by id or short name."""
        return await agents.get(staff(request, "view").tenant.id, agent)

    @router.patch("/{agent_id}", response_model=one)
    async def change_agent(request: Request, agent_id: str, body: ChangeAgent) -> Any:
        """Change what people see of it."""
        caller = staff(request, "manage")
        return await agents.update(caller.tenant.id, caller.actor, known_id(agent_id), **body.model_dump(exclude_unset=True))

    @router.post("/{agent_id}/publish", response_model=one)
    async def publish_agent(request: Request, agent_id: str) -> Any:
        """Sell it; it needs an active version."""
        caller = staff(request, "manage")
        return await agents.publish(caller.tenant.id, caller.actor, known_id(agent_id))

    @router.post("/{agent_id}/unpublish", response_model=one)
    async def unpublish_agent(request: Request, agent_id: str) -> Any:
        """Take it off the shelf."""
        caller = staff(request, "manage")
        return await agents.unpublish(caller.tenant.id, caller.actor, known_id(agent_id))

    @router.post("/{agent_id}/archive", response_model=one)
    async def archive_agent(request: Request, agent_id: str) -> Any:
        """Put it away."""
        caller = staff(request, "manage")
        return await agents.archive(caller.tenant.id, caller.actor, known_id(agent_id))

    return router
