"""Tenants of the installation: the operator's page."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from tollhouse.accounts.service import new_owner_link
from tollhouse.auth.links import LIFETIME
from tollhouse.console.desk import Area, Desk
from tollhouse.console.forms import Form
from tollhouse.console.users import once
from tollhouse.plugin.errors import Conflict, InvalidInput
from tollhouse.plugin.money import EXPONENTS
from tollhouse.tenants.values import DEFAULT_CURRENCY, Tenant, timezones

area = Area()


@area.get("/tenants", "operator")
async def index(desk: Desk) -> Response:
    """Every tenant, newest first."""
    search = desk.query("search")[:120]
    found = await desk.parts.tenants.list(search=search, cursor=desk.query("cursor") or None)
    more = desk.more("/tenants", found.next_cursor, search=search)
    return desk.page("tenants.html", section="tenants", tenants=found.items, search=search, home=_home(desk), more=more)


@area.get("/tenants/new", "operator")
async def new(desk: Desk) -> Response:
    """The form of a new tenant."""
    return _form(desk, Form.of(currency=DEFAULT_CURRENCY, timezone="UTC", language="en"))


@area.post("/tenants", "operator")
async def create(desk: Desk) -> Response:
    """Make it, with the link by which its first owner comes in; it is shown this once."""
    form = await desk.form()
    tokens: list[str] = []

    async def fill(conn: Any, tenant: Tenant) -> None:
        tokens.append(await new_owner_link(conn, tenant.id, by=desk.by))

    values: dict[str, Any] = {name: form.text(name) for name in ("currency", "timezone", "language")}
    try:
        tenant = await desk.parts.tenants.create(form.text("slug"), form.text("name"), actor=desk.actor, fill=fill, **values)
    except (InvalidInput, Conflict) as error:
        return _form(desk, form.failed(error, beside={"slug_taken": "slug"}))
    desk.parts.directory.forget()
    link = f"{desk.parts.settings.base_url}/t/{tenant.slug}/claim/{tokens[0]}"
    return once(desk, f"The first owner's link of {tenant.name}", link, LIFETIME["owner"].days, "/tenants", "tenants")


@area.post("/tenants/{id}/suspend", "operator")
async def suspend(desk: Desk) -> Response:
    """Stop a tenant: no message is taken from now on."""
    form = await desk.form()
    await desk.parts.tenants.suspend(desk.id(), actor=desk.actor, reason=form.text("reason"))
    desk.parts.directory.forget()
    return desk.done("/tenants", "suspended")


@area.post("/tenants/{id}/resume", "operator")
async def resume(desk: Desk) -> Response:
    """Let it do business again."""
    await desk.parts.tenants.resume(desk.id(), actor=desk.actor)
    desk.parts.directory.forget()
    return desk.done("/tenants", "resumed")


@area.post("/tenants/{id}/addresses", "operator")
async def addresses(desk: Desk) -> Response:
    """Let its connections lead to private addresses, or no longer."""
    form = await desk.form()
    await desk.parts.tenants.allow_private_addresses(desk.id(), form.text("allowed") == "yes", actor=desk.actor)
    desk.parts.directory.forget()
    return desk.done("/tenants")


def _home(desk: Desk) -> str:
    """Where tenants' consoles begin, for an operator."""
    return str(desk.request.scope.get("root_path", "")) + "/console/as/"


def _form(desk: Desk, form: Form) -> Response:
    values = {"form": form, "currencies": sorted(EXPONENTS), "zones": sorted(timezones())}
    return desk.page("tenant_form.html", status=form.status, section="tenants", **values)
