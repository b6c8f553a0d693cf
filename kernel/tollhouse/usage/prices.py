"""What models cost: the tenant's own prices, else what backends suggest, else unknown, which is an alarm and never 0.

Prices are integers in nano-units of their currency per million tokens. The tenant's rows are only ever added: a price is in
force from its ``valid_from`` until a newer one is. A tenant counts costs in one currency: a price in another is not in force,
unless it is 0, so nothing that is counted ever mixes two.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from tollhouse.plugin.errors import Conflict, FieldError, InvalidInput
from tollhouse.plugin.llm import ModelPrice
from tollhouse.plugin.money import valid_currency
from tollhouse.plugin.ports import Page
from tollhouse.records import record
from tollhouse.store import audit
from tollhouse.store.ids import new_id
from tollhouse.store.text import UNSHOWN
from tollhouse.usage import price_repository as rows

if TYPE_CHECKING:
    from tollhouse.host.caller import Caller
    from tollhouse.store.store import Store

FRESH_SECONDS = 1.0
CACHED_TENANTS = 2048
MAX_PRICE = 10**15  # a million units for a million tokens: beyond it is a slip of the keyboard
MILLION = 1_000_000
NANO = 10**9
MAX_RATE = 10**15


@record(frozen=True, slots=True)
class Price:
    """A price in force. ``id`` is the tenant's row, None for a suggestion; ``source``: ``tenant`` or the backend's name."""

    input_per_million: int
    output_per_million: int
    cached_per_million: int | None
    currency: str
    source: str
    id: UUID | None = None

    @property
    def free(self) -> bool:
        """Whether any number of tokens costs nothing."""
        return not (self.input_per_million or self.output_per_million or self.cached_per_million)

    def counted_in(self, currency: str) -> Price | None:
        """The same for costs in ``currency``; None if it is in another one. What costs nothing does so in every currency."""
        if self.currency == currency:
            return self
        return replace(self, currency=currency) if self.free else None

    @classmethod
    def of(cls, snapshot: Mapping[str, Any] | None) -> Price | None:
        """The price that :meth:`snapshot` was made of."""
        return None if snapshot is None else cls(**{**snapshot, "id": UUID(snapshot["id"]) if snapshot["id"] else None})

    def snapshot(self) -> dict[str, Any]:
        """As a ledger entry keeps it."""
        return {
            "input_per_million": self.input_per_million,
            "output_per_million": self.output_per_million,
            "cached_per_million": self.cached_per_million,
            "currency": self.currency,
            "source": self.source,
            "id": str(self.id) if self.id else None,
        }


class Tokens(Protocol):
    """What :func:`cost_nano` reads; a :class:`tollhouse.plugin.llm.TokenUsage` is one."""

    @property
    def input(self) -> int | None: ...
    @property
    def output(self) -> int | None: ...
    @property
    def cached(self) -> int | None: ...


def cost_nano(price: Price, usage: Tokens) -> int:
    """The cost in nano-units, rounded half up. ``cached`` tokens are part of the input and have a price of their own.

    Raises:
        ValueError: input or output is unknown or negative: who does not know estimates first, and says so in the entry.
    """
    if usage.input is None or usage.output is None or min(usage.input, usage.output, usage.cached or 0) < 0:
        raise ValueError("a cost needs known token counts that are not negative")
    cached = min(usage.cached or 0, usage.input)
    cached_price = price.input_per_million if price.cached_per_million is None else price.cached_per_million
    total = (usage.input - cached) * price.input_per_million + cached * cached_price + usage.output * price.output_per_million
    return (2 * total + MILLION) // (2 * MILLION)


class PriceExists(Conflict):
    """Two prices of one model cannot begin at the same moment."""

    code = "price_exists"
    title = "This model has a price from this very moment already"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model of the catalogue: the price in force, what its backend suggests, and who set the tenant's price and when.

    ``price`` is None where the suggestion is in another currency than the tenant counts costs in.
    """

    backend: str
    model: str
    price: Price | None
    suggestion: Price | None = None
    valid_from: datetime | None = None
    created_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class PriceChange:
    """One row of a model's history. ``converted``: the amounts, currency and rate that it was made of, if it was converted."""

    price: Price
    valid_from: datetime
    created_by: UUID | None
    created_by_email: str | None
    converted: Mapping[str, Any] | None = None


@dataclass(slots=True)
class TenantPrices:
    """The prices of one tenant as they were at one moment."""

    revision: int
    currency: str
    checked: float
    now: datetime
    # Each model's rows that are counted in that currency, oldest first.
    models: dict[tuple[str, str], list[tuple[Price, rows.Row]]] = field(default_factory=dict)
    suggested: Mapping[tuple[str, str], Price] = field(default_factory=dict)

    def price(self, backend: str, model: str, at: datetime | None = None) -> Price | None:
        """The price in force (or the one of ``at``); None if it is unknown."""
        own = self.own_at((backend, model), at or self.now)
        if own is not None:
            return own[0]
        suggested = self.suggested.get((backend, model))
        return None if suggested is None else suggested.counted_in(self.currency)

    def own_at(self, key: tuple[str, str], at: datetime) -> tuple[Price, rows.Row] | None:
        own = self.models.get(key)
        if not own:
            return None
        found = bisect_right(own, at, key=lambda one: one[1]["valid_from"])
        return own[found - 1] if found else None


def price_of(row: rows.Row) -> Price:
    amounts = (row["input_per_million"], row["output_per_million"], row["cached_per_million"])
    return Price(*amounts, row["currency"], row["source"], row["id"])


class PriceBook:
    """Prices by tenant, backend and model.

    Their revision comes with the facts of every admission, so a change is in force with the next turn in every process. Who has
    no facts (a page) sees it within a second, and this process at once.
    """

    def __init__(self, store: Store, suggestions: Callable[[], Iterable[tuple[str, ModelPrice]]]) -> None:
        """``suggestions`` gives (backend, price) pairs; called once, when a price is first asked for, off the event loop."""
        self.store = store
        self._suggest = suggestions
        self._suggested: dict[tuple[str, str], Price] | None = None
        self._tenants: OrderedDict[UUID, TenantPrices] = OrderedDict()
        self._suggesting = asyncio.Lock()
        self._loading: dict[UUID, asyncio.Task[TenantPrices]] = {}

    async def get(self, tenant_id: UUID, backend: str, model: str, at: datetime | None = None) -> Price | None:
        """The price in force (or the one of ``at``); None if it is unknown: raise an alarm, never count 0."""
        return (await self.ready(tenant_id)).price(backend, model, at)

    def at_hand(self, tenant_id: UUID) -> TenantPrices | None:
        """What this process knows of them, of whatever revision; nothing is asked for."""
        return self._tenants.get(tenant_id)

    async def ready(self, tenant_id: UUID) -> TenantPrices:
        """All of them. To be awaited before a transaction that locks something: whoever waits for a connection while holding
        locks holds up everybody else."""
        known = self._tenants.get(tenant_id)
        if known is not None and time.monotonic() - known.checked <= FRESH_SECONDS:
            return known
        return await self._read(tenant_id)

    async def of(self, tenant_id: UUID, revision: int, currency: str) -> TenantPrices:
        """The same, not older than this revision."""
        known = self.at_hand(tenant_id)
        if known is not None and known.revision >= revision and known.currency == currency:
            return known
        self.forget(tenant_id)  # and what somebody began to read before
        return await self._read(tenant_id)

    def forget(self, tenant_id: UUID) -> None:
        """Believe nothing any more that was read of this tenant, or is being read."""
        self._tenants.pop(tenant_id, None)
        self._loading.pop(tenant_id, None)

    async def _read(self, tenant_id: UUID) -> TenantPrices:
        # Those who come meanwhile wait for the same answer instead of all asking; other tenants do not.
        loading = self._loading.get(tenant_id)
        if loading is None:
            loading = self._loading[tenant_id] = asyncio.create_task(self._load(tenant_id, self._tenants.get(tenant_id)))
            loading.add_done_callback(partial(self._loaded, tenant_id))
        return await asyncio.shield(loading)

    def _loaded(self, tenant_id: UUID, loading: asyncio.Task[TenantPrices]) -> None:
        if self._loading.get(tenant_id) is loading:
            del self._loading[tenant_id]
        if not loading.cancelled():
            loading.exception()  # raised for whoever still waits

    def _read_suggestions(self) -> dict[tuple[str, str], Price]:
        return {
            (backend, one.model): Price(
                one.input_per_million, one.output_per_million, one.cached_per_million, one.currency, backend
            )
            for backend, one in self._suggest()
        }

    async def suggestions(self) -> Mapping[tuple[str, str], Price]:
        """What backends suggest."""
        async with self._suggesting:
            if self._suggested is None:
                self._suggested = await asyncio.to_thread(self._read_suggestions)
        return self._suggested

    async def _load(self, tenant_id: UUID, known: TenantPrices | None) -> TenantPrices:
        checked, suggested = time.monotonic(), await self.suggestions()
        async with self.store.transaction(tenant_id) as conn:
            now = await rows.now(conn)
            revision, currency = await rows.revision(conn, tenant_id)
            if known is not None and (known.revision, known.currency) == (revision, currency):
                known.checked, known.now = checked, now
                return known
            loaded = TenantPrices(revision, currency, checked, now, suggested=suggested)
            for row in await rows.all_prices(conn, tenant_id):
                if (price := price_of(row).counted_in(currency)) is not None:
                    loaded.models.setdefault((row["backend"], row["model"]), []).append((price, row))
        if self._loading.get(tenant_id) is not asyncio.current_task():
            return loaded  # a price was set meanwhile: what was read may be old
        self._tenants[tenant_id] = loaded
        self._tenants.move_to_end(tenant_id)
        while len(self._tenants) > CACHED_TENANTS:
            self._tenants.popitem(last=False)
        return loaded

    # -- the catalogue ----------------------------------------------------------------------------------------------------

    async def set_price(
        self,
        caller: Caller,
        backend: str,
        model: str,
        *,
        input_per_million: int,
        output_per_million: int,
        cached_per_million: int | None = None,
        currency: str | None = None,
        rate: int | None = None,
        valid_from: datetime | None = None,
    ) -> Price:
        """Set the tenant's own price, from now or from ``valid_from``; what was charged before keeps its price.

        ``currency`` is the one in which the tenant counts costs. An amount in another one is converted once, now, by ``rate``:
        what one unit of it is, in nano-units of the tenant's; what was given is kept beside.

        Raises:
            InvalidInput: an amount, the currency, the names or the moment is not acceptable.
            Conflict: ``price_exists``: this model has a price from the same moment.
        """
        amounts: dict[str, Any] = {
            "input_per_million": input_per_million,
            "output_per_million": output_per_million,
            "cached_per_million": cached_per_million,
        }
        check_price(backend, model, amounts)
        price_id, tenant_id = new_id(), caller.tenant.id
        try:
            async with self.store.transaction(tenant_id) as conn:
                now, (_, counted) = await rows.now(conn), await rows.revision(conn, tenant_id)
                converted = None
                if currency is not None and currency != counted:
                    amounts, converted = convert(amounts, valid_currency(currency), counted, rate)
                    check_price(backend, model, amounts)
                begins = _beginning(valid_from, now)
                data = {"backend": backend, "model": model, **amounts, "currency": counted, "valid_from": begins}
                if converted is not None:
                    data["converted"] = converted
                user_id = caller.principal.user_id if caller.principal and not caller.principal.operator else None
                row = {**data, "id": price_id, "source": "tenant", "created_by": user_id}
                await rows.insert_price(conn, tenant_id, row)
                await rows.settle_alarm(conn, tenant_id, f"{backend}/{model}")
                await audit.record(conn, tenant_id, caller.actor, "price.set", target=("price", price_id), data=data)
        except IntegrityError as error:
            if "uq_prices" not in str(error.orig):
                raise
            raise PriceExists() from None
        self.forget(tenant_id)
        return Price(**amounts, currency=counted, source="tenant", id=price_id)

    async def catalogue(
        self, tenant_id: UUID, *, search: str = "", cursor: str | None = None, limit: int = 50
    ) -> Page[CatalogueEntry]:
        """Every known price in the order of backend and model, the tenant's merged with what backends suggest."""
        known = await self.ready(tenant_id)
        assert self._suggested is not None
        words = search.lower().split()
        after = _decode(cursor)
        limit = max(1, min(limit, 200))
        keys = sorted(
            key
            for key in known.models.keys() | self._suggested.keys()
            if key > after and all(word in f"{key[0]} {key[1]}".lower() for word in words)
        )
        items = [entry for key in keys if (entry := self._entry(known, key)) is not None]
        page = items[:limit]
        more = len(items) > limit
        return Page(page, _encode(page[-1]) if more else None)

    def _entry(self, known: TenantPrices, key: tuple[str, str]) -> CatalogueEntry | None:
        assert self._suggested is not None
        suggestion = self._suggested.get(key)
        own = known.own_at(key, known.now)
        if own is not None:
            return CatalogueEntry(*key, own[0], suggestion, own[1]["valid_from"], own[1]["created_by"])
        return None if suggestion is None else CatalogueEntry(*key, suggestion.counted_in(known.currency), suggestion)

    async def history(self, tenant_id: UUID, backend: str, model: str) -> list[PriceChange]:
        """Every price the tenant set for a model, newest first, those to come included."""
        async with self.store.transaction(tenant_id) as conn:
            found = await rows.history(conn, tenant_id, backend, model)
        names = ("valid_from", "created_by", "created_by_email", "converted")
        return [PriceChange(price_of(row), *(row[name] for name in names)) for row in found]


def convert(
    amounts: Mapping[str, int | None], currency: str, counted: str, rate: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``amounts`` of ``currency`` in the one that is counted, rounded half up; and what they were made of, to be kept.

    Raises:
        InvalidInput: there is no rate, or one that is none.
    """
    if rate is None or not 0 < rate <= MAX_RATE:
        detail = f"Model costs are counted in {counted} here: say at which rate, what 1 {currency} is in {counted}."
        raise InvalidInput(detail, field="currency" if rate is None else "rate")
    made = {name: None if amount is None else (2 * amount * rate + NANO) // (2 * NANO) for name, amount in amounts.items()}
    return made, {"currency": currency, "rate": rate, **amounts}


def _beginning(valid_from: datetime | None, now: datetime) -> datetime:
    if valid_from is not None and valid_from.tzinfo is None:
        raise InvalidInput("Say the offset too, as in 2027-01-01T00:00:00Z.", field="valid_from")
    if valid_from is not None and valid_from < now:
        raise InvalidInput("A price cannot begin in the past.", field="valid_from")
    return valid_from or now


def check_price(backend: str, model: str, amounts: Mapping[str, int | None]) -> None:
    """What can be said about a price without asking the database.

    Raises:
        InvalidInput: names each field.
    """
    errors = [
        FieldError(f"#/{name}", f"An amount between 0 and {MAX_PRICE:,} nano-units, please.")
        for name, amount in amounts.items()
        if amount is not None and not 0 <= amount <= MAX_PRICE
    ]
    errors += [
        FieldError(f"#/{name}", "A name of 1 to 200 characters, please.")
        for name, value in (("backend", backend), ("model", model))
        if not 1 <= len(value) <= 200 or UNSHOWN.search(value)
    ]
    if errors:
        raise InvalidInput("This price is not acceptable.", errors=errors)


def _encode(entry: CatalogueEntry) -> str:
    return base64.urlsafe_b64encode(f"{entry.backend}\x00{entry.model}".encode()).rstrip(b"=").decode()


def _decode(cursor: str | None) -> tuple[str, str]:
    if not cursor:
        return ("", "")
    try:
        backend, model = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("\x00")
    except (ValueError, binascii.Error):
        raise InvalidInput("The cursor is not one that this list gave out.", field="cursor") from None
    return backend, model
