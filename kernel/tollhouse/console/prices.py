"""Model prices: what the tenant pays, so that cost and margin are right."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.console.format import NANO, decimal
from tollhouse.console.forms import Form
from tollhouse.console.parts import Row
from tollhouse.plugin.errors import Conflict, InvalidInput
from tollhouse.usage.prices import MAX_PRICE, check_price

area = Area()
LABELS: Final = {
    "backend": "Plugin",
    "model": "Model",
    "input_per_million": "Input",
    "cached_per_million": "Cached input",
    "output_per_million": "Output",
    "rate": "Rate",
}
AMOUNTS = ("input_per_million", "output_per_million", "cached_per_million")


@area.get("/prices")
async def index(desk: Desk) -> Response:
    """The catalogue: own prices before what backends suggest."""
    search = desk.query("search")[:200]
    found = await desk.parts.prices.catalogue(desk.tenant.id, search=search, cursor=desk.query("cursor") or None)
    more = desk.more("/prices", found.next_cursor, search=search)
    values: dict[str, Any] = {"entries": found.items, "search": search, "unknown": await _unknown(desk)}
    values["plugins"] = _plugins(desk)
    return desk.page("prices.html", section="prices", more=more, **values)


@area.get("/prices/set", "manage")
async def edit(desk: Desk) -> Response:
    """The form of a price, and its history."""
    backend, model = desk.query("backend"), desk.query("model")
    form = Form.of(backend=backend, model=model)
    price = await desk.parts.prices.get(desk.tenant.id, backend, model)
    if price is None:
        price = (await desk.parts.prices.suggestions()).get((backend, model))
    if price is not None:
        form.fill({"currency": price.currency, **{name: decimal(getattr(price, name), NANO) for name in AMOUNTS}})
    return await _form(desk, form)


@area.post("/prices")
async def save(desk: Desk) -> Response:
    """Set it, from now on."""
    form = await desk.form()
    amounts, rate = _amounts(form), form.amount("rate", NANO)
    backend, model = form.text("backend"), form.text("model")
    try:
        form.weigh(lambda: check_price(backend, model, {}))
        form.check()
        await desk.parts.prices.set_price(
            desk.caller,
            backend,
            model,
            input_per_million=amounts["input_per_million"] or 0,
            output_per_million=amounts["output_per_million"] or 0,
            cached_per_million=amounts["cached_per_million"],
            currency=form.optional("currency"),
            rate=rate,
        )
    except (InvalidInput, Conflict) as error:
        return await _form(desk, form.failed(error, names={"currency": "rate"}))
    return desk.done("/prices", "price")


def _amounts(form: Form) -> dict[str, int | None]:
    """What was typed, in nano-units; what is no price is an error of the form."""
    amounts = {name: form.amount(name, NANO) for name in AMOUNTS}
    for name, amount in amounts.items():
        if amount is None and name != "cached_per_million":
            form.refuse(name, "Write an amount; 0 for a model that costs nothing")
        if amount is not None and not 0 <= amount <= MAX_PRICE:
            form.refuse(name, f"Write an amount from 0 to {MAX_PRICE // 10**NANO:,}")
    return amounts


async def _alarms(desk: Desk) -> list[Row]:
    return [one for one in await desk.parts.alarms.open(desk.tenant.id) if one["code"] == "unknown_price"]


async def _unknown(desk: Desk) -> list[tuple[str, str]]:
    """Backend and model of what was used without a price and has none yet: one may have come in by the API since."""
    found = []
    for alarm in await _alarms(desk):
        backend, _, model = alarm["subject"].partition("/")
        if await desk.parts.prices.get(desk.tenant.id, backend, model) is None:
            found.append((backend, model))
    return found


def _plugins(desk: Desk) -> dict[str, str]:
    """What the plugins that serve models are called, as on the page of connections."""
    return {name: found.obj.title for name, found in desk.parts.host.llm_backends.items()}


async def _form(desk: Desk, form: Form) -> Response:
    history = await desk.parts.prices.history(desk.tenant.id, form.text("backend"), form.text("model"))
    form.labels = LABELS
    other = form.optional("currency")
    other = None if other == desk.tenant.cost_currency else other
    values: dict[str, Any] = {"form": form, "history": history, "backends": _plugins(desk), "other": other}
    return desk.page("price_form.html", status=form.status, section="prices", **values)
