"""What is held for a turn covers whatever may come of it: whichever of its models answers, and however close the lease is."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import insert, select, text, update

from tests.kernel.turns.dying import customer_of, limits_of, stuck_turn
from tests.world import Shop, World, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.agents.models import prompt_versions
from tollhouse.plugin.errors import AccessDenied, BackendRateLimited
from tollhouse.store.ids import new_id
from tollhouse.turns.errors import OtherBody, TurnRunning
from tollhouse.turns.fingerprint import body_hash
from tollhouse.usage.models import counters, entries, holds, prices, runners
from tollhouse.usage.runners import LEASE_SECONDS, Runner
from tollhouse.usage.sweeper import sweep
from tollhouse.usage.verify import verify

PRICES = {"cheap": 1_000_000, "dear": 50_000_000}  # nano-units for a million tokens, in and out
MOST_OUT = 100


async def shop_with_two_models(world: World, first: str, second: str, *limits: dict[str, Any]) -> tuple[Shop, Any]:
    shop = await open_shop(world.store, *limits)
    async with world.store.transaction(shop.tenant_id) as conn:
        for model, price in PRICES.items():
            row = {"backend": "scripted", "model": model, "input_per_million": price, "output_per_million": price}
            await conn.execute(insert(prices).values(tenant_id=shop.tenant_id, id=new_id(), **row, cached_per_million=None))
    spec = {
        "template": "Be brief.",
        "primary": {"connection_id": str(shop.connection_id), "model": first},
        "fallback": {"connection_id": str(shop.connection_id), "model": second},
        "max_output_tokens": MOST_OUT,
    }
    async with world.store.transaction(shop.tenant_id) as conn:
        await conn.exec_driver_sql("UPDATE prompt_versions SET status = 'archived', weight = 0")
        version = {"agent_id": shop.agent_id, "number": 2, "status": "active", "weight": 10_000, "spec": spec}
        row = {"tenant_id": shop.tenant_id, "id": new_id(), "activated_at": text("app_now()"), **version}
        await conn.execute(insert(prompt_versions).values(**row))
    return shop, await world.caller(shop.tenant_id, await add_customer(world.store, shop))


def only(model: str) -> Any:
    """The other model is busy, and this one uses all that it may."""

    def answer(request: th.CompletionRequest) -> th.Completion:
        if request.model != model:
            raise BackendRateLimited(private="busy")
        said = sum(len(part.text) for message in request.messages for part in message.parts if isinstance(part, th.Text))
        return th.Completion((th.Text("Hello."),), th.TokenUsage(said, request.max_output_tokens), model=model)

    return answer


@pytest.mark.parametrize("first", PRICES)
@pytest.mark.parametrize("answering", PRICES)
async def test_the_hold_covers_the_dearest_model_whichever_answers(world: World, first: str, answering: str) -> None:
    second = next(model for model in PRICES if model != first)
    limit = {"metric": "cost", "amount": 10_000, "window": "day"}
    shop, caller = await shop_with_two_models(world, first, second, limit)
    world.model.answer = only(answering)
    task = await stuck_turn(world, caller)
    async with world.store.transaction(shop.tenant_id) as conn:
        [held] = (await conn.execute(select(counters.c.held))).scalars().all()
    world.model.gate.set()  # type: ignore[union-attr]
    assert (await task).state == "done"
    async with world.store.transaction(shop.tenant_id) as conn:
        row = select(entries.c.model, entries.c.cost).where(entries.c.outcome == "ok")
        [(model, cost)] = (await conn.execute(row)).all()
        [used] = (await conn.execute(select(counters.c.used))).scalars().all()
    assert model == answering
    assert used == cost, "charged in full, so it was held in full"
    assert cost <= held
    assert held >= MOST_OUT * PRICES["dear"] // 1_000_000
    assert "usage_beyond_hold" not in [one["code"] for one in await world.container.alarms.open(shop.tenant_id)]
    assert await verify(world.store, shop.tenant_id) == []


@pytest.mark.parametrize("room", [0, 50, 150, 400, 2_000, 5_500])
async def test_a_cost_limit_holds_though_a_cheap_model_fails_and_a_dear_one_answers(world: World, room: int) -> None:
    """With little room the answer is shortened to what even the dear model may cost, or refused before anything is asked."""
    limit = {"metric": "cost", "amount": room, "window": "day"}
    shop, caller = await shop_with_two_models(world, "cheap", "dear", limit)
    world.model.answer = only("dear")
    answered, denied = 0, []
    for _ in range(3):
        before = len(world.model.calls)
        try:
            await world.container.turns.run(caller, say())
            answered += 1
        except AccessDenied as error:
            denied.append((error.decision.reason, len(world.model.calls) - before))
    assert denied == [("limit_reached", 0)] * (3 - answered), "refused before a model was asked"
    async with world.store.transaction(shop.tenant_id) as conn:
        costs = (await conn.execute(select(entries.c.cost).where(entries.c.outcome == "ok"))).scalars().all()
        used = (await conn.execute(select(counters.c.used))).scalars().all()
    assert len(costs) == answered
    assert sum(costs) == sum(used) <= room
    assert await verify(world.store, shop.tenant_id) == []


# -- leases: near their end, and not only past it -----------------------------------------------------------------------------


async def set_lease(world: World, seconds: float) -> None:
    async with world.store.operator() as conn:
        ends = text("now() + make_interval(secs => :seconds)").bindparams(seconds=seconds)
        await conn.execute(update(runners).where(runners.c.id == world.container.runner.id).values(lease_until=ends))


async def test_a_lease_that_ends_soon_is_a_lease(world: World) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "k")
    await set_lease(world, 30)
    assert await sweep(world.store) == 0
    with pytest.raises(TurnRunning):
        await world.container.turns.run(caller, say(external_id="k"))
    assert (await limits_of(world, caller))["calls"] == (0, 1)
    world.model.gate.set()  # type: ignore[union-attr]
    assert (await task).state == "done"
    assert (await limits_of(world, caller))["calls"] == (1, 0)
    async with world.store.transaction(shop.tenant_id) as conn:
        assert (await conn.execute(select(entries.c.kind, entries.c.outcome))).all() == [("turn", "ok")]


async def test_a_lease_that_ended_a_moment_ago_is_none(world: World) -> None:
    _, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "k")
    await set_lease(world, -0.001)
    assert await sweep(world.store) == 1
    assert (await limits_of(world, caller))["calls"] == (0, 0)
    world.model.gate.set()  # type: ignore[union-attr]
    await asyncio.gather(task, return_exceptions=True)


async def test_a_lease_is_renewed_by_its_whole_length_on_the_databases_clock(world: World) -> None:
    runner = Runner(world.store)
    left = select((runners.c.lease_until - text("now()")).label("left")).where(runners.c.id == runner.id)
    for _ in range(2):
        async with world.store.operator() as conn:
            await conn.execute(
                text("UPDATE runners SET lease_until = now() + interval '1 second' WHERE id = :id"), {"id": runner.id}
            )
        await runner.renew()
        async with world.store.operator() as conn:
            remaining = (await conn.execute(left)).scalar_one()
        assert timedelta(seconds=LEASE_SECONDS - 10) < remaining <= timedelta(seconds=LEASE_SECONDS)
    await runner.stop()


async def test_a_settled_hold_is_not_the_sweepers_whatever_became_of_the_lease(world: World) -> None:
    shop, caller = await customer_of(world)
    await world.container.turns.run(caller, say())
    await set_lease(world, -1)
    assert await sweep(world.store) == 0
    async with world.store.transaction(shop.tenant_id) as conn:
        assert (await conn.execute(select(holds.c.state))).scalars().all() == ["settled"]


# -- bytes, and not only sizes and names --------------------------------------------------------------------------------------


def pixel(colour: tuple[int, int, int]) -> bytes:
    """A picture of one pixel: as many bytes whatever its colour."""
    found = io.BytesIO()
    Image.new("RGB", (1, 1), colour).save(found, "PNG", compress_level=0)
    return found.getvalue()


RED, BLUE = pixel((255, 0, 0)), pixel((0, 0, 255))


def picture(data: bytes) -> th.Media:
    return th.Media("image", "image/png", data=data, file_id="same", name="same.png", size=len(data))


def test_requests_differ_by_the_bytes_of_a_file() -> None:
    def digest(*parts: Any, **values: Any) -> bytes:
        request = th.TurnRequest("guide", parts, **values)
        return body_hash(request, request.parts)

    assert len(RED) == len(BLUE)
    one, other = picture(RED), picture(BLUE)
    assert digest(one) == digest(replace(one, file_id="uploaded again"))
    assert digest(one) != digest(other)
    assert digest(th.Text("a"), one) != digest(one, th.Text("a"))
    asked = (th.Text("What is it?"),)
    assert digest(*asked, history=(th.Message("user", (one,)),)) != digest(*asked, history=(th.Message("user", (other,)),))
    assert digest(*asked, history=(th.Message("user", asked),)) != digest(*asked, history=(th.Message("assistant", asked),))


async def test_a_key_with_another_picture_of_the_same_size_is_another_request(world: World) -> None:
    shop = await open_shop(world.store, spec={"modalities": ["text", "image"]})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    who = caller.user
    red, blue = [(await world.container.files.put(who, data, "same.png")).id for data in (RED, BLUE)]
    first = say(external_id="k", parts=(th.Text("What is it?"), th.Media("image", "image/png", file_id=red)))
    await world.container.turns.run(caller, first)
    other = (th.Text("What is it?"), th.Media("image", "image/png", file_id=blue))
    with pytest.raises(OtherBody):
        await world.container.turns.run(caller, replace(first, parts=other))
    assert len(world.model.calls) == 1
