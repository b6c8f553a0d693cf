"""Transaction 2 of a turn: the hold is settled or released, the entry appended, the reply stored. Or, too late, posted late."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tollhouse.conversations.repository import title_of
from tollhouse.plugin.content import Reply, part_to_json
from tollhouse.plugin.errors import TollhouseError
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.ids import new_id
from tollhouse.store.scope import Scope, tenant_scope
from tollhouse.store.sql import Statement
from tollhouse.store.store import NOTHING_DONE, Store
from tollhouse.turns import repository as sql
from tollhouse.turns.admit import Admitted
from tollhouse.turns.charge import Charge
from tollhouse.turns.result import error_json, reply_json, stored_json, usage_json
from tollhouse.usage.alarms import raise_alarm
from tollhouse.usage.entries import append
from tollhouse.usage.holds import charges

log = logging.getLogger(__name__)
PATIENCE = (0.1, 0.3, 1, 2, 4, 8, 15)
"""Seconds between tries to settle while the database is away; after them the lease's sweeper settles as unknown."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to: a reply or an error, and what it is charged."""

    admitted: Admitted
    charge: Charge
    reply: Reply | None = None
    error: TollhouseError | None = None


class Settlement:
    """Ends turns. Idempotent: a hold is resolved once, whoever tries and how often."""

    def __init__(self, store: Store, subscribers: Sequence[str]) -> None:
        """``subscribers``: the plugins that want to hear of finished turns."""
        self._store = store
        self._subscribers = tuple(subscribers)

    async def settle(self, ended: Ended) -> None:
        """Write what the turn came to, patiently while the database is away.

        Raises:
            DatabaseDown: it stayed away.
        """
        scope = tenant_scope(ended.admitted.case.facts.tenant.id)
        for pause in (*PATIENCE, None):
            try:
                await self._settle_once(scope, ended)
            except DatabaseDown:
                if pause is None:
                    log.error("turn %s could not be settled; its hold will expire", ended.admitted.hold.turn_id)
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def _settle_once(self, scope: Scope, ended: Ended) -> None:
        statement, params = self._statement(ended)
        try:
            if ended.charge.others or ended.charge.alarms:
                await self._store.run(scope, partial(self._write_more, ended=ended, statement=statement, params=params))
            else:
                await self._store.run_one(scope, statement, **params)
        except NOTHING_DONE:
            await self._store.run(scope, partial(self._post_late, ended=ended))

    async def _write_more(self, conn: Any, ended: Ended, statement: Statement, params: dict[str, Any]) -> None:
        """The same with calls beside the one that answered, or with something that an admin must see."""
        await self._beside(conn, ended)
        await statement.last(conn, **params)

    async def _beside(self, conn: Any, ended: Ended) -> None:
        tenant_id = ended.admitted.case.facts.tenant.id
        for entry in ended.charge.others:
            await append(conn, tenant_id, entry)
        for alarm in ended.charge.alarms:
            await raise_alarm(conn, tenant_id, alarm.code, alarm.subject, alarm.message)

    def _statement(self, ended: Ended) -> tuple[Statement, dict[str, Any]]:
        """The statement that ends this turn, and its parameters."""
        admitted, charge = ended.admitted, ended.charge
        answered = ended.reply is not None and admitted.conversation_id is not None
        told = bool(self._subscribers)
        lines = admitted.hold.lines
        return sql.SETTLE[answered, told], dict(
            tenant=admitted.case.facts.tenant.id,
            hold=admitted.hold.id,
            state="settled" if ended.reply is not None else "released",
            counter_ids=[line.counter.id for line in lines],
            held=[line.amount for line in lines],
            used=charges(lines, charge.spent),
            turn=admitted.hold.turn_id,
            turn_state="done" if ended.reply is not None else "failed",
            reply=reply_json(ended.reply) if ended.reply is not None else None,
            usage=usage_json(charge.usage) if ended.reply is not None else None,
            error=error_json(ended.error) if ended.error is not None else None,
            **self._story(ended, answered, told),
            **charge.main.params(),
        )

    def _story(self, ended: Ended, answered: bool, told: bool) -> dict[str, Any]:
        """The parameters of the optional parts."""
        params: dict[str, Any] = {}
        if answered and ended.reply is not None:
            params |= {
                "message": new_id(),
                "conversation": ended.admitted.conversation_id,
                "title": title_of(ended.admitted.ask.parts),
                "parts": stored_json([part_to_json(part) for part in ended.reply.parts]),
            }
        if told:
            params |= {
                "outbox_ids": [new_id() for _ in self._subscribers],
                "subscribers": list(self._subscribers),
                "event": json.dumps(_event(ended)),
            }
        return params

    async def _post_late(self, conn: Any, ended: Ended) -> None:
        """The sweeper was faster: what was used is posted visibly, and counts against the next admission.

        The person pays for it only if this is what finishes the turn: while another attempt is at it, or has answered, it is
        the tenant's cost alone.
        """
        admitted, charge = ended.admitted, ended.charge
        tenant_id, hold = admitted.case.facts.tenant.id, admitted.hold
        ids, used = [line.counter.id for line in hold.lines], charges(hold.lines, charge.spent)
        finished = ended.reply is not None and await sql.FINISH_LATE.value(
            conn,
            tenant=tenant_id,
            turn=hold.turn_id,
            counter_ids=ids,
            used=used,
            reply=reply_json(ended.reply),
            usage=usage_json(charge.usage),
            model=charge.model,
        )
        if not finished:
            ids, used = [], []
        await append(conn, tenant_id, replace(charge.main, kind="late"), counter_ids=ids, used=used)
        await raise_alarm(
            conn, tenant_id, "late_usage", charge.main.model, "A reply arrived after its hold had expired; it was posted late."
        )
        await self._beside(conn, ended)


def _event(ended: Ended) -> dict[str, Any]:
    main = ended.charge.main
    return {
        "id": str(new_id()),
        "name": "turn.finished",
        "occurred_at": datetime.now(UTC).isoformat(),
        "data": {
            "turn_id": str(main.turn_id),
            "user_id": str(main.user_id),
            "agent_id": str(main.agent_id),
            "channel": main.channel,
            "outcome": main.outcome,
            "input_tokens": main.input_tokens,
            "output_tokens": main.output_tokens,
            "cost": main.cost,
            "cost_currency": main.cost_currency,
        },
    }
