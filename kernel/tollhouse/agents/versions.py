"""Prompt versions as the runtime uses them: checked, compiled, and kept in memory once they can no longer change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from tollhouse.agents import repository
from tollhouse.agents.patterns import Pattern
from tollhouse.agents.schemas import ReplySchema
from tollhouse.agents.spec import VersionSpec
from tollhouse.agents.template import Template, parse
from tollhouse.plugin.errors import NotFound
from tollhouse.store.store import Store

MAX_CACHED: Final = 10_000

Status = Literal["draft", "active", "archived"]


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A compiled version. ``status`` is what it was when read: whether it is active now, only the table knows."""

    tenant_id: UUID
    id: UUID
    agent_id: UUID
    number: int
    status: Status
    spec: VersionSpec
    template: Template
    redactions: tuple[tuple[Pattern, str], ...] = ()
    schema: ReplySchema | None = None


def compile_version(row: Mapping[Any, Any]) -> PromptVersion:
    """A row of ``prompt_versions``, checked and compiled."""
    spec = VersionSpec.model_validate(row["spec"])
    return PromptVersion(
        tenant_id=row["tenant_id"],
        id=row["id"],
        agent_id=row["agent_id"],
        number=row["number"],
        status=row["status"],
        spec=spec,
        template=parse(spec.template),
        redactions=tuple((Pattern(rule.pattern), rule.replacement) for rule in spec.post.redact),
        schema=None if spec.post.json_schema is None else ReplySchema(spec.post.json_schema),
    )


class VersionCache:
    """Versions by id. One that was ever activated is immutable, so it is kept for ever; a draft is read each time."""

    def __init__(self, store: Store, size: int = MAX_CACHED) -> None:
        self.store = store
        self._size = size
        self._kept: OrderedDict[tuple[UUID, UUID], PromptVersion] = OrderedDict()

    def peek(self, tenant_id: UUID, version_id: UUID) -> PromptVersion | None:
        """The version if this process has it already."""
        kept = self._kept.get((tenant_id, version_id))
        if kept is not None:
            self._kept.move_to_end((tenant_id, version_id))
        return kept

    async def get(self, tenant_id: UUID, version_id: UUID) -> PromptVersion:
        """One version of a tenant.

        Raises:
            NotFound: there is none of this id in this tenant.
        """
        if (kept := self.peek(tenant_id, version_id)) is not None:
            return kept
        async with self.store.transaction(tenant_id) as conn:
            row = await repository.version_by_id(conn, tenant_id, version_id)
        if row is None:
            raise NotFound()
        version = compile_version(row)
        if row["activated_at"] is not None:
            self._kept[tenant_id, version_id] = version
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return version
