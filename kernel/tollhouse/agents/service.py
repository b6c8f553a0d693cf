"""Prompt versions: written as drafts, activated, split, rolled back, compared. What is active is what the table says now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.agents import repository
from tollhouse.agents.agents import Agents
from tollhouse.agents.errors import Stale, VersionFrozen, VersionInUse
from tollhouse.agents.repository import Row
from tollhouse.agents.rows import VersionDiff, VersionRow, difference
from tollhouse.agents.schemas import problem_with_schema
from tollhouse.agents.spec import VersionSpec
from tollhouse.agents.split import BASIS_POINTS
from tollhouse.plugin.errors import FieldError, InvalidInput, NotFound
from tollhouse.plugin.pointers import pointer_of
from tollhouse.store.audit import Actor, record
from tollhouse.store.ids import new_id
from tollhouse.store.text import lines

MAX_NOTE = 1_000
Spec = VersionSpec | Mapping[str, Any]


class AgentService(Agents):
    """Agents and their versions. Every write holds the agent's row, so that writers of one agent take turns."""

    # -- Reading --------------------------------------------------------------------------------------------------------

    async def versions(self, tenant_id: UUID, agent_id: UUID) -> Sequence[VersionRow]:
        """Every version of an agent, newest first."""
        async with self.store.transaction(tenant_id) as conn:
            if await repository.agent_by_id(conn, tenant_id, agent_id) is None:
                raise NotFound()
            return [VersionRow.of(row) for row in await repository.versions_of(conn, tenant_id, agent_id)]

    async def version(self, tenant_id: UUID, version_id: UUID) -> VersionRow:
        """One version."""
        async with self.store.transaction(tenant_id) as conn:
            return VersionRow.of(await _version(conn, tenant_id, version_id))

    async def diff(self, tenant_id: UUID, before: UUID, after: UUID) -> VersionDiff:
        """What changed between two versions (of any agents of the tenant)."""
        async with self.store.transaction(tenant_id) as conn:
            old = VersionRow.of(await _version(conn, tenant_id, before))
            new = VersionRow.of(await _version(conn, tenant_id, after))
        return await asyncio.to_thread(difference, old, new)

    # -- Drafts ---------------------------------------------------------------------------------------------------------

    async def create_draft(
        self,
        tenant_id: UUID,
        actor: Actor,
        agent_id: UUID,
        *,
        spec: Spec | None = None,
        copy_of: UUID | None = None,
        note: str = "",
    ) -> VersionRow:
        """A new draft with the agent's next number: ``spec``, or what another version of the agent says.

        Raises:
            InvalidInput: the spec is malformed, or names a connection that the tenant does not have.
            AgentArchived: the agent is not in use any more.
        """
        spec = None if spec is None else await _new_spec(spec)
        async with self.store.transaction(tenant_id) as conn:
            return await self.create_draft_in(conn, tenant_id, actor, agent_id, spec=spec, copy_of=copy_of, note=note)

    async def create_draft_in(
        self,
        conn: AsyncConnection,
        tenant_id: UUID,
        actor: Actor,
        agent_id: UUID,
        *,
        spec: Spec | None = None,
        copy_of: UUID | None = None,
        note: str = "",
    ) -> VersionRow:
        """The same inside the caller's transaction, for a spec without a JSON schema of its own."""
        await self._locked(conn, tenant_id, agent_id, alive=True)
        if spec is None:
            if copy_of is None:
                raise InvalidInput("Say what the version is: a spec, or the version to copy.", field="spec")
            copied = await _version(conn, tenant_id, copy_of)
            if copied["agent_id"] != agent_id:
                raise NotFound()
            spec = copied["spec"]
        values = {
            "id": new_id(),
            "spec": await _checked_spec(conn, tenant_id, spec),
            "note": _checked_note(note),
            "created_by": _person(actor),
        }
        row = await repository.insert_version(conn, tenant_id, agent_id, values)
        data = {"agent": agent_id, "number": row["number"], "copy_of": copy_of}
        await record(conn, tenant_id, actor, "version.created", target=("version", row["id"]), data=data)
        return VersionRow.of(row)

    async def update_draft(
        self,
        tenant_id: UUID,
        actor: Actor,
        version_id: UUID,
        *,
        spec: Spec | None = None,
        note: str | None = None,
        expected: datetime | None = None,
    ) -> VersionRow:
        """Change a version that was never active. ``expected``: the ``updated_at`` that the editor saw.

        Raises:
            VersionFrozen: it was active once.
            Stale: somebody else changed it since.
        """
        spec = None if spec is None else await _new_spec(spec)
        async with self.store.transaction(tenant_id) as conn:
            row = await self._locked_version(conn, tenant_id, version_id)
            if row["activated_at"] is not None:
                raise VersionFrozen()
            if expected is not None and row["updated_at"] != expected:
                raise Stale()
            values: dict[str, Any] = {}
            if spec is not None:
                values["spec"] = await _checked_spec(conn, tenant_id, spec)
            if note is not None:
                values["note"] = _checked_note(note)
            changed = await repository.update_version(conn, tenant_id, version_id, values)
            data = {"agent": row["agent_id"], "number": row["number"], "fields": sorted(values)}
            await record(conn, tenant_id, actor, "version.updated", target=("version", version_id), data=data)
            return VersionRow.of(changed)

    # -- What is active -------------------------------------------------------------------------------------------------

    async def activate(
        self, tenant_id: UUID, actor: Actor, version_id: UUID, weights: Mapping[UUID, int] | None = None
    ) -> Sequence[VersionRow]:
        """Put a version into use from the next turn on, everywhere; rolling back is activating an archived one.

        ``weights``: basis points of each version that is to be active, ``version_id`` among them, 10,000 in all; by default it
        gets everything. Active versions that are not named are archived. Answers the active versions in version order.

        Raises:
            InvalidInput: the weights do not add up, or a version does not work any more (its connection is gone).
            NotFound: a version is unknown, or another agent's.
        """
        shares = {version_id: BASIS_POINTS} if weights is None else dict(weights)
        _check_shares(version_id, shares)
        async with self.store.transaction(tenant_id) as conn:
            return await self.activate_in(conn, tenant_id, actor, version_id, shares)

    async def activate_in(
        self, conn: AsyncConnection, tenant_id: UUID, actor: Actor, version_id: UUID, shares: Mapping[UUID, int]
    ) -> Sequence[VersionRow]:
        """The same inside the caller's transaction, with all shares given."""
        _check_shares(version_id, shares)
        agent_id = (await self._locked_version(conn, tenant_id, version_id, alive=True))["agent_id"]
        rows = [await _version(conn, tenant_id, one) for one in shares]
        if any(row["agent_id"] != agent_id for row in rows):
            raise NotFound()
        for row in rows:
            await _checked_spec(conn, tenant_id, row["spec"])
        await repository.deactivate_all(conn, tenant_id, agent_id)
        active = []
        for row in sorted(rows, key=lambda row: int(row["number"])):
            values: dict[str, Any] = {"status": "active", "weight": shares[row["id"]]}
            if row["activated_at"] is None:
                values |= {"activated_at": func.app_now(), "activated_by": _person(actor)}
            active.append(VersionRow.of(await repository.update_version(conn, tenant_id, row["id"], values)))
        data = {"agent": agent_id, "weights": {str(row.number): row.weight for row in active}}
        await record(conn, tenant_id, actor, "version.activated", target=("version", version_id), data=data)
        return active

    async def archive_version(self, tenant_id: UUID, actor: Actor, version_id: UUID) -> VersionRow:
        """Put a version away that is not in use.

        Raises:
            VersionInUse: it is active; activating others archives it.
        """
        async with self.store.transaction(tenant_id) as conn:
            row = await self._locked_version(conn, tenant_id, version_id)
            if row["status"] == "active":
                raise VersionInUse()
            changed = await repository.update_version(conn, tenant_id, version_id, {"status": "archived"})
            data = {"agent": row["agent_id"], "number": row["number"]}
            await record(conn, tenant_id, actor, "version.archived", target=("version", version_id), data=data)
            return VersionRow.of(changed)

    async def _locked_version(self, conn: AsyncConnection, tenant_id: UUID, version_id: UUID, *, alive: bool = False) -> Row:
        """The version as it is while its agent's row is held."""
        agent_id = (await _version(conn, tenant_id, version_id))["agent_id"]
        await self._locked(conn, tenant_id, agent_id, alive=alive)
        return await _version(conn, tenant_id, version_id)


async def _version(conn: AsyncConnection, tenant_id: UUID, version_id: UUID) -> Row:
    row = await repository.version_by_id(conn, tenant_id, version_id)
    if row is None:
        raise NotFound()
    return row


def _person(actor: Actor) -> UUID | None:
    """The person of the tenant who acts; nobody, where it is the operator, the command line or the system."""
    return actor.id if actor.kind == "user" else None


def _checked_note(note: str) -> str:
    return lines(note, field="note", longest=MAX_NOTE)


def _check_shares(version_id: UUID, shares: Mapping[UUID, int]) -> None:
    if version_id not in shares:
        raise InvalidInput("The version to activate needs a weight of its own.", field="weights")
    if any(isinstance(share, bool) or not 1 <= share <= BASIS_POINTS for share in shares.values()):
        raise InvalidInput(f"A weight is a whole number from 1 to {BASIS_POINTS:,}.", field="weights")
    if sum(shares.values()) != BASIS_POINTS:
        raise InvalidInput(f"The weights add up to {sum(shares.values()):,} and not to {BASIS_POINTS:,}.", field="weights")


async def _new_spec(spec: Spec) -> VersionSpec:
    """A spec that somebody writes, after every check that needs no database."""
    parsed = _parsed(spec)
    schema = parsed.post.json_schema
    # In a thread: a large one takes long enough for others to notice.
    if schema is not None and (problem := await asyncio.to_thread(problem_with_schema, schema)):
        raise InvalidInput(f"This schema {problem}.", field="spec.post.json_schema")
    return parsed


def _parsed(spec: Spec) -> VersionSpec:
    if isinstance(spec, VersionSpec):
        return spec
    try:
        return VersionSpec.model_validate(spec)
    except ValidationError as error:
        raise InvalidInput("That prompt version is not valid.", errors=_field_errors(error, spec)) from None


async def _checked_spec(conn: AsyncConnection, tenant_id: UUID, spec: Spec) -> dict[str, Any]:
    """The spec as it is stored, after every check that a save and an activation make."""
    spec = _parsed(spec)
    stored = spec.model_dump(mode="json")
    kinds = await repository.connection_kinds(conn, tenant_id, [choice.connection_id for choice in spec.choices])
    for field, choice in zip(("primary", "fallback"), spec.choices, strict=False):
        if kinds.get(choice.connection_id) != "llm":
            raise InvalidInput("There is no model connection of this id.", field=f"spec.{field}.connection_id")
    if _has_nul(stored):
        raise InvalidInput("A prompt version must not contain a NUL character.", field="spec")
    return stored


def _field_errors(error: ValidationError, spec: Any) -> list[FieldError]:
    sent = {"spec": spec}
    return [
        FieldError(
            pointer_of(("spec", *found["loc"]), sent, missing=found["type"] == "missing"),
            found["msg"].removeprefix("Value error, "),
        )
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _has_nul(value: Any) -> bool:
    """PostgreSQL stores no NUL in JSON."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)
