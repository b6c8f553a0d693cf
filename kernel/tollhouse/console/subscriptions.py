"""Subscriptions: who is on which plan, until when."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.console.forms import Form
from tollhouse.console.limits import texts
from tollhouse.console.users import people
from tollhouse.plugin.errors import Conflict, InvalidInput

area = Area()
STATUSES: Final = ("active", "past_due", "canceled", "pending", "ended")


@area.get("/subscriptions")
async def index(desk: Desk) -> Response:
    """Subscriptions, newest first."""
    status = desk.query("status")
    found = await desk.parts.subscription_admin.subscriptions(
        desk.tenant.id, status=status if status in STATUSES else None, cursor=desk.query("cursor") or None
    )
    who = await people(desk, (one.user_id for one in found.items))
    values: dict[str, Any] = {"subscriptions": found.items, "who": who, "chosen": status, "statuses": STATUSES}
    more = desk.more("/subscriptions", found.next_cursor, status=status)
    return desk.page("subscriptions.html", section="subscriptions", more=more, **values)


@area.get("/subscriptions/{id}")
async def show(desk: Desk) -> Response:
    """One subscription and what it gives."""
    return await _page(desk, Form.of(periods=1))


@area.post("/subscriptions/{id}/extend")
async def extend(desk: Desk) -> Response:
    """Give more periods for nothing."""
    form = await desk.form()
    periods = form.integer("periods")
    try:
        form.check()
        await desk.parts.subscription_admin.extend(desk.caller, desk.id(), 1 if periods is None else periods)
    except (InvalidInput, Conflict) as error:
        return await _page(desk, form.failed(error))
    return desk.done(f"/subscriptions/{desk.id()}", "extended")


@area.post("/subscriptions/{id}/end")
async def end(desk: Desk) -> Response:
    """End it now."""
    form = await desk.form()
    try:
        await desk.parts.subscription_admin.end(desk.caller, desk.id(), form.text("reason")[:500])
    except Conflict as error:
        return await _page(desk, form.failed(error))
    return desk.done(f"/subscriptions/{desk.id()}", "ended")


async def _page(desk: Desk, form: Form) -> Response:
    detail = await desk.parts.subscription_admin.detail(desk.tenant.id, desk.id())
    user = await desk.parts.users.get(desk.tenant.id, detail.summary.user_id)
    agents = (await desk.parts.agents.list(desk.tenant.id, limit=200)).items
    values: dict[str, Any] = {"detail": detail, "one": detail.summary.subscription, "user": user, "form": form}
    values["limit_texts"] = texts(desk, detail.entitlement.limits, agents)
    values["override_texts"] = texts(desk, [one.limit for one in detail.overrides], agents)
    return desk.page("subscription.html", status=form.status, section="subscriptions", **values)
