"""``/api/v1/admin/agents/{agent}/versions`` and ``/api/v1/admin/versions/{id}``: drafts, activation, rollback, differences."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from tollhouse.agents.spec import VersionSpec
from tollhouse.gateway.examples import SCHEMA_OF
from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Input, Items, View, items, known_id
from tollhouse.routes.vocabulary import example

SPEC: dict[str, Any] = {
    "template": "You are {{ agent.name }} of {{ tenant.name }}. Answer in {{ user.language }}.",
    "primary": {"connection_id": v.CONNECTION, "model": "gpt-4.1-mini"},
    "parameters": {"temperature": 0.3},
    "max_output_tokens": 800,
    "modalities": ["image", "text"],
}


class AgentVersionView(View):
    model_config = example(id=v.VERSION, number=3, weight=10_000, spec=SPEC, note="Shorter answers")
    id: UUID
    agent_id: UUID
    number: int
    status: str
    weight: int = Field(description="Basis points of the agent's traffic.")
    spec: dict[str, Any] = Field(json_schema_extra={SCHEMA_OF: "VersionSpec"})
    note: str
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    activated_by: UUID | None
    activated_at: datetime | None


class FieldChangeView(View):
    model_config = example(path="primary.model", before="gpt-4.1", after="gpt-4.1-mini")
    path: str
    before: Any
    after: Any


class DiffView(View):
    model_config = example(
        template="--- version 2\n+++ version 3\n@@ -1 +1 @@\n-You are a guide.\n+You are {{ agent.name }}.\n"
    )
    before: AgentVersionView
    after: AgentVersionView
    fields: list[FieldChangeView]
    template: str = Field(description="The templates' difference, as a unified diff.")


class CreateDraft(Input):
    model_config = example(spec=SPEC, note="Shorter answers")
    spec: VersionSpec | None = None
    copy_of: UUID | None = Field(None, description="Begin as a copy of this version.")
    note: str = Field("", max_length=1000)


class ChangeDraft(Input):
    model_config = example(spec=SPEC, expected=v.NOW)
    spec: VersionSpec | None = None
    note: str | None = Field(None, max_length=1000)
    expected: datetime | None = Field(None, description="`updated_at` as you last saw it: 409 if somebody was faster.")


class Activate(Input):
    """Without weights it takes all traffic. Weights are basis points and sum to 10,000."""

    model_config = example(weights={v.VERSION: 9000, v.DRAFT: 1000})
    weights: dict[UUID, int] | None = Field(None, max_length=50)


def routes(services: AdminServices) -> APIRouter:
    """The routes. A rollback is the activation of an archived version."""
    router = APIRouter(tags=["admin: versions"])
    agents = services.agents
    one, many = AgentVersionView, Items[AgentVersionView]

    @router.get("/agents/{agent_id}/versions", response_model=many)
    async def list_versions(request: Request, agent_id: str) -> dict[str, Any]:
        """Every version of an agent."""
        return items(await agents.versions(staff(request, "view").tenant.id, known_id(agent_id)))

    @router.post("/agents/{agent_id}/versions", status_code=201, response_model=one)
    async def create_draft(request: Request, agent_id: str, body: CreateDraft) -> Any:
        """A new draft."""
        caller = staff(request, "manage")
        values = {"spec": body.spec, "copy_of": body.copy_of, "note": body.note}
        return await agents.create_draft(caller.tenant.id, caller.actor, known_id(agent_id), **values)  # type: ignore[arg-type]

    @router.get("/versions/{version_id}", response_model=one)
    async def get_version(request: Request, version_id: str) -> Any:
        """One version."""
        return await agents.version(staff(request, "view").tenant.id, known_id(version_id))

    @router.patch("/versions/{version_id}", response_model=one)
    async def change_draft(request: Request, version_id: str, body: ChangeDraft) -> Any:
        """Change a draft; what was ever active never changes."""
        caller = staff(request, "manage")
        values = {"spec": body.spec, "note": body.note, "expected": body.expected}
        return await agents.update_draft(caller.tenant.id, caller.actor, known_id(version_id), **values)  # type: ignore[arg-type]

    @router.post("/versions/{version_id}/activate", response_model=many)
    async def activate_version(request: Request, version_id: str, body: Activate) -> dict[str, Any]:
        """From the next turn on, in every process."""
        caller = staff(request, "manage")
        return items(await agents.activate(caller.tenant.id, caller.actor, known_id(version_id), body.weights))

    @router.post("/versions/{version_id}/archive", response_model=one)
    async def archive_version(request: Request, version_id: str) -> Any:
        """Put a version away that takes no traffic."""
        caller = staff(request, "manage")
        return await agents.archive_version(caller.tenant.id, caller.actor, known_id(version_id))

    @router.get("/versions/{version_id}/diff/{other_id}", response_model=DiffView)
    async def diff_versions(request: Request, version_id: str, other_id: str) -> Any:
        """What changes from the first to the second."""
        return await agents.diff(staff(request, "view").tenant.id, known_id(version_id), known_id(other_id))

    return router
