"""The tenant's own settings."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from starlette.datastructures import UploadFile
from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.console.format import NANO, decimal
from tollhouse.console.forms import Form
from tollhouse.plugin.errors import Conflict, InvalidInput, TooLarge
from tollhouse.plugin.money import EXPONENTS
from tollhouse.tenants.errors import PricesLost
from tollhouse.tenants.logos import MAX_BYTES
from tollhouse.tenants.service import TenantChanges, check_changes
from tollhouse.tenants.values import Tenant, timezones

area = Area()


@area.get("/settings")
async def show(desk: Desk) -> Response:
    """The form; read-only for who may not change it."""
    tenant = await desk.parts.tenants.get(desk.tenant.id)
    return _page(desk, _shown(tenant), tenant)


def _shown(tenant: Tenant) -> Form:
    brand = tenant.settings.brand
    return Form.of(
        name=tenant.name,
        timezone=tenant.next_timezone or tenant.timezone,
        currency=tenant.currency,
        cost_currency=tenant.cost_currency,
        language=tenant.language,
        hosts="\n".join(tenant.hosts),
        daily_cost_cap=decimal(tenant.daily_cost_cap, NANO),
        tagline=brand.tagline,
        accent=brand.accent,
        radius=brand.radius,
    )


@area.post("/settings")
async def save(desk: Desk) -> Response:
    """Save them."""
    tenant = await desk.parts.tenants.get(desk.tenant.id)
    form = await desk.form()
    try:
        changes = _changes(form, tenant)
        form.weigh(lambda: check_changes(changes), partial(_placed, form, tenant))
        form.check()
        await desk.parts.tenants.update(tenant.id, changes, actor=desk.actor)
    except (InvalidInput, Conflict) as error:
        return _page(desk, _placed(form, tenant, error), tenant, losing=isinstance(error, PricesLost) or bool(form.get("rate")))
    desk.parts.directory.forget()
    desk.parts.prices.forget(tenant.id)
    return desk.done("/settings")


@area.post("/settings/logo")
async def save_logo(desk: Desk) -> Response:
    """Take a new logo; the one before is forgotten."""
    tenant = await desk.parts.tenants.get(desk.tenant.id)
    form = Form()
    try:
        logo_id = await desk.parts.logos.put(tenant.id, await _picture(desk))
    except (InvalidInput, TooLarge) as error:
        form.status = error.http_status
        form.refuse("logo", error.detail)
        return _page(desk, _shown(tenant), tenant, form)
    await _change_logo(desk, tenant, logo_id)
    return desk.done("/settings")


@area.post("/settings/logo/remove")
async def remove_logo(desk: Desk) -> Response:
    """The name alone again."""
    await _change_logo(desk, await desk.parts.tenants.get(desk.tenant.id), None)
    return desk.done("/settings", "deleted")


async def _picture(desk: Desk) -> bytes:
    async with desk.request.form(max_files=1, max_fields=5) as form:
        sent = form.get("logo")
        return await sent.read(MAX_BYTES + 1) if isinstance(sent, UploadFile) else b""


async def _change_logo(desk: Desk, tenant: Tenant, logo_id: UUID | None) -> None:
    before = tenant.settings.brand
    brand = before.model_copy(update={"logo_file_id": logo_id})
    await desk.parts.tenants.update(tenant.id, TenantChanges(brand=brand), actor=desk.actor)
    await desk.parts.logos.delete(tenant.id, before.logo_file_id)
    desk.parts.directory.forget()


def _changes(form: Form, tenant: Tenant) -> TenantChanges:
    brand: dict[str, Any] = {"tagline": form.text("tagline"), "radius": form.integer("radius")}
    brand |= {"accent": form.optional("accent"), "logo_file_id": tenant.settings.brand.logo_file_id}
    return TenantChanges(
        name=form.text("name"),
        timezone=form.text("timezone"),
        currency=form.text("currency"),
        cost_currency=form.optional("cost_currency"),
        rate=form.amount("rate", NANO),
        drop_prices=form.has("drop_prices"),
        language=form.text("language"),
        hosts=[line.strip() for line in form.get("hosts").split("\n") if line.strip()],
        daily_cost_cap=form.amount("daily_cost_cap", NANO),
        brand=brand,
    )


def _placed(form: Form, tenant: Tenant, error: InvalidInput | Conflict) -> Form:
    costs = "currency" if tenant.currency == tenant.cost_currency else "cost_currency"  # one field, unless they were apart
    form.failed(error, inside="brand", beside={"host_taken": "hosts", "cost_currency_in_use": costs, "prices_lost": costs})
    if "accent" in form.errors:
        form.errors["accent"] = "Write a colour as #7a1f3d"
    return form


def _page(desk: Desk, form: Form, tenant: Tenant, logo: Form | None = None, *, losing: bool = False) -> Response:
    logo = logo or Form()
    values: dict[str, Any] = {"form": form, "logo": logo, "settings": tenant, "losing": losing}
    values |= {"currencies": sorted(EXPONENTS), "zones": sorted(timezones())}
    return desk.page("settings.html", status=max(form.status, logo.status), section="settings", **values)
