"""The audit log: who did what to which thing, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from tollhouse.console.changes import PEOPLE_AND_THINGS, Names, called, details
from tollhouse.console.desk import Area, Desk
from tollhouse.console.parts import Row
from tollhouse.plugin.errors import NotFound
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
    names = await _names(desk, found.items)
    more = desk.more("/audit", found.next_cursor, thing=thing, actor=actor, target=target)
    values: dict[str, Any] = {
        "entries": [(entry, _target(entry, names), details(entry["data"] or {}, names)) for entry in found.items],
        "thing": thing,
        "things": THINGS,
        "narrowed": bool(actor or target),
    }
    return desk.page("audit.html", section="audit", more=more, **values)


@area.get("/audit/sign-ins", "manage")
async def sign_ins(desk: Desk) -> Response:
    """Tries to sign in that failed, newest first."""
    user_id = parse_id(desk.query("user"))
    found = await desk.parts.sessions.failures.list(desk.tenant.id, user_id=user_id, cursor=desk.query("cursor") or None)
    more = desk.more("/audit/sign-ins", found.next_cursor, user=user_id)
    return desk.page("sign_in_failures.html", section="audit", failures=found.items, narrowed=user_id is not None, more=more)


def _target(entry: Row, names: Names) -> tuple[str, str]:
    """What the entry is about: its name, and the page where it is; both empty where it is about nothing."""
    kind, target_id = entry["target_kind"], entry["target_id"]
    if not kind or not target_id:
        return "", ""
    known = (kind, target_id) in names
    name = called(kind, target_id, names) if known else str((entry["data"] or {}).get("name") or called(kind, target_id, names))
    return name, PAGES[kind] + target_id if known and kind in PAGES else ""


async def _names(desk: Desk, entries: Sequence[Row]) -> dict[tuple[str, str], str]:
    """What everything that these entries speak of is called; what is gone is not in it."""
    wanted = {(entry["target_kind"], entry["target_id"]) for entry in entries}
    for entry in entries:
        data = entry["data"] or {}
        wanted |= {(kind, str(data[name])) for name, kind in PEOPLE_AND_THINGS.items() if data.get(name)}
        wanted |= {("agent", str(one)) for one in data.get("agents") or () if data["agents"] != "all"}
    found = {}
    for kind, thing_id in wanted:
        name = await _name(desk, kind, parse_id(thing_id))
        if name:
            found[kind, thing_id] = name
    return found


async def _name(desk: Desk, kind: str, thing_id: UUID | None) -> str:
    look = _LOOK.get(kind)
    if look is None or thing_id is None:
        return ""
    try:
        return await look(desk, thing_id)
    except NotFound:
        return ""


async def _agent(desk: Desk, agent_id: UUID) -> str:
    return (await desk.parts.agents.get(desk.tenant.id, agent_id)).name


async def _version(desk: Desk, version_id: UUID) -> str:
    version = await desk.parts.agents.version(desk.tenant.id, version_id)
    return f"{await _agent(desk, version.agent_id)}, version {version.number}"


async def _plan(desk: Desk, plan_id: UUID) -> str:
    return (await desk.parts.plans.get(desk.tenant.id, plan_id)).name


async def _connection(desk: Desk, connection_id: UUID) -> str:
    return (await desk.parts.connections.get(desk.tenant.id, connection_id)).name


async def _user(desk: Desk, user_id: UUID) -> str:
    user = await desk.parts.users.get(desk.tenant.id, user_id)
    return user.name or user.email or ("an erased user" if user.status == "erased" else "a guest")


async def _subscription(desk: Desk, subscription_id: UUID) -> str:
    found = (await desk.parts.subscription_admin.detail(desk.tenant.id, subscription_id)).summary
    return f"{found.subscription.plan_name} of {await _user(desk, found.user_id)}"


_LOOK: Final[Mapping[str, Callable[[Desk, UUID], Awaitable[str]]]] = {
    "agent": _agent,
    "version": _version,
    "plan": _plan,
    "connection": _connection,
    "user": _user,
    "subscription": _subscription,
}
