"""Transaction 2 of a turn: the hold is settled or released, the entry appended, the reply stored. Or, too late, posted late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from tollhouse.conversations.repository import title_of
from tollhouse.plugin.content import Reply
from tollhouse.plugin.errors import TollhouseError
from tollhouse.records import record
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.event_data import EVENTS, event_payload
from tollhouse.store.groups import Groups
from tollhouse.store.ids import new_id
from tollhouse.store.json_text import json_text
from tollhouse.store.lane import Lane
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store
from tollhouse.turns import repository as sql
from tollhouse.turns.admit import Admitted
from tollhouse.turns.charge import Charge, interrupted
from tollhouse.turns.errors import TurnInterrupted
from tollhouse.turns.result import stored_error, stored_parts, stored_reply, stored_usage
from tollhouse.usage.alarms import raise_alarm
from tollhouse.usage.entries import ENTRIES, append
from tollhouse.usage.holds import CHARGE, charges

log = logging.getLogger(__name__)
PAUSES = (0.1, 0.3, 1, 2, 4, 8, 15)
"""Seconds between tries to settle while the database is away; the last one again and again."""
PATIENCE = 30.0
"""Seconds that a caller waits for it, after the first try."""


@record(frozen=True, slots=True)
class Ended:
    """What a run came to: a reply or an error, and what it is charged."""

    admitted: Admitted
    charge: Charge
    reply: Reply | None = None
    error: TollhouseError | None = None


class Settlement:
    """Ends turns. Idempotent: a hold is resolved once, whoever tries and how often."""

    def __init__(self, store: Store, subscribers: Sequence[str], busy: set[UUID]) -> None:
        """``subscribers``: the plugins that want to hear of finished turns. ``busy``: the holds that this process works on."""
        self._store = store
        self._subscribers = tuple(subscribers)
        self._busy = busy
        self._groups: Groups[Ended, bool] = Groups(store.lane, self._settle)
        self._tasks: set[asyncio.Task[None]] = set()

    async def settle(self, ended: Ended) -> bool:
        """Write what the turn came to. It will be written even if the caller is cancelled, or the database is away for longer
        than anybody waits. True: at once, and so this is what became of the turn; else the turn itself says.

        Raises:
            DatabaseDown: it is still away; the settlement goes on for as long as this process lives.
        """
        first = self._groups.begin(ended.admitted.case.facts.tenant.id, ended)
        try:
            settled = await asyncio.shield(first)
        except asyncio.CancelledError:
            self._go_on(ended, first)
            raise
        except Exception:  # it is raised again where it is dealt with
            settled = False
        if settled:  # nearly always
            self._busy.discard(ended.admitted.hold.id)
            return True
        task = self._go_on(ended, first)
        done, _ = await asyncio.wait((task,), timeout=PATIENCE)
        if not done:
            raise DatabaseDown()
        task.result()
        return False

    def _go_on(self, ended: Ended, first: asyncio.Future[bool]) -> asyncio.Task[None]:
        """Settle in a task of its own, which nobody's patience ends. ``first``: the try that was begun."""
        task = asyncio.create_task(self._until_settled(ended, first))
        self._tasks.add(task)
        task.add_done_callback(partial(self._settled, ended.admitted.hold.id))
        return task

    def _settled(self, hold_id: UUID, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._busy.discard(hold_id)
        if not task.cancelled():
            task.exception()  # logged where it happened, and raised for whoever still waits

    async def _until_settled(self, ended: Ended, first: asyncio.Future[bool] | None = None) -> None:
        tenant_id, tries = ended.admitted.case.facts.tenant.id, 0
        while True:
            try:
                settled = await (first or self._groups.begin(tenant_id, ended))
                if not settled:
                    await self._store.run(tenant_scope(tenant_id), partial(self._post_late, ended=ended))
                return
            except DatabaseDown:
                if tries == len(PAUSES):
                    log.error("turn %s is not settled yet: the database stays away", ended.admitted.hold.turn_id)
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                first, tries = None, tries + 1
            except Exception:
                # What cannot be written now never can. Nothing stays held, and the ledger says that it does not know.
                log.exception("turn %s cannot be settled as it ended", ended.admitted.hold.turn_id)
                if isinstance(ended.error, TurnInterrupted):
                    raise
                unknown = interrupted(ended.admitted)
                await self._until_settled(replace(ended, charge=unknown, reply=None, error=TurnInterrupted()))
                raise

    async def _settle(self, lane: Lane, tenant_id: UUID, group: Sequence[Ended]) -> list[bool]:
        """For each, whether its hold was still open and is resolved now."""
        return await lane.run(partial(self._write, tenant_id=tenant_id, group=group))

    async def _write(self, conn: Any, tenant_id: UUID, group: Sequence[Ended]) -> list[bool]:
        turns = [_turn(ended) for ended in group]
        settle = sql.SETTLE[any(turn["message"] for turn in turns), bool(self._subscribers)]
        resolved = {row["id"] for row in await settle.rows(conn, tenant=tenant_id, **self._params(group, turns))}
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

    def _params(self, group: Sequence[Ended], turns: list[dict[str, Any]]) -> dict[str, Any]:
        entries, events = [], []
        for ended in group:
            hold, charge = ended.admitted.hold, ended.charge
            used = charges(hold.lines, charge.spent, charge.cost)
            entries.append(charge.main.row(hold.id, [line.counter.id for line in hold.lines], used))
            if self._subscribers:
                payload = _event(ended)
                events += [
                    {"hold": hold.id, "id": new_id(), "subscriber": name, "payload": payload} for name in self._subscribers
                ]
        return {
            **sql.ENDED.params(turns),
            **ENTRIES.params(entries),
            **sql.EVENTS.params(events),
        }

    async def _post_late(self, conn: Any, ended: Ended) -> None:
        """The sweeper was faster: what was used is posted visibly, and counts against the next admission.

        The person pays for it only if this is what finishes the turn: while another attempt is at it, or has answered, it is
        the tenant's cost alone, which counts towards its daily stop. What the sweeper took it for is taken back.
        """
        admitted, charge = ended.admitted, ended.charge
        tenant_id, hold = admitted.case.facts.tenant.id, admitted.hold
        late_id = UUID(int=hold.id.int + 1)  # known beforehand, so that it is posted once
        found = await sql.HOLD_STATE.row(conn, tenant=tenant_id, hold=hold.id, late=late_id)
        if found["state"] != "expired" or found["posted"]:
            return  # it was we ourselves who wrote it: the database went away after the commit and before its answer
        if isinstance(ended.error, TurnInterrupted):
            return  # the sweeper has said it already: nobody knows what was used
        finished = ended.reply is not None and await sql.FINISH_LATE.value(
            conn,
            tenant=tenant_id,
            turn=hold.turn_id,
            counter_ids=[line.counter.id for line in hold.lines],
            reply=json_text(stored_reply(ended.reply, admitted.warnings)),
            usage=json_text(stored_usage(charge.usage)),
            model=charge.model,
            conversation=admitted.conversation_id,
            message=new_id(),
            parts=json_text(stored_parts(ended.reply)),
        )
        lines = [line for line in hold.lines if finished or line.counter.user_id is None]
        ids, used = [line.counter.id for line in lines], charges(lines, charge.spent, charge.cost)
        if lines:
            await CHARGE.rows(conn, tenant=tenant_id, ids=ids, used=used)
        late = replace(charge.main, kind="late", calls=charge.main.calls if finished else 0)
        await append(conn, tenant_id, late, entry_id=late_id, counter_ids=ids, used=used)
        guess = await sql.TAKE_BACK.row(conn, tenant=tenant_id, entry=hold.id, id=UUID(int=hold.id.int + 2))
        if guess is not None:
            await CHARGE.rows(conn, tenant=tenant_id, ids=guess["counter_ids"], used=guess["amounts"])
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
        "reply": stored_reply(reply, admitted.warnings) if reply is not None else None,
        "usage": stored_usage(charge.usage) if reply is not None else None,
        "error": stored_error(ended.error) if ended.error is not None else None,
        "model": charge.model,
        "conversation": admitted.conversation_id,
        "title": title_of(admitted.ask.parts) if answered else None,
        "message": new_id() if answered else None,
        "parts": stored_parts(reply) if answered and reply is not None else None,
    }


def _event(ended: Ended) -> dict[str, Any]:
    main = ended.charge.main
    return event_payload("turn.finished", {field: getattr(main, field) for field in EVENTS["turn.finished"]})
