"""Agents and versions as staff see them."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from tollhouse.agents.versions import Status

MOST_LINES = 2_000
"""Lines of a text of which each is compared with each of another."""


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent. ``position``: its place in the tenant's list."""

    tenant_id: UUID
    id: UUID
    slug: str
    name: str
    description: str
    welcome: str
    status: Literal["draft", "published", "archived"]
    position: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> AgentRow:
        return cls(**row)


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version with who made and activated it, and when. ``spec`` is as stored; ``weight`` in basis points."""

    tenant_id: UUID
    id: UUID
    agent_id: UUID
    number: int
    status: Status
    weight: int
    spec: Mapping[str, Any]
    note: str
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    activated_by: UUID | None
    activated_at: datetime | None

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> VersionRow:
        return cls(**row)

    @property
    def editable(self) -> bool:
        """Until its first activation, and never after."""
        return self.activated_at is None


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs. ``path`` is a dotted path into the spec; a field that is not there is None."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """What changed from one version to another: fields besides the template, and the template as a unified diff."""

    before: VersionRow
    after: VersionRow
    fields: tuple[FieldChange, ...]
    template: str


def difference(before: VersionRow, after: VersionRow) -> VersionDiff:
    """Compare two versions field by field."""
    old, new = _flat(before.spec), _flat(after.spec)
    old_text, new_text = str(old.pop("template", "")), str(new.pop("template", ""))
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    changes = tuple(FieldChange(path, old.get(path), new.get(path)) for path in paths)
    return VersionDiff(
        before, after, changes, changed_lines(old_text, new_text, f"version {before.number}", f"version {after.number}")
    )


def changed_lines(old_text: str, new_text: str, before: str, after: str) -> str:
    """Two texts as a unified diff. Of very many lines only what is the same at both ends is left out: comparing each with each
    takes their product in time."""
    old, new = old_text.splitlines(), new_text.splitlines()
    if max(len(old), len(new)) <= MOST_LINES:
        return "\n".join(difflib.unified_diff(old, new, before, after, lineterm=""))
    head = _same(zip(old, new, strict=False))
    tail = _same(zip(reversed(old[head:]), reversed(new[head:]), strict=False))
    gone, come = old[head : len(old) - tail], new[head : len(new) - tail]
    if not gone and not come:
        return ""
    place = f"@@ -{head + 1},{len(gone)} +{head + 1},{len(come)} @@"
    return "\n".join((f"--- {before}", f"+++ {after}", place, *(f"-{line}" for line in gone), *(f"+{line}" for line in come)))


def _same(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects by dotted path; lists and schemas are compared whole."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        path = prefix + key
        if isinstance(item, Mapping) and item and key != "json_schema":
            flat |= _flat(item, path + ".")
        else:
            flat[path] = item
    return flat
