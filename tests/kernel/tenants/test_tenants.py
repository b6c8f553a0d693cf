"""Tenants: made, found, suspended, changed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.plugin.money import exponent, valid_currency
from tollhouse.store.audit import CLI, SYSTEM
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.scope import OPERATOR, tenant_scope
from tollhouse.store.store import Store
from tollhouse.tenants import repository
from tollhouse.tenants.directory import NOBODY, TenantDirectory, info
from tollhouse.tenants.errors import CostCurrencyInUse, HostTaken, SlugTaken
from tollhouse.tenants.scoping import within
from tollhouse.tenants.service import TenantChanges, TenantService
from tollhouse.tenants.values import Brand, Tenant, effective_timezone, next_month_in, valid_hosts, valid_slug


def slug() -> str:
    return f"shop-{new_id().hex[-12:]}"


async def actions(store: Store, tenant_id: UUID) -> list[str]:
    async with store.transaction(tenant_id) as conn:
        return list((await conn.execute(select(audit.c.action).order_by(audit.c.id))).scalars())


# -- Made and found ----------------------------------------------------------------------------------------------------


async def test_a_tenant_is_made_with_what_it_starts_with_or_not_at_all(store: Store) -> None:
    service, name = TenantService(store), slug()

    async def fails(conn: AsyncConnection, tenant: Tenant) -> None:
        raise RuntimeError(tenant.slug)

    with pytest.raises(RuntimeError, match=name):
        await service.create(name, "Shop", actor=CLI, fill=fails)

    async def sees_itself_only(conn: AsyncConnection, tenant: Tenant) -> None:
        assert (await conn.execute(select(audit.c.tenant_id).distinct())).scalars().all() == [tenant.id]

    tenant = await service.create(name, " Shop ", currency="jpy", timezone="Asia/Tokyo", actor=CLI, fill=sees_itself_only)
    assert (tenant.slug, tenant.name, tenant.currency, tenant.active) == (name, "Shop", "JPY", True)
    assert await service.get(tenant.id) == tenant
    assert await actions(store, tenant.id) == ["tenant.created"]
    with pytest.raises(SlugTaken):
        await service.create(name, "Another shop", actor=CLI)


RESERVED = ["t", "api", "admin", "hooks", "v1", "static", "healthz"]
MALFORMED = ["", "a", "A", "Shop", "-a", "a-", "a--b", "a_b", "a/b", "x" * 41, "ab\n", "é1"]


@pytest.mark.parametrize("bad", RESERVED + MALFORMED)
def test_a_bad_short_name_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        valid_slug(bad)
    assert caught.value.errors[0].pointer == "#/slug"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": " "}),
        ("currency", {"currency": "EURO"}),
        ("cost_currency", {"cost_currency": "EURO"}),
        ("timezone", {"timezone": "Mars/Olympus"}),
        ("timezone", {"timezone": "../etc/passwd"}),
        ("language", {"language": "german!"}),
        ("hosts", {"hosts": ["http://x.test"]}),
    ],
)
async def test_bad_values_name_their_field(store: Store, field: str, values: dict[str, Any]) -> None:
    service, given_values = TenantService(store), {"name": "Shop", **values}
    with pytest.raises(InvalidInput) as caught:
        await service.create(slug(), actor=CLI, **given_values)
    assert caught.value.errors[0].pointer == f"#/{field}"


NOT_HOSTS = ["", "a b.test", "x.test:80", "x.test/", "127.0.0.1", "[::1]", "*.x.test", "-x.test", "x" * 64 + ".test", "a..b"]


@pytest.mark.parametrize("host", NOT_HOSTS)
def test_what_is_not_a_host_name_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput):
        valid_hosts([host])


def test_host_names_have_one_form() -> None:
    assert valid_hosts(["Agents.Example.TEST.", "agents.example.test", "müller.test"]) == (
        "agents.example.test",
        "xn--mller-kva.test",
    )


async def test_the_list_is_paged_and_searched(store: Store) -> None:
    service, mark = TenantService(store), new_id().hex[-12:]
    made = [await service.create(f"{mark}-{number}", "Shop", actor=CLI) for number in range(5)]
    await service.suspend(made[0].id, actor=CLI)
    first = await service.list(search=mark, limit=3)
    second = await service.list(search=mark, limit=3, cursor=first.next_cursor)
    assert [tenant.slug[-1] for tenant in (*first.items, *second.items)] == ["4", "3", "2", "1", "0"]
    assert second.next_cursor is None
    assert [tenant.id for tenant in (await service.list(search=mark, status="suspended")).items] == [made[0].id]
    with pytest.raises(InvalidInput):
        await service.list(status="gone")


async def test_the_directory_finds_by_slug_host_and_id(store: Store) -> None:
    host = f"{new_id().hex}.example.test"
    tenant = await TenantService(store).create(slug(), "Shop", hosts=[host], actor=CLI)
    directory = TenantDirectory(store)
    assert await directory.by_slug(tenant.slug) == tenant
    assert await directory.by_host(host.upper() + ".") == tenant
    assert await directory.by_id(tenant.id) == tenant
    for missing in (
        directory.by_slug("nobody"),
        directory.by_host("nobody.example.test"),
        directory.by_id(new_id()),
        directory.by_slug("a\x00b"),
        directory.by_host("\ud800"),
        directory.by_host(""),
    ):
        with pytest.raises(NotFound):
            await missing
    shown = info(tenant, "https://shop.test/")
    assert (shown.id, shown.slug, shown.base_url) == (tenant.id, tenant.slug, "https://shop.test")


async def test_what_the_directory_remembers_is_at_most_a_second_old(store: Store) -> None:
    now = 50.0
    service, directory, name = TenantService(store), TenantDirectory(store, clock=lambda: now), slug()
    with pytest.raises(NotFound):
        await directory.by_slug(name)
    tenant = await service.create(name, "Shop", actor=CLI)
    with pytest.raises(NotFound):
        await directory.by_slug(name)
    now += 1
    assert (await directory.by_slug(name)).active
    await service.suspend(tenant.id, actor=CLI)
    assert (await directory.by_slug(name)).active
    now += 1
    assert not (await directory.by_slug(name)).active
    await service.resume(tenant.id, actor=CLI)
    directory.forget()
    assert (await directory.by_slug(name)).active
    assert await actions(store, tenant.id) == ["tenant.created", "tenant.suspended", "tenant.resumed"]


# -- Changed -----------------------------------------------------------------------------------------------------------


async def test_what_is_not_given_stays(store: Store) -> None:
    service = TenantService(store)
    tenant = await service.create(slug(), "Shop", hosts=[f"{new_id().hex}.test"], actor=CLI)
    neighbour = await service.create(slug(), "Neighbour", actor=CLI)
    changes = TenantChanges(
        name="New", language="de", currency="usd", daily_cost_cap=5, brand={"accent": "#aabbcc", "radius": 4}
    )
    changed = await service.update(tenant.id, changes, actor=SYSTEM)
    assert (changed.name, changed.language, changed.currency, changed.daily_cost_cap) == ("New", "de", "USD", 5)
    assert (changed.slug, changed.hosts, changed.timezone) == (tenant.slug, tenant.hosts, tenant.timezone)
    assert changed.settings.brand == Brand(accent="#aabbcc", radius=4)
    assert await service.update(tenant.id, TenantChanges(), actor=SYSTEM) == changed
    assert (await service.update(tenant.id, TenantChanges(daily_cost_cap=None), actor=SYSTEM)).daily_cost_cap is None
    assert await service.get(neighbour.id) == neighbour
    assert await actions(store, tenant.id) == ["tenant.created", "tenant.updated", "tenant.updated"]


async def test_what_counts_costs_keeps_the_currency_in_which_it_counts(store: Store) -> None:
    counting: list[str] = []

    async def used_by(conn: AsyncConnection, tenant_id: UUID) -> str | None:
        return counting[0] if counting else None

    service = TenantService(store, cost_in_use=(used_by,))
    tenant = await service.create(slug(), "Shop", actor=CLI)
    assert tenant.cost_currency == "USD"
    tenant = await service.update(tenant.id, TenantChanges(cost_currency="eur", daily_cost_cap=5), actor=SYSTEM)
    assert (tenant.cost_currency, info(tenant, "").cost_currency) == ("EUR", "EUR")
    with pytest.raises(CostCurrencyInUse, match="stay in EUR: the daily stop counts in it"):
        await service.update(tenant.id, TenantChanges(name="New", cost_currency="USD"), actor=SYSTEM)
    counting.append("a limit of the plan Pro")
    tenant = await service.update(tenant.id, TenantChanges(cost_currency="EUR", daily_cost_cap=None), actor=SYSTEM)
    with pytest.raises(CostCurrencyInUse, match="a limit of the plan Pro counts in it"):
        await service.update(tenant.id, TenantChanges(cost_currency="USD"), actor=SYSTEM)
    assert await service.get(tenant.id) == tenant
    counting.clear()
    assert (await service.update(tenant.id, TenantChanges(cost_currency="USD"), actor=SYSTEM)).cost_currency == "USD"


async def test_settings_of_another_version_survive_a_change(store: Store, tenant_id: UUID) -> None:
    async with store.transaction(tenant_id) as conn:
        await repository.change(conn, tenant_id, settings={"later": {"x": 1}})
    await TenantService(store).update(tenant_id, TenantChanges(brand=Brand(tagline="Hello")), actor=SYSTEM)
    async with store.transaction(tenant_id) as conn:
        row = await repository.get(conn, tenant_id)
    assert row is not None
    assert row["settings"]["later"] == {"x": 1}
    assert row["settings"]["brand"]["tagline"] == "Hello"


BAD_BRANDS: list[dict[str, Any]] = [
    *({"accent": "red; }"}, {"radius": 99}, {"radius": "x"}),
    *({"unknown": 1}, {"logo_file_id": "x"}, {"tagline": "x" * 201}),
]


@pytest.mark.parametrize("brand", BAD_BRANDS)
async def test_a_bad_brand_changes_nothing(store: Store, tenant_id: UUID, brand: dict[str, Any]) -> None:
    service = TenantService(store)
    before = await service.get(tenant_id)
    with pytest.raises(InvalidInput) as caught:
        await service.update(tenant_id, TenantChanges(name="New", brand=brand), actor=SYSTEM)
    assert caught.value.errors[0].pointer == f"#/brand/{next(iter(brand))}"
    assert await service.get(tenant_id) == before


async def test_a_cap_that_makes_no_sense_is_refused(store: Store, tenant_id: UUID) -> None:
    for cap in (-1, 10**30):
        with pytest.raises(InvalidInput):
            await TenantService(store).update(tenant_id, TenantChanges(daily_cost_cap=cap), actor=SYSTEM)


async def test_a_host_name_belongs_to_one_tenant(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    service, host, free = TenantService(store), f"{new_id().hex}.test", f"{new_id().hex}.test"
    results = await asyncio.gather(
        *(service.update(one, TenantChanges(hosts=[host]), actor=SYSTEM) for one in (tenant_id, other_tenant_id)),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["HostTaken", "Tenant"]
    winner, loser = (tenant_id, other_tenant_id) if isinstance(results[0], Tenant) else (other_tenant_id, tenant_id)
    with pytest.raises(HostTaken):
        await service.update(loser, TenantChanges(hosts=[free, host.upper()]), actor=SYSTEM)
    with pytest.raises(HostTaken):
        await service.create(slug(), "Third", hosts=[host], actor=CLI)
    assert (await service.get(loser)).hosts == ()
    await service.update(winner, TenantChanges(hosts=[host, free]), actor=SYSTEM)
    await service.update(winner, TenantChanges(hosts=[]), actor=SYSTEM)
    assert (await service.update(loser, TenantChanges(hosts=[host]), actor=SYSTEM)).hosts == (host,)


async def test_unknown_tenants_are_not_there(store: Store) -> None:
    service = TenantService(store)
    for call in (
        service.get(new_id()),
        service.suspend(new_id(), actor=CLI),
        service.resume(new_id(), actor=CLI),
        service.update(new_id(), TenantChanges(name="x"), actor=SYSTEM),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_tenant_changes_neither_its_status_nor_another(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with store.transaction(tenant_id) as conn:
            await repository.change(conn, tenant_id, status="suspended")
    async with store.transaction(tenant_id) as conn:
        assert await repository.change(conn, other_tenant_id, name="Taken over") is None
    assert (await TenantService(store).get(other_tenant_id)).name == "Test tenant"


async def test_a_tenant_sees_no_other_tenant_not_even_by_sql(store: Store) -> None:
    service = TenantService(store)
    mine = await service.create(slug(), "Mine", hosts=[f"{new_id().hex}.test"], actor=CLI)
    theirs = await service.create(slug(), "Theirs", hosts=[f"{new_id().hex}.test"], actor=CLI)
    await service.update(theirs.id, TenantChanges(daily_cost_cap=7), actor=SYSTEM)
    async with store.transaction(mine.id) as conn:
        assert (await conn.execute(text("SELECT slug FROM tenants"))).scalars().all() == [mine.slug]
        assert (await conn.execute(text("SELECT daily_cost_cap FROM tenants WHERE slug = :s"), {"s": theirs.slug})).all() == []
        # What can be asked is whose a name is that one knows already, and nothing of its row.
        found = (await conn.execute(text("SELECT * FROM tenant_by_slug(:s) id"), {"s": theirs.slug})).mappings().all()
        assert [dict(row) for row in found] == [{"id": theirs.id}]
        assert (await conn.execute(text("SELECT tenant_by_host(:h)"), {"h": theirs.hosts[0]})).scalar() == theirs.id
    async with store.transaction(NOBODY) as conn:
        assert (await conn.execute(text("SELECT slug FROM tenants"))).all() == [], "and nobody sees nothing"


async def test_private_addresses_are_the_operators_to_allow(store: Store, other_tenant_id: UUID) -> None:
    service, directory = TenantService(store), TenantDirectory(store)
    tenant = await service.create(slug(), "Shop", actor=CLI)
    assert not tenant.private_addresses, "a new tenant has to ask"
    assert (await service.allow_private_addresses(tenant.id, True, actor=CLI)).private_addresses
    await service.allow_private_addresses(tenant.id, True, actor=CLI)
    found = await directory.by_id(tenant.id)
    assert info(found, "http://t.test").private_addresses
    assert (await service.update(tenant.id, TenantChanges(name="Renamed"), actor=SYSTEM)).private_addresses
    assert not (await service.get(other_tenant_id)).private_addresses
    with pytest.raises(DBAPIError, match="permission denied"):
        async with store.transaction(other_tenant_id) as conn:
            await repository.change(conn, other_tenant_id, private_addresses=True)
    assert not (await service.allow_private_addresses(tenant.id, False, actor=CLI)).private_addresses
    assert await actions(store, tenant.id) == [
        "tenant.created",
        "tenant.private_addresses_allowed",
        "tenant.updated",
        "tenant.private_addresses_forbidden",
    ]
    with pytest.raises(NotFound):
        await service.allow_private_addresses(new_id(), True, actor=CLI)


# -- Time zones --------------------------------------------------------------------------------------------------------


async def test_a_new_time_zone_counts_from_the_next_local_month(store: Store, tenant_id: UUID) -> None:
    service = TenantService(store)
    store.at(datetime(2026, 3, 15, 12, tzinfo=UTC))
    changed = await service.update(tenant_id, TenantChanges(timezone="America/New_York"), actor=SYSTEM)
    start = datetime(2026, 4, 1, 4, tzinfo=UTC)
    assert (changed.timezone, changed.next_timezone, changed.next_timezone_from) == ("UTC", "America/New_York", start)
    assert effective_timezone(changed, start - timedelta(microseconds=1)) == "UTC"
    assert effective_timezone(changed, start) == "America/New_York"
    taken_back = await service.update(tenant_id, TenantChanges(timezone="UTC"), actor=SYSTEM)
    assert (taken_back.timezone, taken_back.next_timezone, taken_back.next_timezone_from) == ("UTC", None, None)

    await service.update(tenant_id, TenantChanges(timezone="Asia/Tokyo"), actor=SYSTEM)
    store.at(datetime(2026, 4, 2, tzinfo=UTC))
    assert (await service.get(tenant_id)).timezone == "Asia/Tokyo"
    assert (await TenantDirectory(store).by_id(tenant_id)).timezone == "Asia/Tokyo"
    again = await service.update(tenant_id, TenantChanges(timezone="Europe/Berlin"), actor=SYSTEM)
    assert (again.timezone, again.next_timezone) == ("Asia/Tokyo", "Europe/Berlin")
    assert again.next_timezone_from == datetime(2026, 4, 30, 22, tzinfo=UTC)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
    st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Africa/Cairo"]),
)
def test_the_next_month_begins_after_now_at_local_midnight(moment: datetime, zone: str) -> None:
    start = next_month_in(zone, moment)
    local, here = start.astimezone(ZoneInfo(zone)), moment.astimezone(ZoneInfo(zone))
    assert start > moment
    assert (local.year * 12 + local.month) - (here.year * 12 + here.month) == 1
    assert local.day == 1
    assert local.hour <= 1  # where clocks are put forward at midnight, the month begins at one


# -- Scopes and money --------------------------------------------------------------------------------------------------


async def test_a_transaction_changes_its_scope_and_comes_back(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    async def who(conn: AsyncConnection) -> tuple[Any, ...]:
        return tuple((await conn.execute(text("SELECT current_user::text, current_setting('app.tenant', true)"))).one())

    async with store.transaction(tenant_id) as conn:
        async with within(conn, OPERATOR):
            assert await who(conn) == ("tollhouse_operator", "")
            async with within(conn, tenant_scope(other_tenant_id)):
                assert await who(conn) == ("tollhouse_app", str(other_tenant_id))
            assert await who(conn) == ("tollhouse_operator", "")
        assert await who(conn) == ("tollhouse_app", str(tenant_id))
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with store.operator() as conn, within(conn, tenant_scope(tenant_id)):
            await repository.add(conn, id=new_id(), slug=slug(), name="x")


@pytest.mark.parametrize(("currency", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("XTR", 0), ("UYW", 4), ("XCG", 2)])
def test_each_currency_has_its_own_digits(currency: str, digits: int) -> None:
    assert exponent(currency) == digits


def test_what_is_not_a_currency_is_refused() -> None:
    for code in ("", "EURO", "XXX"):
        with pytest.raises(InvalidInput):
            valid_currency(code)
    assert valid_currency(" eur ") == "EUR"
