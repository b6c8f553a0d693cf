"""Prices: integers only, the tenant's before the suggested, unknown is None, and nobody sees another tenant's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tollhouse.auth.models import users
from tollhouse.host.caller import Caller
from tollhouse.plugin import InvalidInput, ModelPrice, Principal, TenantInfo, TokenUsage
from tollhouse.store.audit import SYSTEM
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.store import Store
from tollhouse.tenants.service import TenantChanges, TenantService
from tollhouse.usage import price_repository as rows
from tollhouse.usage import prices
from tollhouse.usage.prices import Price, PriceBook, PriceExists, cost_nano

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SUGGESTED = [
    ("openai", ModelPrice("gpt-small", 150_000_000, 600_000_000, 75_000_000)),
    ("openai", ModelPrice("gpt-large", 2_500_000_000, 10_000_000_000)),
    ("demo", ModelPrice("echo", 0, 0)),
]


class Suggestions:
    """Counts how often it is asked."""

    asked = 0

    def __call__(self) -> Iterable[tuple[str, ModelPrice]]:
        self.asked += 1
        return iter(SUGGESTED)


async def staff(store: Store, tenant_id: UUID) -> Caller:
    user_id = new_id()
    async with store.transaction(tenant_id) as conn:
        await conn.execute(users.insert().values(tenant_id=tenant_id, id=user_id, email=f"{user_id}@example.test"))
    tenant = TenantInfo(tenant_id, "acme", "Acme", "UTC", "EUR", "en", "https://acme.example")
    return Caller(tenant, Principal(tenant_id, user_id, "password", "web", role="admin"))


amounts = st.one_of(st.integers(0, 10), st.integers(0, 10**15))
tokens = st.integers(0, 10**9)


@settings(max_examples=500, deadline=None)
@given(amounts, amounts, st.none() | amounts, tokens, tokens, st.none() | tokens)
def test_a_cost_is_what_exact_arithmetic_says(
    into: int, out: int, cached_price: int | None, used_in: int, used_out: int, cached: int | None
) -> None:
    price = Price(into, out, cached_price, "USD", "tenant")
    kept = min(cached or 0, used_in)
    exact = Decimal(used_in - kept) * into + Decimal(kept) * (into if cached_price is None else cached_price)
    exact = (exact + Decimal(used_out) * out) / 1_000_000
    expected = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
    assert cost_nano(price, TokenUsage(used_in, used_out, cached)) == expected


@pytest.mark.parametrize(("million", "cost"), [(499_999, 0), (500_000, 1), (1_499_999, 1), (1_500_000, 2)])
def test_half_a_nano_unit_is_rounded_up(million: int, cost: int) -> None:
    assert cost_nano(Price(million, 0, None, "USD", "x"), TokenUsage(1, 0)) == cost


@pytest.mark.parametrize("usage", [TokenUsage(None, 1), TokenUsage(1, None), TokenUsage(-1, 1), TokenUsage(1, 1, -1)])
def test_an_unknown_count_is_never_taken_for_zero(usage: TokenUsage) -> None:
    with pytest.raises(ValueError):
        cost_nano(Price(1, 1, None, "USD", "x"), usage)


async def test_the_tenants_price_wins_over_the_suggestion_and_only_there(
    store: Store, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    store.at(NOW)
    ask = Suggestions()
    book, admin = PriceBook(store, ask), await staff(store, tenant_id)
    assert await book.get(tenant_id, "openai", "gpt-small") == Price(150_000_000, 600_000_000, 75_000_000, "USD", "openai")
    assert await book.get(tenant_id, "openai", "unheard-of") is None
    assert (await book.get(tenant_id, "demo", "echo")).input_per_million == 0  # type: ignore[union-attr]
    mine = await book.set_price(admin, "openai", "gpt-small", input_per_million=1, output_per_million=2)
    assert await book.get(tenant_id, "openai", "gpt-small") == mine
    assert await book.get(tenant_id, "openai", "gpt-small") == mine
    assert (await book.get(other_tenant_id, "openai", "gpt-small")).source == "openai"  # type: ignore[union-attr]
    assert [change.created_by for change in await book.history(tenant_id, "openai", "gpt-small")] == [admin.user.user_id]
    assert await book.history(other_tenant_id, "openai", "gpt-small") == []
    assert ask.asked == 1
    async with store.transaction(tenant_id) as conn:
        statement = select(func.count()).where(audit.c.tenant_id == tenant_id, audit.c.action == "price.set")
        assert (await conn.execute(statement)).scalar() == 1


async def test_a_price_is_in_force_from_its_moment_and_the_past_keeps_its_own(store: Store, tenant_id: UUID) -> None:
    store.at(NOW)
    book, admin = PriceBook(store, Suggestions()), await staff(store, tenant_id)
    await book.set_price(admin, "x", "m", input_per_million=1, output_per_million=1)
    later = NOW + timedelta(days=1)
    await book.set_price(admin, "x", "m", input_per_million=2, output_per_million=2, valid_from=later)
    assert (await book.get(tenant_id, "x", "m")).input_per_million == 1  # type: ignore[union-attr]
    assert (await book.get(tenant_id, "x", "m", later)).input_per_million == 2  # type: ignore[union-attr]
    assert await book.get(tenant_id, "x", "m", NOW - timedelta(seconds=1)) is None
    with pytest.raises(PriceExists):
        await book.set_price(admin, "x", "m", input_per_million=3, output_per_million=3)
    with pytest.raises(InvalidInput):
        await book.set_price(admin, "x", "m", input_per_million=3, output_per_million=3, valid_from=NOW - timedelta(days=1))


async def test_another_process_sees_a_change_within_seconds(
    store: Store, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.at(NOW)
    mine, theirs, admin = PriceBook(store, Suggestions()), PriceBook(store, Suggestions()), await staff(store, tenant_id)
    assert await theirs.get(tenant_id, "x", "m") is None
    await mine.set_price(admin, "x", "m", input_per_million=1, output_per_million=1)
    assert await theirs.get(tenant_id, "x", "m") is None
    monkeypatch.setattr(prices, "FRESH_SECONDS", -1.0)
    assert (await theirs.get(tenant_id, "x", "m")).input_per_million == 1  # type: ignore[union-attr]
    store.at(NOW + timedelta(days=1))
    await mine.set_price(admin, "x", "m", input_per_million=5, output_per_million=5)
    assert (await theirs.get(tenant_id, "x", "m")).input_per_million == 5  # type: ignore[union-attr]


async def test_nobody_waits_for_another_tenants_prices(
    store: Store, tenant_id: UUID, other_tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, admin = PriceBook(store, Suggestions()), await staff(store, tenant_id)
    await book.ready(tenant_id)
    monkeypatch.setattr(prices, "FRESH_SECONDS", -1.0)
    gate, reading, all_prices = asyncio.Event(), asyncio.Event(), rows.all_prices

    async def slow(conn: Any, asked: UUID) -> Any:
        found = await all_prices(conn, asked)
        if asked == tenant_id and not gate.is_set():
            reading.set()
            await gate.wait()
        return found

    monkeypatch.setattr(rows, "all_prices", slow)
    book._tenants[tenant_id].revision = -1  # somebody else has set a price
    async with asyncio.timeout(10):
        waiting = [asyncio.create_task(book.get(tenant_id, "x", "m")) for _ in range(2)]
        await reading.wait()
        await book.ready(other_tenant_id)
        mine = await book.set_price(admin, "x", "m", input_per_million=1, output_per_million=1)
        gate.set()
        assert await asyncio.gather(*waiting) == [None, None], "they had read before it was set"
    monkeypatch.setattr(prices, "FRESH_SECONDS", 60.0)
    assert await book.get(tenant_id, "x", "m") == mine, "what they had read is not believed any more"


async def test_the_catalogue_is_searched_and_paged(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    store.at(NOW)
    book, admin = PriceBook(store, Suggestions()), await staff(store, tenant_id)
    await book.set_price(admin, "openai", "my-own", input_per_million=1, output_per_million=1)
    seen, cursor = [], None
    while True:
        page = await book.catalogue(tenant_id, cursor=cursor, limit=1)
        seen += [(entry.backend, entry.model) for entry in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [("demo", "echo"), ("openai", "gpt-large"), ("openai", "gpt-small"), ("openai", "my-own")]
    found = await book.catalogue(tenant_id, search="OPENAI gpt")
    assert [entry.model for entry in found.items] == ["gpt-large", "gpt-small"]
    assert "my-own" not in [entry.model for entry in (await book.catalogue(other_tenant_id)).items]
    with pytest.raises(InvalidInput):
        await book.catalogue(tenant_id, cursor="!")


async def test_costs_are_counted_in_one_currency(
    store: Store, tenant_id: UUID, other_tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A price in another currency is as good as none, for a limit must not add dollars to euros; 0 is 0 in all of them."""
    store.at(NOW)
    monkeypatch.setattr(prices, "FRESH_SECONDS", -1.0)
    book, admin, tenants = PriceBook(store, Suggestions()), await staff(store, tenant_id), TenantService(store)
    dollars = await book.set_price(admin, "openai", "gpt-small", input_per_million=1, output_per_million=1)
    store.at(NOW + timedelta(days=1))
    await tenants.update(tenant_id, TenantChanges(cost_currency="EUR"), actor=SYSTEM)
    assert await book.get(tenant_id, "openai", "gpt-small") is None
    assert await book.get(tenant_id, "openai", "gpt-large") is None
    assert await book.get(tenant_id, "demo", "echo") == Price(0, 0, None, "EUR", "demo")
    assert await book.get(other_tenant_id, "openai", "gpt-small") == Price(
        150_000_000, 600_000_000, 75_000_000, "USD", "openai"
    )
    unpriced = (await book.catalogue(tenant_id, search="gpt-large")).items[0]
    assert (unpriced.price, unpriced.suggestion and unpriced.suggestion.currency) == (None, "USD")
    with pytest.raises(InvalidInput, match="counted in EUR"):
        await book.set_price(admin, "openai", "gpt-small", input_per_million=2, output_per_million=2, currency="USD")
    euros = await book.set_price(admin, "openai", "gpt-small", input_per_million=2, output_per_million=2)
    assert (euros.currency, await book.get(tenant_id, "openai", "gpt-small")) == ("EUR", euros)
    await tenants.update(tenant_id, TenantChanges(cost_currency="USD"), actor=SYSTEM)
    assert await book.get(tenant_id, "openai", "gpt-small") == dollars
    changes = await book.history(tenant_id, "openai", "gpt-small")
    assert [change.price.currency for change in changes] == ["EUR", "USD"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"input_per_million": -1}, "#/input_per_million"),
        ({"cached_per_million": 10**16}, "#/cached_per_million"),
        ({"currency": "EUR"}, "#/currency"),
        ({"currency": "ZZZ"}, "#/currency"),
        ({"model": ""}, "#/model"),
    ],
)
async def test_an_unacceptable_price_is_refused_by_field(
    store: Store, tenant_id: UUID, change: dict[str, object], pointer: str
) -> None:
    values = {"backend": "x", "model": "m", "input_per_million": 1, "output_per_million": 1, **change}
    with pytest.raises(InvalidInput) as refused:
        await PriceBook(store, Suggestions()).set_price(await staff(store, tenant_id), **values)  # type: ignore[arg-type]
    assert [error.pointer for error in refused.value.errors] == [pointer]
