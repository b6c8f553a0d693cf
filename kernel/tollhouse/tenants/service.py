"""What operators and owners do with tenants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.plugin.errors import FieldError, InvalidInput, NotFound, gather
from tollhouse.plugin.money import valid_currency
from tollhouse.plugin.ports import Page
from tollhouse.store import audit
from tollhouse.store.audit import Actor
from tollhouse.store.ids import new_id
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store
from tollhouse.store.text import lines
from tollhouse.tenants import repository, values
from tollhouse.tenants.errors import CostCurrencyInUse, HostTaken, SlugTaken
from tollhouse.tenants.scoping import within
from tollhouse.tenants.values import DEFAULT_CURRENCY, Brand, Tenant, TenantSettings, effective_timezone, next_month_in


class Unset:
    """Stands for "leave it as it is" where None means something."""


UNSET = Unset()


@dataclass(frozen=True, slots=True)
class TenantChanges:
    """What to change of a tenant; what is not given stays.

    Who sells and counts costs in one currency changes both by ``currency``. ``rate``: what one unit of the currency of costs is
    in the new one, in its nano-units, to convert model prices by; ``drop_prices``: they may be lost.
    """

    name: str | None = None
    timezone: str | None = None
    currency: str | None = None
    cost_currency: str | None = None
    language: str | None = None
    hosts: Sequence[str] | None = None
    daily_cost_cap: int | Unset | None = UNSET
    brand: Brand | dict[str, Any] | None = None
    rate: int | None = None
    drop_prices: bool = False


CostInUse = Callable[[AsyncConnection, UUID], Awaitable[str | None]]
"""What counts model costs for a tenant, in words; None if nothing does."""


class Reprices(Protocol):
    """Takes a tenant's model prices along into another currency, or refuses to lose any that it was not told to lose."""

    def __call__(
        self, conn: AsyncConnection, tenant: Tenant, currency: str, actor: Actor, *, rate: int | None, drop: bool
    ) -> Awaitable[None]: ...


class TenantService:
    """Makes, lists, suspends and changes tenants. Who may do so is checked by the caller, with ``auth.roles``."""

    def __init__(self, store: Store, *, cost_in_use: Sequence[CostInUse] = (), reprice: Reprices | None = None) -> None:
        """``cost_in_use`` are asked before the currency of costs is changed: amounts that count keep theirs. ``reprice`` takes
        the model prices along."""
        self.store = store
        self._cost_in_use = cost_in_use
        self._reprice = reprice

    async def create(
        self,
        slug: str,
        name: str,
        *,
        actor: Actor,
        currency: str = DEFAULT_CURRENCY,
        cost_currency: str | None = None,
        timezone: str = "UTC",
        language: str = "en",
        hosts: Sequence[str] = (),
        private_addresses: bool = False,
        fill: Callable[[AsyncConnection, Tenant], Awaitable[Any]] | None = None,
    ) -> Tenant:
        """A new tenant. It sells and counts model costs in one ``currency``, unless ``cost_currency`` says otherwise. ``fill``
        adds what it starts with, in the same transaction and in the new tenant's scope.

        Raises:
            InvalidInput: something given is not valid.
            SlugTaken, HostTaken: another tenant has it.
        """
        cost_currency = cost_currency or currency
        gather(
            lambda: values.valid_slug(slug),
            lambda: values.valid_name(name),
            lambda: valid_currency(currency),
            lambda: valid_currency(cost_currency, "cost_currency"),
            lambda: values.valid_timezone(timezone),
            lambda: values.valid_language(language),
        )
        tenant_id = new_id()
        row_values: dict[str, Any] = {
            "slug": values.valid_slug(slug),
            "name": values.valid_name(name),
            "currency": valid_currency(currency),
            "cost_currency": valid_currency(cost_currency, "cost_currency"),
            "timezone": values.valid_timezone(timezone),
            "language": values.valid_language(language),
            "hosts": list(values.valid_hosts(hosts)),
            "private_addresses": private_addresses,
        }
        async with self.store.operator() as conn:
            await _check_hosts(conn, tenant_id, row_values["hosts"])
            row = await repository.add(conn, id=tenant_id, **row_values)
            if row is None:
                raise SlugTaken()
            tenant = tenant_of(row, await repository.now(conn))
            async with within(conn, tenant_scope(tenant_id)):
                await audit.record(conn, tenant_id, actor, "tenant.created", target=("tenant", tenant_id), data={"slug": slug})
                if fill is not None:
                    await fill(conn, tenant)
        return tenant

    async def get(self, tenant_id: UUID) -> Tenant:
        """
        Raises:
            NotFound: there is no such tenant.
        """
        async with self.store.transaction(tenant_id) as conn:
            return await _existing(conn, tenant_id)

    async def list(
        self, *, search: str = "", status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Tenant]:
        """Every tenant of the installation, newest first; for the operator."""
        if status not in (None, "active", "suspended"):
            raise InvalidInput("The status is active or suspended", field="status")
        if not search.isprintable() or len(search) > 120:
            raise InvalidInput("That cannot be searched for", field="search")
        async with self.store.operator() as conn:
            rows, following = await repository.page(conn, search=search, status=status, cursor=cursor, limit=limit)
            moment = await repository.now(conn)
        return Page([tenant_of(row, moment) for row in rows], following)

    async def suspend(self, tenant_id: UUID, *, actor: Actor, reason: str = "") -> Tenant:
        """Stop a tenant: no turn is admitted from now on. Nothing is lost."""
        reason = lines(reason, field="reason", longest=500)
        return await self._set_status(tenant_id, "suspended", actor, {"reason": reason})

    async def resume(self, tenant_id: UUID, *, actor: Actor) -> Tenant:
        """Let a suspended tenant do business again."""
        return await self._set_status(tenant_id, "active", actor, {})

    async def _set_status(self, tenant_id: UUID, status: str, actor: Actor, data: dict[str, Any]) -> Tenant:
        async with self.store.operator() as conn:
            before = await _existing(conn, tenant_id, lock=True)
            if before.status == status:
                return before
            await repository.change(conn, tenant_id, status=status)
            async with within(conn, tenant_scope(tenant_id)):
                action = "tenant.suspended" if status == "suspended" else "tenant.resumed"
                await audit.record(conn, tenant_id, actor, action, target=("tenant", tenant_id), data=data)
            return await _existing(conn, tenant_id)

    async def allow_private_addresses(self, tenant_id: UUID, allowed: bool, *, actor: Actor) -> Tenant:
        """Let a tenant's connections lead to this machine and the networks behind it, or no longer; for the operator."""
        async with self.store.operator() as conn:
            before = await _existing(conn, tenant_id, lock=True)
            if before.private_addresses != allowed:
                await repository.change(conn, tenant_id, private_addresses=allowed)
                async with within(conn, tenant_scope(tenant_id)):
                    action = "tenant.private_addresses_allowed" if allowed else "tenant.private_addresses_forbidden"
                    await audit.record(conn, tenant_id, actor, action, target=("tenant", tenant_id), data={})
            return await _existing(conn, tenant_id)

    async def update(self, tenant_id: UUID, changes: TenantChanges, *, actor: Actor) -> Tenant:
        """Change a tenant's settings, in its own scope. A new time zone counts from the next local month.

        Raises:
            InvalidInput: something given is not valid.
            HostTaken: another tenant has one of the host names.
            CostCurrencyInUse: a limit or the daily stop counts costs in the currency there is.
            PricesLost: model prices would not count in another currency, and nobody said what is to become of them.
            NotFound: there is no such tenant.
        """
        plain = _plain_values(changes)
        async with self.store.transaction(tenant_id) as conn:
            if "hosts" in plain:
                await _check_hosts(conn, tenant_id, plain["hosts"])
            tenant = await _existing(conn, tenant_id, lock=True)
            if "currency" in plain and tenant.currency == tenant.cost_currency:
                plain.setdefault("cost_currency", plain["currency"])
            if plain.get("cost_currency", tenant.cost_currency) != tenant.cost_currency:
                await self._check_cost_unused(conn, tenant)
                if self._reprice is not None:
                    options: dict[str, Any] = {"rate": changes.rate, "drop": changes.drop_prices}
                    await self._reprice(conn, tenant, plain["cost_currency"], actor, **options)
            if changes.timezone is not None:
                plain |= await _timezone_values(conn, tenant, values.valid_timezone(changes.timezone))
            if changes.brand is not None:
                settings = tenant.settings.model_copy(update={"brand": valid_brand(changes.brand)})
                plain["settings"] = settings.model_dump(mode="json")
            if plain:
                await repository.change(conn, tenant_id, **plain)
                data = {"fields": sorted(plain)}
                await audit.record(conn, tenant_id, actor, "tenant.updated", target=("tenant", tenant_id), data=data)
            return await _existing(conn, tenant_id)

    async def _check_cost_unused(self, conn: AsyncConnection, tenant: Tenant) -> None:
        user = "the daily stop" if tenant.daily_cost_cap is not None else None
        for used_by in self._cost_in_use:
            user = user or await used_by(conn, tenant.id)
        if user is not None:
            raise CostCurrencyInUse(f"Model costs stay in {tenant.cost_currency}: {user} counts in it")


def valid_brand(brand: Brand | dict[str, Any]) -> Brand:
    """
    Raises:
        InvalidInput: names each field that is not valid.
    """
    try:
        return Brand.model_validate(brand.model_dump() if isinstance(brand, Brand) else brand)
    except ValidationError as error:
        found = [FieldError("#/brand/" + "/".join(map(str, one["loc"])), one["msg"]) for one in error.errors()]
        raise InvalidInput("The brand's settings are not valid", errors=found) from None


def tenant_of(row: repository.Row, moment: datetime) -> Tenant:
    """A row as a tenant, with the time zone that counts at ``moment``."""
    tenant = Tenant(
        id=row["id"],
        slug=row["slug"],
        name=row["name"],
        status=row["status"],
        timezone=row["timezone"],
        next_timezone=row["next_timezone"],
        next_timezone_from=row["next_timezone_from"],
        currency=row["currency"],
        cost_currency=row["cost_currency"],
        language=row["language"],
        hosts=tuple(row["hosts"]),
        daily_cost_cap=row["daily_cost_cap"],
        created_at=row["created_at"],
        settings=TenantSettings.model_validate(row["settings"]),
        private_addresses=row["private_addresses"],
    )
    zone = effective_timezone(tenant, moment)
    return tenant if zone == tenant.timezone else replace(tenant, timezone=zone, next_timezone=None, next_timezone_from=None)


def check_changes(changes: TenantChanges) -> None:
    """What can be said about changes without asking the database.

    Raises:
        InvalidInput: names each field.
    """
    checks: list[Callable[[], object]] = []

    def wanted(value: Any, check: Callable[[Any], object]) -> None:
        if value is not None and not isinstance(value, Unset):
            checks.append(lambda: check(value))

    wanted(changes.name, values.valid_name)
    wanted(changes.currency, valid_currency)
    wanted(changes.cost_currency, lambda code: valid_currency(code, "cost_currency"))
    wanted(changes.language, values.valid_language)
    wanted(changes.hosts, values.valid_hosts)
    wanted(changes.timezone, values.valid_timezone)
    wanted(changes.daily_cost_cap, values.valid_cost_cap)
    wanted(changes.brand, valid_brand)
    gather(*checks)


def _plain_values(changes: TenantChanges) -> dict[str, Any]:
    """The columns to write."""
    check_changes(changes)
    checked: dict[str, Any] = {}
    if changes.name is not None:
        checked["name"] = values.valid_name(changes.name)
    if changes.currency is not None:
        checked["currency"] = valid_currency(changes.currency)
    if changes.cost_currency is not None:
        checked["cost_currency"] = valid_currency(changes.cost_currency, "cost_currency")
    if changes.language is not None:
        checked["language"] = values.valid_language(changes.language)
    if changes.hosts is not None:
        checked["hosts"] = list(values.valid_hosts(changes.hosts))
    if not isinstance(changes.daily_cost_cap, Unset):
        checked["daily_cost_cap"] = values.valid_cost_cap(changes.daily_cost_cap)
    return checked


async def _timezone_values(conn: AsyncConnection, tenant: Tenant, wanted: str) -> dict[str, Any]:
    """``tenant`` carries the zone that counts now; a change that was waiting is replaced."""
    moment = await repository.now(conn)
    changed: dict[str, Any] = {"timezone": tenant.timezone, "next_timezone": None, "next_timezone_from": None}
    if moved := await repository.took_effect(conn, tenant.id):
        changed["former_zones"] = moved
    if wanted != tenant.timezone:
        # The later of the two beginnings: neither zone's month is cut short.
        start = max(next_month_in(tenant.timezone, moment), next_month_in(wanted, moment))
        changed |= {"next_timezone": wanted, "next_timezone_from": start}
    return changed


async def _check_hosts(conn: AsyncConnection, tenant_id: UUID, hosts: Sequence[str]) -> None:
    if hosts:
        await repository.lock_hosts(conn)
        if taken := await repository.taken_hosts(conn, tenant_id, hosts):
            raise HostTaken(f"{taken[0]} belongs to another tenant")


async def _existing(conn: AsyncConnection, tenant_id: UUID, *, lock: bool = False) -> Tenant:
    row = await repository.get(conn, tenant_id, lock=lock)
    if row is None:
        raise NotFound()
    return tenant_of(row, await repository.now(conn))
