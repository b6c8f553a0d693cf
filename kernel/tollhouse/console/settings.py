"""The tenant's own settings."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.console.format import NANO, decimal
from tollhouse.console.forms import Form
from tollhouse.plugin.errors import Conflict, InvalidInput
from tollhouse.tenants.money import EXPONENTS
from tollhouse.tenants.service import TenantChanges
from tollhouse.tenants.values import Tenant, timezones

area = Area()


@area.get("/settings")
async def show(desk: Desk) -> Response:
    """The form; read-only for who may not change it."""
    tenant = await desk.parts.tenants.get(desk.tenant.id)
    brand = tenant.settings.brand
    form = Form.of(
        name=tenant.name,
        timezone=tenant.next_timezone or tenant.timezone,
        currency=tenant.currency,
        language=tenant.language,
        hosts="\n".join(tenant.hosts),
        daily_cost_cap=decimal(tenant.daily_cost_cap, NANO),
        tagline=brand.tagline,
        accent=brand.accent,
        radius=brand.radius,
    )
    return _page(desk, form, tenant)


@area.post("/settings")
async def save(desk: Desk) -> Response:
    """Save them."""
    tenant = await desk.parts.tenants.get(desk.tenant.id)
    form = await desk.form()
    try:
        changes = _changes(form, tenant)
        form.check()
        await desk.parts.tenants.update(tenant.id, changes, actor=desk.actor)
    except (InvalidInput, Conflict) as error:
        return _page(desk, _placed(form, error), tenant)
    desk.parts.directory.forget()
    return desk.done("/settings")


def _changes(form: Form, tenant: Tenant) -> TenantChanges:
    brand: dict[str, Any] = {"tagline": form.text("tagline"), "radius": form.integer("radius")}
    brand |= {"accent": form.optional("accent"), "logo_file_id": tenant.settings.brand.logo_file_id}
    return TenantChanges(
        name=form.text("name"),
        timezone=form.text("timezone"),
        currency=form.text("currency"),
        language=form.text("language"),
        hosts=[line.strip() for line in form.get("hosts").split("\n") if line.strip()],
        daily_cost_cap=form.amount("daily_cost_cap", NANO),
        brand=brand,
    )


def _placed(form: Form, error: InvalidInput | Conflict) -> Form:
    form.failed(error, inside="brand")
    if error.http_code == "host_taken":
        form.problems.clear()
        form.refuse("hosts", error.detail)
    if "accent" in form.errors:
        form.errors["accent"] = "Write a colour as #7a1f3d"
    return form


def _page(desk: Desk, form: Form, tenant: Tenant) -> Response:
    values = {"form": form, "settings": tenant, "currencies": sorted(EXPONENTS), "zones": sorted(timezones())}
    return desk.page("settings.html", status=form.status, section="settings", **values)
