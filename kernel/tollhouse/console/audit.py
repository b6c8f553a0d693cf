"""The audit log: who did what to which thing, and when."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.store.ids import parse_id

area = Area()
THINGS: Final = (
    "agent",
    "version",
    "plan",
    "subscription",
    "order",
    "connection",
    "user",
    "price",
    "tenant",
    "api_key",
    "link",
    "alarm",
    "inbox",
    "outbox",
)
PAGES: Final = {
    "agent": "/agents/",
    "version": "/versions/",
    "plan": "/plans/",
    "subscription": "/subscriptions/",
    "connection": "/connections/",
    "user": "/users/",
}
"""Where the page of a thing is."""


@area.get("/audit", "manage")
async def index(desk: Desk) -> Response:
    """Entries, newest first."""
    thing, actor, target = desk.query("thing"), parse_id(desk.query("actor")), desk.query("target")[:100]
    found = await desk.parts.audit.list(
        desk.tenant.id,
        action=f"{thing}." if thing in THINGS else "",
        actor_id=actor,
        target_id=target,
        cursor=desk.query("cursor") or None,
    )
    more = desk.more("/audit", found.next_cursor, thing=thing, actor=actor, target=target)
    values: dict[str, Any] = {
        "entries": found.items,
        "thing": thing,
        "things": THINGS,
        "pages": PAGES,
        "narrowed": bool(actor or target),
    }
    return desk.page("audit.html", section="audit", more=more, **values)
