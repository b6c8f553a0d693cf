"""Edits by hand: what somebody who may write to every table, and has neither the key nor the data directory, changes beside the
product.

Each is one line of a table: its name, the statements, and what ``ledger verify`` must say, with the row that it must name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import make_tenant
from tests.kernel.sealing.conftest import Installation, fails
from tests.world import add_customer
from tollhouse import plugin as th
from tollhouse.store.ids import new_id


@dataclass(frozen=True)
class Edit:
    """``sql``: statements with ``{entry}``, ``{retry}``, ``{turn}``, ``{tenant}``, ``{other}``, ``{audit}`` and ``{new}`` for
    ids. ``names``: the row that is named, ``check``: as what."""

    name: str
    sql: str
    check: str
    names: str = "{entry}"
    unsealed: str = ""
    """As what it is named where the row was not sealed yet; empty: it is not."""


SET = "UPDATE entries SET {what} WHERE tenant_id = '{{tenant}}' AND id = '{{entry}}'"
COPY = """
    CREATE TEMP TABLE copied AS SELECT * FROM entries WHERE tenant_id = '{tenant}' AND id = '{%s}';
    UPDATE copied SET id = '{new}'%s; INSERT INTO entries SELECT * FROM copied"""
FRESH = ", xid = (pg_current_xact_id()::text)::bigint"


def changed(name: str, what: str, *, unsealed: str = "") -> Edit:
    return Edit(name, SET.format(what=what), "entry_changed", unsealed=unsealed)


OF_ENTRIES = [
    changed("cost", "cost = cost - 1", unsealed="entry_cost"),
    changed("cost unknown", "cost = NULL", unsealed="entry_cost"),
    changed("cost and price", "cost = 0, price = jsonb_set(price, '{{input_per_million}}', '0')", unsealed="entry_cost"),
    changed("input tokens", "input_tokens = input_tokens - 1", unsealed="entry_cost"),
    changed("output tokens", "output_tokens = 0", unsealed="entry_cost"),
    changed("cached tokens", "cached_tokens = 9", unsealed="entry_turn"),
    changed("reasoning tokens", "reasoning_tokens = 9", unsealed="entry_turn"),
    changed("calls", "calls = 0", unsealed="entry_form"),
    changed("more calls", "calls = 2", unsealed="entry_form"),
    changed("user", "user_id = gen_random_uuid()", unsealed="entry_hold"),
    changed("agent", "agent_id = gen_random_uuid()", unsealed="entry_hold"),
    changed("version", "version_id = gen_random_uuid()", unsealed="entry_hold"),
    changed("plan", "plan_version_id = gen_random_uuid()", unsealed="entry_hold"),
    changed("subscription", "subscription_id = NULL", unsealed="entry_hold"),
    changed("connection", "connection_id = gen_random_uuid()"),
    changed("channel", "channel = 'web'", unsealed="entry_hold"),
    changed("backend", "backend = 'other'"),
    changed("model", "model = 'other'", unsealed="entry_turn"),
    changed("price", "price = price - 'source'"),
    changed("currency", "cost_currency = 'EUR'", unsealed="entry_cost"),
    changed("certainty", "certainty = 'estimated'"),
    changed("outcome", "outcome = 'model_timeout'", unsealed="entry_hold"),
    changed("kind", "kind = 'test'", unsealed="entry_hold"),
    changed("kind of a retry", "kind = 'retry'", unsealed="entry_form"),
    changed("time", "occurred_at = occurred_at - interval '1 day'", unsealed="entry_hold"),
    changed("latency", "latency_ms = 1"),
    changed("detail", "detail = '{{\"x\": 1}}'"),
    changed("transaction", "xid = xid - 1"),
    changed("amounts", "amounts[1] = 0", unsealed="entry_amounts"),
    changed("more than held", "amounts[1] = amounts[1] + 1000", unsealed="entry_amounts"),
    changed("counters", "counter_ids[1] = gen_random_uuid()", unsealed="entry_hold"),
    changed("no counters", "counter_ids = '{{}}', amounts = '{{}}'", unsealed="entry_hold"),
    changed("turn", "turn_id = gen_random_uuid()", unsealed="entry_hold"),
    changed("attempt", "attempt = 2", unsealed="entry_hold"),
    changed("a turn made a correction", "kind = 'correction'", unsealed="entry_correction"),
    Edit("retry deleted", "DELETE FROM entries WHERE id = '{retry}'", "entry_missing", "{retry}"),
    Edit("retry's cost", "UPDATE entries SET cost = 5 WHERE id = '{retry}'", "entry_changed", "{retry}", "entry_cost"),
    Edit("entry deleted", "DELETE FROM entries WHERE id = '{entry}'", "entry_missing", unsealed="hold_without_entry"),
    Edit(
        "everything of a turn deleted, and its counters mended",
        """UPDATE counters c SET used = used - x.amount FROM entries e, unnest(e.counter_ids, e.amounts) x (id, amount)
             WHERE e.id = '{entry}' AND c.tenant_id = e.tenant_id AND c.id = x.id;
           DELETE FROM entries WHERE turn_id = '{turn}';
           DELETE FROM holds WHERE id = '{entry}'; DELETE FROM turns WHERE id = '{turn}'""",
        "entry_missing",
    ),
    Edit(
        "a whole day deleted",
        "DELETE FROM entries WHERE tenant_id = '{tenant}' AND id >= id_floor(now() - interval '1 day')",
        "entry_missing",
        unsealed="hold_without_entry",
    ),
    Edit(
        "entry moved to another tenant",
        "UPDATE entries SET tenant_id = '{other}' WHERE id = '{entry}'",
        "entry_missing",
        unsealed="hold_without_entry",
    ),
    Edit("entry put in", COPY % ("entry", ""), "entry_added", "{new}", "entry_without_hold"),
    Edit("entry put in now", COPY % ("entry", FRESH), "entry_without_hold", "{new}", "entry_without_hold"),
    Edit("retry put in", COPY % ("retry", ""), "entry_added", "{new}"),
    Edit("retry put in now", COPY % ("retry", FRESH), "entry_without_hold", "{new}", "entry_without_hold"),
    Edit(
        "correction forged",
        COPY % ("entry", ", kind = 'correction', cost = -1000000, counter_ids = '{{}}', amounts = '{{}}'" + FRESH),
        "entry_correction",
        "{new}",
        "entry_correction",
    ),
]
HOLD = "UPDATE holds SET {what} WHERE id = '{{entry}}'"
TURN = "UPDATE turns SET {what} WHERE id = '{{turn}}'"
AROUND = [  # what is not sealed, because it changes, and must fit the entries all the same
    *(
        Edit(f"hold's {name}", HOLD.format(what=what), check, unsealed=check)
        for name, what, check in (
            ("user", "user_id = gen_random_uuid()", "entry_hold"),
            ("turn", "turn_id = gen_random_uuid()", "entry_hold"),
            ("attempt", "attempt = 2", "entry_hold"),
            ("state", "state = 'released'", "entry_hold"),
            ("state open again", "state = 'open', resolved_at = NULL", "hold_open"),
            ("counters", "counter_ids = '{{}}', amounts = '{{}}'", "entry_hold"),
            ("amounts", "amounts = ARRAY(SELECT 0 FROM unnest(amounts))", "entry_amounts"),
            ("time", "resolved_at = now() + interval '1 minute'", "entry_hold"),
            ("agent", "facts = jsonb_set(facts, '{{agent}}', '\"x\"')", "entry_hold"),
            ("channel", "facts = facts - 'channel'", "entry_hold"),
            ("test", "facts = jsonb_set(facts, '{{test}}', 'true')", "entry_hold"),
        )
    ),
    Edit("hold deleted", "DELETE FROM holds WHERE id = '{entry}'", "entry_without_hold", unsealed="entry_without_hold"),
    *(
        Edit(f"turn's {name}", TURN.format(what=what), "entry_turn", unsealed="entry_turn")
        for name, what in (
            ("user", "user_id = gen_random_uuid()"),
            ("agent", "agent_id = gen_random_uuid()"),
            ("version", "version_id = gen_random_uuid()"),
            ("channel", "channel = 'web'"),
            ("state", "state = 'failed'"),
            ("attempt", "attempt = 0"),
            ("model", "model = 'other'"),
            ("usage", "usage = jsonb_set(usage, '{{output}}', '1')"),
            ("usage gone", "usage = NULL"),
        )
    ),
    Edit("turn deleted", "DELETE FROM turns WHERE id = '{turn}'", "entry_without_turn", unsealed="entry_without_turn"),
]
AUDIT_COPY = """
    CREATE TEMP TABLE copied AS SELECT * FROM audit WHERE id = '{audit}';
    UPDATE copied SET id = '{new}'%s; INSERT INTO audit SELECT * FROM copied"""


def in_audit(name: str, what: str) -> Edit:
    return Edit(name, f"UPDATE audit SET {what} WHERE id = '{{audit}}'", "audit_changed", "{audit}", "audit_strange")


OF_AUDIT = [
    in_audit("who", "actor_id = gen_random_uuid()"),
    in_audit("what kind of actor", "actor_kind = 'system'"),
    in_audit("what", "action = 'thing.other'"),
    in_audit("to what", "target_id = 'other'"),
    in_audit("to what kind", "target_kind = 'other'"),
    in_audit("with what", "data = '{{}}'"),
    in_audit("when", "at = at + interval '1 hour'"),
    in_audit("from where", "address = '192.0.2.8'"),
    in_audit("address blanked beside the product", "address = ''"),
    in_audit("address and its salt blanked beside the product", "address = '', address_salt = NULL"),
    Edit(
        "address blanked as the product does it",
        """UPDATE audit SET blanked = jsonb_build_object('address', encode(sha256(address_salt || address::bytea), 'hex')),
                            address = '', address_salt = NULL WHERE id = '{audit}'""",
        "audit_strange",
        "{audit}",
        "audit_strange",
    ),
    Edit("one in the middle deleted", "DELETE FROM audit WHERE id = '{audit}'", "audit_missing", "{audit}"),
    Edit("tail deleted", "DELETE FROM audit WHERE tenant_id = '{tenant}' AND id >= '{audit}'", "audit_missing", "{audit}"),
    Edit("all deleted", "DELETE FROM audit WHERE tenant_id = '{tenant}'", "audit_missing", "{audit}"),
    Edit("row put in", AUDIT_COPY % "", "audit_added", "{new}", "audit_strange"),
    Edit("row put in now", AUDIT_COPY % FRESH, "audit_strange", "{new}", "audit_strange"),
    Edit(
        "row put in as the version before wrote it",
        AUDIT_COPY % (FRESH + ", previous = '', digest = sha256('x'), mark = ''"),
        "audit_broken",
        "{new}",
        "audit_broken",
    ),
]


async def story(here: Installation) -> dict[str, Any]:
    """Three turns, of which the second took two calls, and three acts of an admin; the ids of those in the middle."""
    for number in range(3):
        here.world.model.answer = fails(*([th.BackendUnavailable(private="busy")] if number == 1 else []))
        await here.turn()
        await here.act(number=number)
    entry = await here.admin.fetchrow(
        "SELECT e.id, e.turn_id, r.id AS retry FROM entries e JOIN entries r ON r.turn_id = e.turn_id "
        "WHERE r.kind = 'retry' AND e.kind = 'turn'"
    )
    audit = await here.admin.fetchval("SELECT id FROM audit ORDER BY id LIMIT 1 OFFSET 1")
    other = await make_tenant(here.world.store)
    return {
        "entry": entry["id"],
        "turn": entry["turn_id"],
        "retry": entry["retry"],
        "tenant": here.tenant,
        "other": other,
        "audit": audit,
        "new": new_id(),
    }


async def commit(here: Installation, edit: Edit, ids: dict[str, Any]) -> UUID:
    async with here.admin.transaction():
        await here.admin.execute(edit.sql.format(**ids))
    return UUID(edit.names.format(**ids))


@pytest.mark.parametrize("edit", [*OF_ENTRIES, *OF_AUDIT], ids=lambda edit: edit.name)
async def test_an_edit_of_what_was_sealed_is_named(here: Installation, edit: Edit) -> None:
    ids = await story(here)
    await here.seal()
    assert await here.verify() == []
    row = await commit(here, edit, ids)
    assert (edit.check, row) in {(one.check, one.subject) for one in await here.verify()}
    await here.turn()
    await here.act()
    await here.seal()  # nothing that is sealed on top hides it
    assert (edit.check, row) in {(one.check, one.subject) for one in await here.verify()}


@pytest.mark.parametrize(
    "edit", [edit for edit in (*OF_ENTRIES, *AROUND, *OF_AUDIT) if edit.unsealed], ids=lambda edit: edit.name
)
async def test_an_edit_of_what_is_not_sealed_yet_is_named_by_what_it_contradicts(here: Installation, edit: Edit) -> None:
    ids = await story(here)
    assert await here.verify() == []
    row = await commit(here, edit, ids)
    found = {(one.check, one.subject) for one in await here.verify()}
    assert (edit.unsealed, row) in found
    await here.seal()
    assert (edit.unsealed, row) in {(one.check, one.subject) for one in await here.verify()}


async def test_a_price_that_was_changed_after_entries_were_made_with_it_is_named(here: Installation) -> None:
    caller = await here.world.caller(here.tenant, await add_customer(here.world.store, here.shop), role="owner")
    values = {"input_per_million": 3_000_000, "output_per_million": 5_000_000, "cached_per_million": 1}
    await here.world.container.prices.set_price(caller, "scripted", "m", **values)
    ids = await story(here)
    assert await here.verify() == []
    for change in (
        "input_per_million = 1",
        "cached_per_million = NULL",
        "model = 'x'",
        "valid_from = now() + interval '1 day'",
    ):
        await here.admin.execute(f"UPDATE prices SET {change}")
        assert ("entry_cost", ids["entry"]) in {(one.check, one.subject) for one in await here.verify()}, change
        await here.admin.execute(
            "UPDATE prices SET input_per_million = 3000000, cached_per_million = 1, model = 'm', valid_from = created"
            " FROM (SELECT min(occurred_at) - interval '1 second' AS created FROM entries) x"
        )
        assert await here.verify() == []
