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
from uuid import UUID

from tollhouse.conversations.repository import title_of
from tollhouse.plugin.content import Reply, part_to_json
from tollhouse.plugin.errors import TollhouseError
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.groups import Groups
from tollhouse.store.ids import new_id
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store
from tollhouse.turns import repository as sql
from tollhouse.turns.admit import Admitted
from tollhouse.turns.charge import Charge
from tollhouse.turns.errors import TurnInterrupted
from tollhouse.turns.result import error_json, reply_json, stored_json, usage_json
from tollhouse.usage.alarms import raise_alarm
from tollhouse.usage.entries import ENTRIES, append
from tollhouse.usage.holds import LINES, charges, lines_of

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
        self._groups: Groups[Ended, bool] = Groups(self._settle)

    async def settle(self, ended: Ended) -> None:
        """Write what the turn came to, patiently while the database is away.

        Raises:
            DatabaseDown: it stayed away.
        """
        for pause in (*PATIENCE, None):
            try:
                await self._settle_or_post_late(ended)
            except DatabaseDown:
                if pause is None:
                    log.error("turn %s could not be settled; its hold will expire", ended.admitted.hold.turn_id)
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def _settle_or_post_late(self, ended: Ended) -> None:
        tenant_id = ended.admitted.case.facts.tenant.id
        if not await self._groups.add(tenant_id, ended):
            await self._store.run(tenant_scope(tenant_id), partial(self._post_late, ended=ended))

    async def _settle(self, tenant_id: UUID, group: Sequence[Ended]) -> list[bool]:
        """For each, whether its hold was still open and is resolved now."""
        return await self._store.run(tenant_scope(tenant_id), partial(self._write, tenant_id=tenant_id, group=group))

    async def _write(self, conn: Any, tenant_id: UUID, group: Sequence[Ended]) -> list[bool]:
        resolved = {row["id"] for row in await sql.SETTLE.rows(conn, tenant=tenant_id, **self._params(group))}
        outcomes = [ended.admitted.hold.id in resolved for ended in group]
        for ended, settled in zip(group, outcomes, strict=True):
            if settled:
                await self._beside(conn, ended)
        return outcomes

    async def _beside(self, conn: Any, ended: Ended) -> None:
        """Calls beside the one that answered, and what an admin must see."""
        tenant_id = ended.admitted.case.facts.tenant.id
        for entry in ended.charge.others:
            await append(conn, tenant_id, entry)
        for alarm in ended.charge.alarms:
            await raise_alarm(conn, tenant_id, alarm.code, alarm.subject, alarm.message)

    def _params(self, group: Sequence[Ended]) -> dict[str, Any]:
        turns, lines, entries, events = [], [], [], []
        for ended in group:
            hold, charge = ended.admitted.hold, ended.charge
            counter_ids, held = [line.counter.id for line in hold.lines], [line.amount for line in hold.lines]
            used = charges(hold.lines, charge.spent)
            turns.append(_turn(ended))
            lines += lines_of(hold.id, counter_ids, held, used)
            entries.append(charge.main.row(hold.id, counter_ids, used))
            if self._subscribers:
                payload = json.dumps(_event(ended))
                events += [
                    {"hold": hold.id, "id": new_id(), "subscriber": name, "payload": payload} for name in self._subscribers
                ]
        return {
            **sql.ENDED.params(turns),
            **LINES.params(lines),
            **ENTRIES.params(entries),
            **sql.EVENTS.params(events),
        }

    async def _post_late(self, conn: Any, ended: Ended) -> None:
        """The sweeper was faster: what was used is posted visibly, and counts against the next admission.

        The person pays for it only if this is what finishes the turn: while another attempt is at it, or has answered, it is
        the tenant's cost alone.
        """
        admitted, charge = ended.admitted, ended.charge
        tenant_id, hold = admitted.case.facts.tenant.id, admitted.hold
        if await sql.HOLD_STATE.value(conn, tenant=tenant_id, hold=hold.id) != "expired":
            return  # it was we ourselves who resolved it: the database went away after the commit and before its answer
        if isinstance(ended.error, TurnInterrupted):
            return  # the sweeper has said it already: nobody knows what was used
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


def _turn(ended: Ended) -> dict[str, Any]:
    """The row of ``ended``."""
    admitted, charge, reply = ended.admitted, ended.charge, ended.reply
    answered = reply is not None and admitted.conversation_id is not None
    return {
        "hold": admitted.hold.id,
        "state": "settled" if reply is not None else "released",
        "turn": admitted.hold.turn_id,
        "attempt": admitted.hold.attempt,
        "turn_state": "done" if reply is not None else "failed",
        "reply": reply_json(reply) if reply is not None else None,
        "usage": usage_json(charge.usage) if reply is not None else None,
        "error": error_json(ended.error) if ended.error is not None else None,
        "model": charge.main.model,
        "conversation": admitted.conversation_id,
        "title": title_of(admitted.ask.parts) if answered else None,
        "message": new_id() if answered else None,
        "parts": stored_json([part_to_json(part) for part in reply.parts]) if answered and reply is not None else None,
    }


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
