"""``/api/v1/admin/connections``: secrets go in and never come out."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from tollhouse.host.values import Kind
from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Input, Items, Limit, View, answers, items, known_id
from tollhouse.routes.vocabulary import example

BY_PLUGIN = "What the plugin asks for: `GET /api/v1/admin/connections/form/{kind}/{plugin}` answers its JSON schema."
VALUES: dict[str, Any] = {"base_url": "https://api.openai.com/v1", "api_key": "sk-…"}
FORM: dict[str, Any] = {
    "title": "OpenAIConfig",
    "type": "object",
    "properties": {
        "base_url": {"type": "string", "title": "Base URL"},
        "api_key": {"type": "string", "format": "password", "writeOnly": True, "title": "API key"},
    },
    "additionalProperties": False,
}


class ConnectionView(View):
    model_config = example(
        id=v.CONNECTION,
        kind="llm",
        plugin="openai",
        name="Our models",
        config={"base_url": "https://api.openai.com/v1"},
        secrets={"api_key": True},
        health={"ok": True, "detail": "Connected; the endpoint lists 42 models.", "at": v.NOW},
        revision=1,
        readable=True,
    )
    id: UUID
    kind: str
    plugin: str
    name: str
    config: dict[str, Any]
    secrets: dict[str, bool] = Field(description="Which secrets are set.")
    status: str
    health: dict[str, Any] | None
    revision: int
    created_at: datetime
    updated_at: datetime
    readable: bool


class ConnectorView(View):
    model_config = example(kind="llm", plugin="openai", title="OpenAI-compatible")
    kind: str
    plugin: str
    title: str


class CreateConnection(Input):
    model_config = example(kind="llm", plugin="openai", name="Our models", values=VALUES)
    kind: Kind
    plugin: str = Field(max_length=100)
    name: str = Field(max_length=200)
    values: dict[str, Any] = Field(default_factory=dict, max_length=200, description=BY_PLUGIN)


class ChangeConnection(Input):
    """Secrets that are left out stay; ``clear`` names those to forget."""

    model_config = example(values=VALUES, revision=1)
    name: str | None = Field(None, max_length=200)
    values: dict[str, Any] | None = Field(None, max_length=200, description=BY_PLUGIN)
    clear: list[str] = Field(default_factory=list, max_length=50)
    revision: int | None = Field(None, ge=0, description="As you last saw it: 409 if somebody was faster.")


class HealthView(View):
    model_config = example(ok=True, detail="Connected; the endpoint lists 42 models.")
    ok: bool
    detail: str


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/connections", tags=["admin: connections"])
    connections = services.connections

    @router.get("", response_model=Items[ConnectionView])
    async def list_connections(
        request: Request, kind: Kind | None = None, cursor: Cursor = None, limit: Limit = 50
    ) -> dict[str, Any]:
        """Every connection."""
        page = await connections.list(staff(request, "view").tenant.id, kind, cursor=cursor, limit=limit)
        return items(page.items, page.next_cursor)

    @router.get("/available", response_model=Items[ConnectorView])
    async def list_available(request: Request, kind: Kind | None = None) -> dict[str, Any]:
        """What can be connected."""
        staff(request, "view")
        return items(connections.available(kind))

    @router.get("/form/{kind}/{plugin}", responses=answers(FORM))
    async def connection_form(request: Request, kind: str, plugin: str) -> dict[str, Any]:
        """The JSON schema of a connection's configuration."""
        staff(request, "view")
        return connections.form(plugin, kind)

    @router.post("", status_code=201, response_model=ConnectionView)
    async def create_connection(request: Request, body: CreateConnection) -> Any:
        """A new connection."""
        caller = staff(request, "manage")
        return await connections.create(caller.actor, caller.tenant.id, body.kind, body.plugin, body.name, body.values)

    @router.get("/{connection_id}", response_model=ConnectionView)
    async def get_connection(request: Request, connection_id: str) -> Any:
        """One connection."""
        return await connections.get(staff(request, "view").tenant.id, known_id(connection_id))

    @router.patch("/{connection_id}", response_model=ConnectionView)
    async def change_connection(request: Request, connection_id: str, body: ChangeConnection) -> Any:
        """Change it."""
        caller = staff(request, "manage")
        return await connections.update(
            caller.actor,
            caller.tenant.id,
            known_id(connection_id),
            name=body.name,
            values=body.values,
            clear=body.clear,
            revision=body.revision,
        )

    @router.post("/{connection_id}/test", response_model=HealthView)
    async def test_connection(request: Request, connection_id: str) -> Any:
        """Try it for real."""
        caller = staff(request, "manage")
        return await connections.test(caller.tenant, known_id(connection_id), caller.actor)

    @router.post("/{connection_id}/enable", response_model=ConnectionView)
    async def enable_connection(request: Request, connection_id: str) -> Any:
        """Use it."""
        caller = staff(request, "manage")
        return await connections.enable(caller.actor, caller.tenant.id, known_id(connection_id))

    @router.post("/{connection_id}/disable", response_model=ConnectionView)
    async def disable_connection(request: Request, connection_id: str) -> Any:
        """Use it no more."""
        caller = staff(request, "manage")
        return await connections.disable(caller.actor, caller.tenant.id, known_id(connection_id))

    @router.delete("/{connection_id}", status_code=204)
    async def delete_connection(request: Request, connection_id: str) -> None:
        """Forget it, with its secrets; 409 while something uses it."""
        caller = staff(request, "manage")
        await connections.delete(caller.actor, caller.tenant.id, known_id(connection_id))

    return router
