"""Both queues for people: what came in, what went out, what is stuck, and trying it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from tollhouse.delivery.media import blobs_in, forget_bytes
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.plugin.ports import Page
from tollhouse.store import inbox, outbox
from tollhouse.store.audit import Actor
from tollhouse.store.blobs import Blobs
from tollhouse.store.ids import parse_id
from tollhouse.store.store import Store

STATES = ("new", "done", "quarantined")
_QUEUES = {"inbox": inbox, "outbox": outbox}


class QueueService:
    """The inbox and the outbox of one tenant. Rows are shown without their content."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self.store = store
        self.blobs = blobs

    async def list(
        self,
        tenant_id: UUID,
        queue: Literal["inbox", "outbox"],
        *,
        state: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Mapping[str, Any]]:
        """Rows, newest first; of one state, if given."""
        if state is not None and state not in STATES:
            raise InvalidInput(f"The state is one of {', '.join(STATES)}.", field="state")
        async with self.store.transaction(tenant_id) as conn:
            rows, following = await _QUEUES[queue].page(conn, tenant_id, state=state, cursor=cursor, limit=limit)
        return Page(rows, following)

    async def replay(self, tenant_id: UUID, queue: Literal["inbox", "outbox"], row_id: str, actor: Actor) -> None:
        """Try a quarantined row again, from its first attempt.

        Raises:
            NotFound: unknown, or another tenant's.
            Conflict: it is not quarantined.
        """
        found = parse_id(row_id)
        if found is None:
            raise NotFound()
        async with self.store.transaction(tenant_id) as conn:
            await _QUEUES[queue].replay(conn, tenant_id, found, actor)

    async def dismiss(self, tenant_id: UUID, queue: Literal["inbox", "outbox"], row_id: str, actor: Actor) -> None:
        """Put a quarantined row away for good, and what came with it.

        Raises:
            NotFound: unknown, or another tenant's.
            Conflict: it is not quarantined.
        """
        found = parse_id(row_id)
        if found is None:
            raise NotFound()
        async with self.store.transaction(tenant_id) as conn:
            payload = await _QUEUES[queue].dismiss(conn, tenant_id, found, actor)
        await forget_bytes(self.blobs, tenant_id, blobs_in(payload))
