"""The inbox: what came in from outside, stored before it is answered, handled once in effect.

A row goes ``new -> done``, or ``new -> quarantined`` after too many attempts, from where an admin replays it. Each new row gets
one job, deferred in its own transaction, so no committed row is ever without one. A job does not name a row: it works on the
oldest unhandled rows of its key (``take_oldest``), under a lock for that key, because neither the ids of jobs nor those of
rows tell in which order they were committed.

An attempt is counted, and committed, before the work begins: a row that kills its worker is quarantined too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.plugin.errors import Conflict, NotFound
from tollhouse.plugin.events import InboundEvent
from tollhouse.store import audit
from tollhouse.store.events import event_to_json, external_key
from tollhouse.store.ids import new_id
from tollhouse.store.json_text import clean
from tollhouse.store.models import inbox
from tollhouse.store.pages import page_by_id

TASK = "inbox.handle"
QUEUE = "inbox"
MAX_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One stored event, taken for handling. ``attempt`` counts from 1."""

    tenant_id: UUID
    id: UUID
    connection_id: UUID
    external_id: str
    kind: str
    key: str
    payload: Mapping[str, Any]
    attempt: int
    received_at: datetime


async def put(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, events: Sequence[InboundEvent]) -> list[UUID]:
    """Store events, each once; gives the ids of those that were not there yet. Each new one wakes a worker on commit."""
    rows = [
        {
            "tenant_id": tenant_id,
            "id": new_id(),
            "connection_id": connection_id,
            "external_id": external_key(event.external_id),
            "kind": event.kind,
            "key": external_key(event.key),
            "payload": event_to_json(event),
        }
        for event in events
    ]
    if not rows:
        return []
    # In one order for everybody: two deliveries of the same events must wait for each other, never deadlock.
    rows.sort(key=lambda row: (row["kind"], row["external_id"]))
    statement = insert(inbox).values(rows)
    statement = statement.on_conflict_do_nothing(index_elements=["tenant_id", "connection_id", "kind", "external_id"])
    stored = (await conn.execute(statement.returning(inbox.c.id, inbox.c.key))).all()
    for row in sorted(stored, key=lambda row: row.id):
        await _defer(conn, tenant_id, connection_id, row.key)
    return sorted(row.id for row in stored)


async def payloads(conn: AsyncConnection, tenant_id: UUID, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """What is stored in these rows."""
    statement = select(inbox.c.payload).where(inbox.c.tenant_id == tenant_id, inbox.c.id.in_(ids))
    return list((await conn.execute(statement)).scalars())


async def take_oldest(
    conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, key: str, *, max_attempts: int = MAX_ATTEMPTS
) -> InboxRow | None:
    """The oldest unhandled row of the key, one attempt counted; None when all are handled.

    A row whose attempts are used up (its worker died each time) comes with ``attempt > max_attempts``: quarantine it.
    """
    oldest = (
        select(inbox.c.id)
        .where(
            inbox.c.tenant_id == tenant_id, inbox.c.connection_id == connection_id, inbox.c.key == key, inbox.c.state == "new"
        )
        .order_by(inbox.c.id)
        .limit(1)
        .with_for_update()
    )
    found = (await conn.execute(oldest)).scalar()
    if found is None:
        return None
    counted = update(inbox).where(_is(tenant_id, found)).values(attempts=inbox.c.attempts + 1).returning(inbox)
    row = (await conn.execute(counted)).mappings().one()
    names = ("tenant_id", "id", "connection_id", "external_id", "kind", "key", "payload", "received_at")
    return InboxRow(attempt=row["attempts"], **{name: row[name] for name in names})


async def remember(conn: AsyncConnection, row: InboxRow, facts: Mapping[str, Any]) -> None:
    """Add decisions to a row's payload, so that every later attempt decides the same."""
    changed = inbox.c.payload.op("||")(text("CAST(:facts AS jsonb)").bindparams(facts=json.dumps(dict(facts))))
    await conn.execute(update(inbox).where(_is(row.tenant_id, row.id)).values(payload=changed))


async def lock_unhandled(conn: AsyncConnection, row: InboxRow) -> bool:
    """Whether the row still waits; if so it is ours until the end of this transaction. Comes before its effect."""
    statement = select(inbox.c.id).where(_is(row.tenant_id, row.id), inbox.c.state == "new").with_for_update()
    return (await conn.execute(statement)).first() is not None


async def done(conn: AsyncConnection, row: InboxRow) -> None:
    """It is handled: in the transaction of the effect."""
    await _close(conn, row, "done", None)


async def failed(conn: AsyncConnection, row: InboxRow, error: str) -> None:
    """An attempt failed; the row waits for the next."""
    await conn.execute(update(inbox).where(_is(row.tenant_id, row.id), inbox.c.state == "new").values(error=clean(error)))


async def quarantine(conn: AsyncConnection, row: InboxRow, error: str) -> None:
    """No more attempts; the rows after it go on. An admin sees it and may replay it."""
    await _close(conn, row, "quarantined", clean(error))


async def give_back(conn: AsyncConnection, row: InboxRow) -> None:
    """An attempt was broken off by a clean stop: it does not count."""
    waiting = update(inbox).where(_is(row.tenant_id, row.id), inbox.c.state == "new", inbox.c.attempts == row.attempt)
    await conn.execute(waiting.values(attempts=inbox.c.attempts - 1))


async def replay(conn: AsyncConnection, tenant_id: UUID, row_id: UUID, actor: audit.Actor) -> None:
    """Handle a quarantined row again, from its first attempt.

    Raises:
        NotFound: unknown, or another tenant's.
        Conflict: it is not quarantined.
    """
    row = (await conn.execute(select(inbox).where(_is(tenant_id, row_id)).with_for_update())).mappings().one_or_none()
    if row is None:
        raise NotFound()
    if row["state"] != "quarantined":
        raise Conflict("Only what is quarantined can be tried again.")
    again = update(inbox).where(_is(tenant_id, row_id)).values(state="new", attempts=0, error=None, handled_at=None)
    await conn.execute(again)
    await _defer(conn, tenant_id, row["connection_id"], row["key"])
    await audit.record(conn, tenant_id, actor, "inbox.replayed", target=("inbox", row_id))


async def dismiss(conn: AsyncConnection, tenant_id: UUID, row_id: UUID, actor: audit.Actor) -> Mapping[str, Any]:
    """Somebody has seen a quarantined row, and it is not to be handled; gives what was in it.

    Raises:
        NotFound: unknown, or another tenant's.
        Conflict: it is not quarantined.
    """
    row = (await conn.execute(select(inbox).where(_is(tenant_id, row_id)).with_for_update())).mappings().one_or_none()
    if row is None:
        raise NotFound()
    if row["state"] != "quarantined":
        raise Conflict("Only what is quarantined can be put away.")
    away = {"state": "done", "error": f"put away: {row['error']}", "payload": {}}
    await conn.execute(update(inbox).where(_is(tenant_id, row_id)).values(away))
    await audit.record(conn, tenant_id, actor, "inbox.dismissed", target=("inbox", row_id))
    return dict(row["payload"])


async def page(
    conn: AsyncConnection, tenant_id: UUID, *, state: str | None = None, cursor: str | None = None, limit: int = 50
) -> tuple[list[dict[str, Any]], str | None]:
    """Rows without their content, newest first."""
    names = ("id", "connection_id", "external_id", "kind", "key", "state", "attempts", "error", "received_at", "handled_at")
    statement = select(*(inbox.c[name] for name in names)).where(inbox.c.tenant_id == tenant_id)
    if state is not None:
        statement = statement.where(inbox.c.state == state)
    rows, following = await page_by_id(conn, statement, inbox.c.id, cursor=cursor, limit=limit)
    return [dict(row) for row in rows], following


async def _close(conn: AsyncConnection, row: InboxRow, state: str, error: str | None) -> None:
    values = {"state": state, "error": error, "handled_at": func.app_now()}
    await conn.execute(update(inbox).where(_is(row.tenant_id, row.id), inbox.c.state == "new").values(values))


async def _defer(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, key: str) -> None:
    """A job for the key. Its lock begins with the tenant; its arguments are ids, never content."""
    arguments = {"tenant_id": str(tenant_id), "connection_id": str(connection_id), "key": key}
    await conn.execute(
        text("SELECT defer_job(:task, :queue, :lock, CAST(:arguments AS jsonb))"),
        {
            "task": TASK,
            "queue": QUEUE,
            "lock": f"{tenant_id}:{connection_id}:{key}",
            "arguments": json.dumps(arguments),
        },
    )


def _is(tenant_id: UUID, row_id: UUID) -> Any:
    return and_(inbox.c.tenant_id == tenant_id, inbox.c.id == row_id)
