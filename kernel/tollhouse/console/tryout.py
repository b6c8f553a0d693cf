"""Trying a version out before anybody gets it: a message to it, and what came of it. Charged to nobody."""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.responses import Response

from tollhouse.agents.rows import AgentRow, VersionRow
from tollhouse.agents.spec import VersionSpec
from tollhouse.console.desk import Area, Desk
from tollhouse.console.forms import Form
from tollhouse.plugin.content import Text
from tollhouse.plugin.errors import Forbidden, InvalidInput, NotFound, TollhouseError
from tollhouse.plugin.ports import TurnRequest, TurnResult
from tollhouse.usage.prices import Price, cost_nano

area = Area()
MAX_MESSAGE = 32_000


@dataclass(frozen=True, slots=True)
class Tried:
    """What one message came to. ``cost`` in nano-units; None where the price is not known."""

    result: TurnResult
    milliseconds: int
    price: Price | None
    cost: int | None


@area.get("/versions/{id}/try", "manage")
async def show(desk: Desk) -> Response:
    """The panel on a page of its own."""
    version, agent = await _both(desk)
    return _page(desk, Form(), version, agent)


@area.post("/versions/{id}/try")
async def run(desk: Desk) -> Response:
    """Send the message; its turn is a test in the ledger."""
    if desk.elsewhere:
        raise Forbidden("Only the team of this tenant tries its agents out. Ask its owner for an invitation.")
    version, agent = await _both(desk)
    form = await desk.form()
    message = form.text("message")
    try:
        if not message or len(message) > MAX_MESSAGE:
            raise InvalidInput("Write a message first." if not message else "This message is too long.", field="message")
        tried = await _tried(desk, agent, version, message)
    except NotFound:
        raise
    except TollhouseError as error:
        return _page(desk, form.failed(error), version, agent)
    return _page(desk, form, version, agent, tried)


async def _both(desk: Desk) -> tuple[VersionRow, AgentRow]:
    version = await desk.parts.agents.version(desk.tenant.id, desk.id())
    return version, await desk.parts.agents.get(desk.tenant.id, version.agent_id)


async def _tried(desk: Desk, agent: AgentRow, version: VersionRow, message: str) -> Tried:
    request = TurnRequest(agent.slug, (Text(message),), metadata={"test": True, "version": str(version.id)}, store=False)
    started = time.perf_counter()
    result = await desk.parts.turns.run(desk.caller, request)
    milliseconds = round((time.perf_counter() - started) * 1000)
    price = await _price(desk, version, result.model or "")
    known = price is not None and result.usage is not None and result.usage.total is not None
    cost = cost_nano(price, result.usage) if known and price is not None and result.usage is not None else None
    return Tried(result, milliseconds, price, cost)


async def _price(desk: Desk, version: VersionRow, model: str) -> Price | None:
    """The price of what answered: the primary model's, or the fallback's if that is the one."""
    choices = VersionSpec.model_validate(version.spec).choices
    chosen = next((choice for choice in choices if choice.model == model), choices[0])
    connection = await desk.parts.connections.get(desk.tenant.id, chosen.connection_id)
    return await desk.parts.prices.get(desk.tenant.id, connection.plugin, chosen.model)


def _page(desk: Desk, form: Form, version: VersionRow, agent: AgentRow, tried: Tried | None = None) -> Response:
    values = {"form": form, "version": version, "agent": agent, "tried": tried}
    return desk.page("tryout.html", status=form.status, section="agents", **values)
