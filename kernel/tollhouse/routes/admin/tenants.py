"""``/api/v1/admin/tenants``: the operator's; and ``/api/v1/admin/tenant``: one's own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field

from tollhouse.accounts.service import new_owner_link
from tollhouse.auth.links import address_of
from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import operator, staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Input, Items, Limit, Rate, View, items, known_id, nano_rate
from tollhouse.routes.vocabulary import example, example_of
from tollhouse.tenants.service import UNSET, TenantChanges
from tollhouse.tenants.values import DEFAULT_CURRENCY, Brand, Tenant

BRAND = {"accent": "#1f5f3d", "radius": 6, "logo_file_id": None, "tagline": "Ask us anything"}


class TenantView(View):
    model_config = example(
        id=v.TENANT,
        slug="acme",
        name="Acme",
        hosts=["agents.acme.example"],
        daily_cost_cap=None,
        private_addresses=False,
        brand=BRAND,
    )
    id: UUID
    slug: str
    name: str
    status: str
    timezone: str
    next_timezone: str | None
    currency: str
    cost_currency: str = Field(description="In which model costs, cost limits and the daily stop are counted.")
    language: str
    hosts: list[str]
    daily_cost_cap: int | None = Field(description="Nano-units of model cost for a local day; null: none.")
    private_addresses: bool = Field(description="Whether its connections may lead to private addresses; the operator says so.")
    brand: Brand
    created_at: datetime

    @classmethod
    def of(cls, tenant: Tenant) -> TenantView:
        """From the service's tenant."""
        names = [name for name in cls.model_fields if name != "brand"]
        return cls(**{name: getattr(tenant, name) for name in names}, brand=tenant.settings.brand)


class CreatedTenant(TenantView):
    """``owner_token``: makes the first owner; shown this once. ``url``: the page that takes it."""

    model_config = example(
        **example_of(TenantView),
        owner_token="thl_8hKq…",  # noqa: S106 - an example
        url="https://example.com/t/acme/claim/thl_8hKq…",
    )
    owner_token: str
    url: str


class CreateTenant(Input):
    model_config = example(slug="acme", name="Acme", timezone="Europe/Berlin")
    slug: str = Field(max_length=60)
    name: str = Field(max_length=200)
    currency: str = Field(DEFAULT_CURRENCY, max_length=10, description="What plans are sold and model costs are counted in.")
    cost_currency: str | None = Field(None, max_length=10, description="If it is another one; there is no margin then.")
    timezone: str = Field("UTC", max_length=60)
    language: str = Field("en", max_length=35)
    hosts: list[str] = Field(default_factory=list, max_length=20)


class ChangeTenant(Input):
    model_config = example(daily_cost_cap=5_000_000_000, brand={"accent": "#1f5f3d", "tagline": "Ask us anything"})
    name: str | None = Field(None, max_length=200)
    timezone: str | None = Field(None, max_length=60)
    currency: str | None = Field(None, max_length=10, description="Of model costs too, where both are one.")
    cost_currency: str | None = Field(None, max_length=10, description="Only while no limit and no daily stop counts costs.")
    rate: Rate | None = Field(
        None, description="What one unit of the present currency of costs is in the new one: model prices are converted by it."
    )
    drop_prices: bool = Field(
        False, strict=True, description="Leave model prices behind that do not count in the new currency."
    )
    language: str | None = Field(None, max_length=35)
    daily_cost_cap: int | None = Field(None, ge=0, le=10**18)
    brand: Brand | None = None


class OperatorChangeTenant(ChangeTenant):
    model_config = example(hosts=["agents.acme.example"])
    hosts: list[str] | None = Field(None, max_length=20)
    private_addresses: bool | None = Field(
        None, strict=True, description="Let its connections lead to this machine and the networks behind it."
    )


class Reason(Input):
    model_config = example(reason="The invoice of December is open")
    reason: str = Field("", max_length=500)


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["admin: tenants"])
    tenants = services.tenants

    @router.get("/tenants", response_model=Items[TenantView])
    async def list_tenants(
        request: Request,
        search: Annotated[str, Query(max_length=120)] = "",
        status: Literal["active", "suspended"] | None = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """Every tenant, newest first."""
        operator(request)
        page = await tenants.list(search=search, status=status, cursor=cursor, limit=limit)
        return items([TenantView.of(tenant) for tenant in page.items], page.next_cursor)

    @router.post("/tenants", status_code=201, response_model=CreatedTenant)
    async def create_tenant(request: Request, body: CreateTenant) -> CreatedTenant:
        """A new tenant, with the one-time token that makes its owner."""
        caller = operator(request)
        tokens: list[str] = []

        async def fill(conn: Any, tenant: Tenant) -> None:
            tokens.append(await new_owner_link(conn, tenant.id, by=caller.user))

        values = body.model_dump()
        made = await tenants.create(values.pop("slug"), values.pop("name"), actor=caller.actor, fill=fill, **values)
        url = address_of(f"{services.base_url}/t/{made.slug}", "owner", tokens[0])
        return CreatedTenant(**TenantView.of(made).model_dump(), owner_token=tokens[0], url=url)

    @router.get("/tenants/{tenant_id}", response_model=TenantView)
    async def get_tenant(request: Request, tenant_id: str) -> TenantView:
        """One tenant."""
        operator(request)
        return TenantView.of(await tenants.get(known_id(tenant_id)))

    @router.patch("/tenants/{tenant_id}", response_model=TenantView)
    async def change_tenant(request: Request, tenant_id: str, body: OperatorChangeTenant) -> TenantView:
        """Change a tenant, its host names and what its connections may reach too."""
        caller = operator(request)
        changed = await tenants.update(known_id(tenant_id), _changes(body), actor=caller.actor)
        if body.private_addresses is not None:
            changed = await tenants.allow_private_addresses(changed.id, body.private_addresses, actor=caller.actor)
        return TenantView.of(changed)

    @router.post("/tenants/{tenant_id}/suspend", response_model=TenantView)
    async def suspend_tenant(request: Request, tenant_id: str, body: Reason) -> TenantView:
        """Stop it; nothing is lost."""
        caller = operator(request)
        return TenantView.of(await tenants.suspend(known_id(tenant_id), actor=caller.actor, reason=body.reason))

    @router.post("/tenants/{tenant_id}/resume", response_model=TenantView)
    async def resume_tenant(request: Request, tenant_id: str) -> TenantView:
        """Let it go on."""
        caller = operator(request)
        return TenantView.of(await tenants.resume(known_id(tenant_id), actor=caller.actor))

    @router.get("/tenant", response_model=TenantView)
    async def own_tenant(request: Request) -> TenantView:
        """One's own tenant."""
        return TenantView.of(await tenants.get(staff(request, "view").tenant.id))

    @router.patch("/tenant", response_model=TenantView)
    async def change_own_tenant(request: Request, body: ChangeTenant) -> TenantView:
        """Change one's own tenant. Host names are the operator's to give."""
        caller = staff(request, "manage")
        return TenantView.of(await tenants.update(caller.tenant.id, _changes(body), actor=caller.actor))

    return router


def _changes(body: ChangeTenant) -> TenantChanges:
    given: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set - {"private_addresses"}}
    given.setdefault("daily_cost_cap", UNSET)
    if body.rate is not None:
        given["rate"] = nano_rate(body.rate)
    return TenantChanges(**given)
