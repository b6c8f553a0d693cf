"""The audit log: who did what to which thing. Append-only; the chain over it is made afterwards (see ``reports/sealing.py``).

Every write of an admin, an operator or the command line adds an entry in the transaction of the write itself. Nobody waits for
anybody: an entry bears a mark of its own, made with a key that is not in the database, and is chained when it is committed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.signing import Marker

SALT_BYTES: Final = 16
BLANKABLE: Final = ("address", "data")
"""What may have to be blanked: it enters the hash of its row as a hash of its own."""


def _bound(field: str, plain: str) -> str:
    """What binds a field that may be blanked: the hash of a salt and of what it says, or what is kept of that hash."""
    fresh = f"encode(sha256(coalesce(x.{field}_salt, '') || convert_to({plain}, 'UTF8')), 'hex')"
    return f"CASE WHEN x.{field}_salt IS NULL THEN coalesce(x.blanked->>'{field}', {fresh}) ELSE {fresh} END"


HASH: Final = f"""sha256(convert_to(jsonb_build_array(1, x.tenant_id, x.id, x.actor_id, x.actor_kind, x.action, x.target_kind,
    x.target_id, {_bound("data", "x.data::text")}, {_bound("address", "x.address")},
    (extract(epoch FROM x.at) * 1000000)::bigint, x.xid, encode(x.previous, 'hex'), encode(x.digest, 'hex'))::text, 'UTF8'))"""
"""What one row ``x`` says, as a hash: without its mark, which is made of it."""

_PREPARE = text(
    f"""
    SELECT x.at, x.xid, {HASH} AS hash
    FROM (SELECT CAST(:tenant_id AS uuid) AS tenant_id, CAST(:id AS uuid) AS id, CAST(:actor_id AS uuid) AS actor_id,
                 CAST(:actor_kind AS text) AS actor_kind, CAST(:action AS text) AS action,
                 CAST(:target_kind AS text) AS target_kind, CAST(:target_id AS text) AS target_id,
                 CAST(:data_text AS jsonb) AS data, CAST(:data_salt AS bytea) AS data_salt, CAST(:address AS text) AS address,
                 CAST(:address_salt AS bytea) AS address_salt, CAST('{{}}' AS jsonb) AS blanked, app_now() AS at,
                 (pg_current_xact_id()::text)::bigint AS xid, CAST('' AS bytea) AS previous, CAST('' AS bytea) AS digest) x
    """
)


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
    plain = json.dumps(dict(data or {}), default=str)
    row = {
        "tenant_id": tenant_id,
        "id": new_id(),
        "actor_id": actor.id,
        "actor_kind": actor.kind,
        "action": action,
        "target_kind": target[0],
        "target_id": str(target[1]),
        "address": actor.address,
        "address_salt": os.urandom(SALT_BYTES),
        "data_salt": os.urandom(SALT_BYTES),
    }
    prepared = (await conn.execute(_PREPARE, {**row, "data_text": plain})).one()
    marker: Marker | None = conn.info.get("marker")
    mark = marker.mark(prepared.hash) if marker is not None else b""
    found = {"data": json.loads(plain), "at": prepared.at, "xid": prepared.xid, "mark": mark}
    await conn.execute(audit.insert().values(**row, **found))


async def broken_links(conn: AsyncConnection, tenant_id: UUID, *, cut: bool = False) -> AsyncIterator[UUID]:
    """Ids of old entries that do not follow from the one before, as each did that was written until 0.1. ``cut``: the first
    one need not."""
    previous = b""
    columns = [column for column in audit.c if column.name not in ("xid", "mark", "address_salt", "data_salt")]
    rows = await conn.stream(select(*columns).where(audit.c.tenant_id == tenant_id).order_by(audit.c.id))
    first = True
    async for found in rows.mappings():
        row = dict(found)
        if row["digest"]:
            begins = first and (cut or row["previous"] == b"\0" * 32)
            if not (begins or row["previous"] == previous) or not (row["blanked"] or _digest(row) == row["digest"]):
                yield row["id"]
        previous, first = row["digest"], False


def _digest(row: Mapping[str, Any]) -> bytes:
    parts = [row["id"], row["actor_id"], row["actor_kind"], row["action"], row["target_kind"], row["target_id"], row["address"]]
    parts += [row["at"].isoformat(), json.dumps(row["data"], sort_keys=True)]
    return hashlib.sha256(row["previous"] + "\x1f".join(str(part) for part in parts).encode()).digest()
