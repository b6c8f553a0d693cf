"""Deliveries: what came in by webhooks and what goes out, without its content; what is stuck can be tried again."""

from __future__ import annotations

from typing import Any, Final, Literal

from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.delivery.service import STATES
from tollhouse.plugin.errors import NotFound

area = Area()
Queue = Literal["inbox", "outbox"]
WORDS: Final = {"new": "Waiting", "done": "Done", "quarantined": "Stuck"}


@area.get("/deliveries")
async def index(desk: Desk) -> Response:
    """One of both queues, newest first."""
    queue = _queue(desk.query("queue") or "outbox")
    state = desk.query("state")
    found = await desk.parts.queues.list(
        desk.tenant.id, queue, state=state if state in STATES else None, cursor=desk.query("cursor") or None
    )
    more = desk.more("/deliveries", found.next_cursor, queue=queue, state=state)
    values: dict[str, Any] = {"rows": found.items, "queue": queue, "state": state, "states": WORDS}
    return desk.page("deliveries.html", section="deliveries", more=more, **values)


@area.post("/deliveries/{queue}/{id}/replay")
async def replay(desk: Desk) -> Response:
    """Try a stuck row again."""
    queue = _queue(desk.request.path_params["queue"])
    await desk.parts.queues.replay(desk.tenant.id, queue, str(desk.id()), desk.actor)
    return desk.done("/deliveries", "replayed")


@area.post("/deliveries/{queue}/{id}/dismiss")
async def dismiss(desk: Desk) -> Response:
    """Put a stuck row away: it is not tried again."""
    queue = _queue(desk.request.path_params["queue"])
    await desk.parts.queues.dismiss(desk.tenant.id, queue, str(desk.id()), desk.actor)
    return desk.done("/deliveries", "dismissed")


def _queue(name: str) -> Queue:
    if name == "inbox":
        return "inbox"
    if name == "outbox":
        return "outbox"
    raise NotFound()
