"""Agents: made, described, published, archived."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.agents import repository
from tollhouse.agents.errors import AgentArchived, NoActiveVersion, SlugTaken
from tollhouse.agents.repository import Row
from tollhouse.agents.rows import AgentRow
from tollhouse.plugin.content import MODALITIES, Modality
from tollhouse.plugin.errors import FieldError, InvalidInput, NotFound
from tollhouse.plugin.ports import Page
from tollhouse.store.audit import Actor, record
from tollhouse.store.ids import new_id, parse_id
from tollhouse.store.store import Store
from tollhouse.store.text import lines, one_line

SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?")
LENGTHS: Final = {"name": 100, "description": 2_000, "welcome": 2_000}
STATUSES: Final = ("draft", "published", "archived")


class Agents:
    """Use cases of agents themselves; :class:`~tollhouse.agents.service.AgentService` adds those of versions."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # -- Reading --------------------------------------------------------------------------------------------------------

    async def list(
        self, tenant_id: UUID, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[AgentRow]:
        """Agents, newest first."""
        if status is not None and status not in STATUSES:
            raise InvalidInput(f"The status is one of {', '.join(STATUSES)}.", field="status")
        async with self.store.transaction(tenant_id) as conn:
            rows, following = await repository.agent_page(conn, tenant_id, status=status, cursor=cursor, limit=limit)
        return Page([AgentRow.of(row) for row in rows], following)

    async def published(self, tenant_id: UUID) -> Sequence[tuple[AgentRow, frozenset[Modality]]]:
        """Published agents in the tenant's order, each with what it takes (what all of its active versions take)."""
        async with self.store.transaction(tenant_id) as conn:
            rows = await repository.published_agents(conn, tenant_id)
            specs = await repository.active_specs(conn, tenant_id, [row["id"] for row in rows])
        taken: dict[UUID, frozenset[Any]] = {}
        for spec in specs:
            kinds = frozenset(spec["spec"].get("modalities", ["text"]))
            taken[spec["agent_id"]] = taken.get(spec["agent_id"], frozenset(MODALITIES)) & kinds
        return [(AgentRow.of(row), taken.get(row["id"], frozenset({"text"}))) for row in rows]

    async def get(self, tenant_id: UUID, name: UUID | str) -> AgentRow:
        """One agent by id or slug, whatever its status."""
        async with self.store.transaction(tenant_id) as conn:
            return AgentRow.of(await self._find(conn, tenant_id, name))

    async def _find(self, conn: AsyncConnection, tenant_id: UUID, name: UUID | str) -> Row:
        row = None
        agent_id = name if isinstance(name, UUID) else parse_id(name)
        if agent_id is not None:
            row = await repository.agent_by_id(conn, tenant_id, agent_id)
        if row is None and isinstance(name, str):
            row = await repository.agent_by_slug(conn, tenant_id, name)
        if row is None:
            raise NotFound()
        return row

    # -- Writing --------------------------------------------------------------------------------------------------------

    async def create(
        self, tenant_id: UUID, actor: Actor, *, slug: str, name: str, description: str = "", welcome: str = ""
    ) -> AgentRow:
        """A new agent, not yet published.

        Raises:
            InvalidInput: a field is malformed.
            SlugTaken: another agent of the tenant has this slug.
        """
        values = _checked({"slug": slug, "name": name, "description": description, "welcome": welcome})
        async with self.store.transaction(tenant_id) as conn:
            return await self.create_in(conn, tenant_id, actor, values)

    async def create_in(self, conn: AsyncConnection, tenant_id: UUID, actor: Actor, values: dict[str, Any]) -> AgentRow:
        """The same inside the caller's transaction."""
        with _unique_slug():
            row = await repository.insert_agent(conn, tenant_id, {"id": new_id(), **_checked(values)})
        await record(conn, tenant_id, actor, "agent.created", target=("agent", row["id"]), data={"slug": row["slug"]})
        return AgentRow.of(row)

    async def update(
        self,
        tenant_id: UUID,
        actor: Actor,
        agent_id: UUID,
        *,
        slug: str | None = None,
        name: str | None = None,
        description: str | None = None,
        welcome: str | None = None,
        position: int | None = None,
    ) -> AgentRow:
        """Change what is given; None leaves a field as it is."""
        given: dict[str, Any] = {
            "slug": slug,
            "name": name,
            "description": description,
            "welcome": welcome,
            "position": position,
        }
        values = _checked({key: value for key, value in given.items() if value is not None})
        async with self.store.transaction(tenant_id) as conn:
            row = await self._locked(conn, tenant_id, agent_id)
            if not values:
                return AgentRow.of(row)
            with _unique_slug():
                row = await repository.update_agent(conn, tenant_id, agent_id, values)
            await record(conn, tenant_id, actor, "agent.updated", target=("agent", agent_id), data={"fields": sorted(values)})
            return AgentRow.of(row)

    async def publish(self, tenant_id: UUID, actor: Actor, agent_id: UUID) -> AgentRow:
        """Let users find it.

        Raises:
            NoActiveVersion: it has nothing to say yet.
        """
        async with self.store.transaction(tenant_id) as conn:
            await self._locked(conn, tenant_id, agent_id)
            if not await repository.active_specs(conn, tenant_id, [agent_id]):
                raise NoActiveVersion()
            return await self._set_status(conn, tenant_id, actor, agent_id, "published")

    async def unpublish(self, tenant_id: UUID, actor: Actor, agent_id: UUID) -> AgentRow:
        """Take it back to a draft: nobody can talk to it until it is published again."""
        async with self.store.transaction(tenant_id) as conn:
            await self._locked(conn, tenant_id, agent_id)
            return await self._set_status(conn, tenant_id, actor, agent_id, "draft")

    async def archive(self, tenant_id: UUID, actor: Actor, agent_id: UUID) -> AgentRow:
        """Take it out of use; its versions and its past stay. ``unpublish`` brings it back."""
        async with self.store.transaction(tenant_id) as conn:
            await self._locked(conn, tenant_id, agent_id)
            return await self._set_status(conn, tenant_id, actor, agent_id, "archived")

    async def _set_status(self, conn: AsyncConnection, tenant_id: UUID, actor: Actor, agent_id: UUID, status: str) -> AgentRow:
        row = await repository.update_agent(conn, tenant_id, agent_id, {"status": status})
        verb = {"published": "published", "draft": "unpublished", "archived": "archived"}[status]
        await record(conn, tenant_id, actor, f"agent.{verb}", target=("agent", agent_id), data={"slug": row["slug"]})
        return AgentRow.of(row)

    async def _locked(self, conn: AsyncConnection, tenant_id: UUID, agent_id: UUID, *, alive: bool = False) -> Row:
        """The agent's row, held until the transaction ends; ``alive``: it must not be archived."""
        row = await repository.agent_by_id(conn, tenant_id, agent_id, lock=True)
        if row is None:
            raise NotFound()
        if alive and row["status"] == "archived":
            raise AgentArchived()
        return row


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """The same values, trimmed; every field that is wrong is named."""
    values = dict(values)
    errors: list[FieldError] = []
    if "slug" in values:
        values["slug"] = values["slug"].strip()
    if "slug" in values and (not SLUG.fullmatch(values["slug"]) or parse_id(values["slug"]) is not None):
        errors.append(
            FieldError("#/slug", "1 to 50 small letters, digits and hyphens, beginning and ending with a letter or digit")
        )
    for key, most in LENGTHS.items():
        if key in values:
            try:
                values[key] = (one_line if key == "name" else lines)(
                    values[key], field=key, longest=most, required=key == "name"
                )
            except InvalidInput as error:
                errors += error.errors
    if not -(2**31) <= values.get("position", 0) < 2**31:
        errors.append(FieldError("#/position", "is out of range"))
    if errors:
        raise InvalidInput(errors=errors)
    return values


@contextmanager
def _unique_slug() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if "uq_agents" in str(error.orig):
            raise SlugTaken() from error
        raise
