"""What is given up in order leaves the chains whole, and is told; the anchor's lines go to an endpoint too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from tests.kernel.sealing.conftest import Installation
from tests.world import add_customer
from tollhouse.reports.forgetting import forget_audit
from tollhouse.reports.sealing import NotSealed
from tollhouse.store.anchor import _signable
from tollhouse.store.audit import Actor, record
from tollhouse.store.signing import signed
from tollhouse.wiring.background import Background
from tollhouse.wiring.commands import seal_ledgers, unsealed


async def acts(here: Installation, who: UUID, **data: Any) -> None:
    async with here.world.store.transaction(here.tenant) as conn:
        await record(conn, here.tenant, Actor("user", who, "192.0.2.7"), "thing.made", data=data)


async def addresses(here: Installation) -> dict[UUID, str]:
    return dict(await here.admin.fetch("SELECT DISTINCT ON (actor_id) actor_id, address FROM audit WHERE actor_kind = 'user'"))


@pytest.mark.parametrize("sealed_before", [True, False])
async def test_what_is_kept_of_an_erased_person_is_blanked_and_the_chain_stays_whole(
    here: Installation, sealed_before: bool
) -> None:
    gone, stays = [await add_customer(here.world.store, here.shop) for _ in range(2)]
    await here.act()
    await here.seal()
    for user_id in (gone, stays):
        await acts(here, user_id)
        await acts(here, stays, reason="They asked for it", user_id=str(user_id))
    if sealed_before:
        await here.seal()
    await here.world.container.accounts.erase(here.tenant, gone, by=None, actor=Actor("operator"))
    await Background(here.world.container).forget()
    assert (await addresses(here)).items() >= {gone: "", stays: "192.0.2.7"}.items()
    told = await here.admin.fetch("SELECT data->>'reason' FROM audit WHERE data ? 'reason' OR blanked ? 'data' ORDER BY id")
    assert [row[0] for row in told] == [None, "They asked for it"]
    assert await here.verify() == []
    await here.seal()
    await Background(here.world.container).forget()
    sealed: list[Any] = []
    assert await here.verify(into=sealed) == []
    assert "of the audit log 2 fields were blanked and 0 entries given up, in order" in unsealed(sealed)
    await here.admin.execute("UPDATE audit SET address = '192.0.2.99' WHERE actor_id = $1", gone)
    assert await here.checks() == {"audit_strange"}


async def days_later(here: Installation, days: int) -> None:
    here.world.store.at(datetime.now(UTC) + timedelta(days=days))


async def test_what_is_past_its_time_goes_in_whole_links_and_the_chain_goes_on(here: Installation) -> None:
    for _ in range(3):
        await here.act()
        await here.act()
        await here.seal()
    kept = await here.admin.fetch("SELECT * FROM audit ORDER BY id LIMIT 1")
    await here.turn()
    await days_later(here, 31)
    await here.act()
    await here.seal()
    await forget_audit(here.world.container.sealer, 0)
    assert await here.admin.fetchval("SELECT count(*) FROM audit") == 7, "for ever, unless somebody says otherwise"
    await forget_audit(here.world.container.sealer, 30)
    assert await here.admin.fetchval("SELECT count(*) FROM audit") == 1
    sealed: list[Any] = []
    assert await here.verify(into=sealed) == []
    assert "of the audit log 0 fields were blanked and 6 entries given up, in order" in unsealed(sealed)
    await here.act()
    await here.seal()
    await forget_audit(here.world.container.sealer, 30)
    assert await here.verify() == []
    assert await here.admin.fetchval("SELECT count(*) FROM entries") == 1
    await here.admin.executemany(
        f"INSERT INTO audit VALUES ({', '.join(f'${n}' for n in range(1, len(kept[0]) + 1))})", [tuple(row) for row in kept]
    )
    assert await here.checks() == {"audit_added"}, "what was given up does not come back unseen"


async def test_a_chain_that_was_cut_is_not_gone_on_with_by_forgetting_either(here: Installation) -> None:
    for _ in range(3):
        await here.act()
        await here.seal()
    await here.admin.execute("DELETE FROM seals WHERE log = 'audit' AND number = 3")
    await days_later(here, 31)
    await forget_audit(here.world.container.sealer, 30)
    assert await here.admin.fetchval("SELECT count(*) FROM audit") == 3
    assert await here.admin.fetchval("SELECT max(number) FROM seals WHERE log = 'audit'") == 2


# -- an endpoint of somebody else's -------------------------------------------------------------------------------------------


class Notary:
    """Takes the anchor's lines, unless it is out of order."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.well = True
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        if not self.well:
            return web.Response(status=503)
        self.lines.append(json.loads(await request.text()))
        return web.Response(status=204)


@pytest.fixture
async def notary() -> AsyncIterator[Notary]:
    found, app = Notary(), web.Application()
    app.router.add_post("/lines", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}/lines"
    yield found
    await runner.cleanup()


async def test_an_endpoint_is_told_each_line_once_and_what_it_did_not_take_again(here: Installation, notary: Notary) -> None:
    background, alarms = Background(here.world.container), list[tuple[str, str]]()
    here.world.container.settings.anchor_url = notary.url

    async def alarm(code: str, message: str) -> None:
        alarms.append((code, message))

    background.alarm = alarm  # type: ignore[method-assign]
    await here.turn()
    await here.seal()
    await background.seal_ledger()
    assert [line["sequence"] for line in notary.lines] == [1]
    notary.well = False
    await here.turn()
    await here.seal()
    await background.seal_ledger()
    assert alarms == [
        ("anchor_endpoint", "line 2 of the anchor was not taken by the endpoint of TOLLHOUSE_ANCHOR_URL: it answered 503")
    ]
    notary.well = True
    await here.turn()
    await here.seal()
    await background.seal_ledger()
    assert [line["sequence"] for line in notary.lines] == [1, 2, 3]
    for line in notary.lines:  # a notary can check that: the hash of the line without its signature, and the public key
        assert signed(bytes.fromhex(line["public_key"]), _signable(line), bytes.fromhex(line["signature"]))
    assert len(alarms) == 1


async def test_what_stands_in_the_way_of_sealing_is_an_alarm(here: Installation) -> None:
    background, alarms = Background(here.world.container), list[tuple[str, str]]()

    async def alarm(code: str, message: str) -> None:
        alarms.append((code, message))

    background.alarm = alarm  # type: ignore[method-assign]
    await here.act()
    await here.seal()
    await background.seal_ledger()
    assert alarms == []
    await here.admin.execute("DELETE FROM seals")
    (here.folder / "ledger.anchor").write_text("")
    await background.seal_ledger()
    assert [code for code, _ in alarms] == ["anchor"]
    await here.admin.execute("UPDATE watermarks SET cluster = 'another' WHERE name = 'seals'")
    await background.seal_ledger()
    assert alarms[-1][0] == "ledger_not_sealed"
    with pytest.raises(NotSealed):
        await seal_ledgers(here.world.container)
