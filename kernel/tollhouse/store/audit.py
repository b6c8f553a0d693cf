"""The audit log: who did what to which thing. Append-only, and chained by hashes, so that tampering shows.

Every write of an admin, an operator or the command line adds an entry in the transaction of the write itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.ids import new_id
from tollhouse.store.models import audit

GENESIS = b"\0" * 32


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a person of the tenant, the operator, the command line, or the system itself."""

    kind: Literal["user", "operator", "cli", "system"]
    id: UUID | None = None
    address: str = ""


SYSTEM = Actor("system")
CLI = Actor("cli")


async def record(
    conn: AsyncConnection,
    tenant_id: UUID,
    actor: Actor,
    action: str,
    *,
    target: tuple[str, Any] = ("", ""),
    data: Mapping[str, Any] | None = None,
) -> None:
    """Append one entry in the present transaction. ``action`` is ``thing.verb``; ``data`` holds no secret and no content."""
    await conn.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 7403))"), {"tenant": str(tenant_id)})
    last = select(audit.c.id, audit.c.digest).where(audit.c.tenant_id == tenant_id).order_by(audit.c.id.desc()).limit(1)
    before = (await conn.execute(last)).first()
    entry_id, previous = new_id(), GENESIS
    if before is not None:  # the order is the chain's, whatever the clocks of two processes say
        entry_id, previous = max(entry_id, UUID(int=before.id.int + 1)), before.digest
    row = {
        "tenant_id": tenant_id,
        "id": entry_id,
        "actor_id": actor.id,
        "actor_kind": actor.kind,
        "action": action,
        "target_kind": target[0],
        "target_id": str(target[1]),
        "data": json.loads(json.dumps(dict(data or {}), default=str)),
        "address": actor.address,
        "at": (await conn.execute(select(func.app_now()))).scalar(),
        "previous": previous,
    }
    await conn.execute(audit.insert().values(**row, digest=_digest(row)))


async def broken_links(conn: AsyncConnection, tenant_id: UUID) -> AsyncIterator[UUID]:
    """Ids of entries that do not follow from the one before: each is a sign of tampering."""
    previous = GENESIS
    rows = await conn.stream(select(audit).where(audit.c.tenant_id == tenant_id).order_by(audit.c.id))
    async for found in rows.mappings():
        row = dict(found)
        if row["previous"] != previous or _digest(row) != row["digest"]:
            yield row["id"]
        previous = row["digest"]


def _digest(row: Mapping[str, Any]) -> bytes:
    parts = [row["id"], row["actor_id"], row["actor_kind"], row["action"], row["target_kind"], row["target_id"], row["address"]]
    parts += [row["at"].isoformat(), json.dumps(row["data"], sort_keys=True)]
    return hashlib.sha256(row["previous"] + "\x1f".join(str(part) for part in parts).encode()).digest()
