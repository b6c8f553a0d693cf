"""Every table of every package: the only place that imports all models. Used by migrations and by the catalogue tests."""

from __future__ import annotations

from typing import Any

import tollhouse.agents.models
import tollhouse.auth.models
import tollhouse.billing.models
import tollhouse.conversations.models
import tollhouse.host.models
import tollhouse.store.models
import tollhouse.tenants.models
import tollhouse.turns.models
import tollhouse.usage.models  # noqa: F401 - imported for their tables
from tollhouse.store.tables import metadata

__all__ = ["include_object", "metadata"]


def include_object(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """What Alembic compares: not the job queue's own tables, and not the ledger's partitions."""
    name = name or ""
    if kind == "table":
        return not (name.startswith(("procrastinate_", "entries_")) or name == "alembic_version")
    return True
