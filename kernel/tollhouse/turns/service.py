"""The one request flow: prepare, policy, runtime, usage. Every channel comes through here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg

from tollhouse.host.caller import Caller
from tollhouse.plugin.access import Decision, Principal
from tollhouse.plugin.content import Media, Part, Text
from tollhouse.plugin.errors import AccessDenied, InvalidInput, NotFound, TollhouseError, Unauthenticated
from tollhouse.plugin.llm import TokenUsage
from tollhouse.plugin.ports import TurnRequest, TurnResult
from tollhouse.policy import reasons
from tollhouse.policy.engine import PolicyEngine, refusal
from tollhouse.policy.rules import TURN_SCOPE, AccessRequest
from tollhouse.runtime.errors import RunFailed
from tollhouse.runtime.run import Runtime
from tollhouse.store.event_data import event_payload
from tollhouse.store.groups import Groups
from tollhouse.store.ids import new_id, parse_id
from tollhouse.store.json_text import clean_part, json_text
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store
from tollhouse.turns import repository as sql
from tollhouse.turns.admit import Admission, Admitted, Ask
from tollhouse.turns.charge import charge_for, connection_alarms, interrupted
from tollhouse.turns.errors import AnswerDeleted, NoModel, OtherBody, TakenOver, TurnInterrupted, TurnRunning
from tollhouse.turns.media import MediaLoader
from tollhouse.turns.result import result_of
from tollhouse.turns.settle import Ended, Settlement
from tollhouse.turns.shares import shown_to
from tollhouse.usage.alarms import raise_alarm
from tollhouse.usage.sweeper import expire_turn

log = logging.getLogger(__name__)

MAX_EXTERNAL_ID = 255
ROUNDS = 6
"""How often admission begins again after a race for the same idempotency key."""


class TurnService:
    """Runs turns."""

    def __init__(
        self,
        store: Store,
        policy: PolicyEngine,
        admission: Admission,
        runtime: Runtime,
        settlement: Settlement,
        media: MediaLoader,
        busy: set[UUID],
        *,
        denial_subscribers: Sequence[str] = (),
    ) -> None:
        """``busy``: the holds that this process works on (``Runner.busy``); the settlement takes them out again.
        ``denial_subscribers``: the plugins that want to hear of denied turns."""
        self.store = store
        self.policy = policy
        self._admissions: Groups[Ask, Admitted] = Groups(store.lane, admission.admit, abandoned=self._never_ran)
        self._runtime = runtime
        self._settlement = settlement
        self._media = media
        self._busy = busy
        self._denial_subscribers = tuple(denial_subscribers)

    async def run(self, caller: Caller, request: TurnRequest, source_id: UUID | None = None) -> TurnResult:
        """Run a turn to its end. ``source_id``: the connection it came by, for messengers; else the user.

        Raises:
            AccessDenied, InvalidInput, NotFound, TurnRunning, BackendError: see the port ``Turns``.
        """
        principal = caller.user
        _check(request)
        request = _storable(request)
        if _has_media(request):  # what becomes of it is told, and fetched, before anything is admitted
            await self._confirm(principal, request.agent)
        media = await self._media.open(principal, request.parts, request.history)
        make = partial(Ask.of, caller, request, media, source_id)
        # With a key, files are hashed: that is done beside the loop.
        heavy = request.external_id is not None and any(isinstance(part, Media) for part in media.parts)
        ask = await asyncio.to_thread(make) if heavy else make()
        admitted = await self._admit(ask)
        if isinstance(admitted, TurnResult):
            return admitted
        return await self._run(admitted)

    # -- transaction 1 -------------------------------------------------------------------------------------------------

    async def _admit(self, ask: Ask) -> Admitted | TurnResult:
        tenant_id = ask.caller.user.tenant_id
        for _ in range(ROUNDS):
            if ask.request.external_id is not None:
                found = await self._find(ask)
                if isinstance(found, TurnResult):
                    return found
                ask = found
            # Not before the key was looked up: a repeated request needs no picture, and finds its turn whatever became of it.
            media = await self._media.fetch(ask.media)
            if media is not ask.media:
                ask = replace(ask, media=media)
            try:
                return await self._admissions.add(tenant_id, ask)
            except AccessDenied as error:
                await self._record_denial(ask.caller.user, ask.request.agent, error.decision)
                raise refusal(shown_to(ask.caller.user, error.decision)) from None
            except NoModel as error:
                await self.store.run(tenant_scope(tenant_id), partial(_raise_alarms, tenant_id=tenant_id, broken=error.broken))
                raise
            except TakenOver:
                continue
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name != "uq_turns_external":
                    raise
                continue  # the same key, a moment earlier: see what became of it
        raise TurnRunning()

    async def _confirm(self, principal: Principal, agent: str) -> None:
        """Read again who asks, for what is done before an admission."""

        async def read(conn: Any) -> None:
            _permitted(await sql.WHO.row(conn, tenant=principal.tenant_id, **_who(principal)))

        try:
            await self.store.run(tenant_scope(principal.tenant_id), read)
        except AccessDenied as error:
            await self._record_denial(principal, agent, error.decision)
            raise

    async def _find(self, ask: Ask) -> Ask | TurnResult:
        principal = ask.caller.user
        try:
            return await self.store.run(tenant_scope(principal.tenant_id), partial(_find, ask=ask))
        except AccessDenied as error:
            await self._record_denial(principal, ask.request.agent, error.decision)
            raise

    async def _record_denial(self, principal: Principal, agent: str, decision: Decision) -> None:
        """Remember why, so that it can be answered later; repeats within a minute share a row, and are one event."""
        data = {"user_id": principal.user_id, "agent": agent[:200], "channel": principal.channel, "reason": decision.reason}

        async def write(conn: Any) -> None:
            members = json_text(decision.problem_members())
            first = await sql.DENIED.value(conn, tenant=principal.tenant_id, id=new_id(), **data, decision=members)
            if first and self._denial_subscribers:
                told = [{"id": new_id(), "subscriber": name} for name in self._denial_subscribers]
                payload = json_text(event_payload("turn.denied", data))
                await sql.TELL.rows(conn, tenant=principal.tenant_id, payload=payload, **sql.TOLD.params(told))

        await self.store.run(tenant_scope(principal.tenant_id), write)

    # -- the model, and transaction 2 ----------------------------------------------------------------------------------

    async def _run(self, admitted: Admitted) -> TurnResult:
        self._busy.add(admitted.hold.id)
        asked = asyncio.Event()
        try:
            ended = await self._end(admitted, asked)
        except BaseException:  # cancelled; or a bug of ours, or a full disk: nothing stays held
            await asyncio.shield(self._give_up(admitted, asked=asked.is_set()))
            raise
        at_once = await self._settlement.settle(ended)
        if ended.error is not None:
            raise _told(ended.error, admitted)
        own = _result(admitted, "done", reply=ended.reply, usage=ended.charge.usage, model=ended.charge.model)
        return own if at_once else await self._what_stands(admitted, own)

    async def _what_stands(self, admitted: Admitted, own: TurnResult) -> TurnResult:
        """The answer that is stored, which is another one if the turn was taken over before this one could be."""
        tenant_id, turn_id = admitted.case.facts.tenant.id, admitted.hold.turn_id
        row = await self.store.run(tenant_scope(tenant_id), partial(_by_id, tenant_id=tenant_id, turn_id=turn_id))
        if row["state"] == "running":
            raise TurnRunning(turn_id=str(turn_id))
        if row["state"] == "failed":
            raise _told(TurnInterrupted(), admitted)
        return result_of(row) if row["reply"] else own

    async def _end(self, admitted: Admitted, asked: asyncio.Event) -> Ended:
        """Run the model, and work out what it comes to. ``asked`` is set when the model may be at work."""
        error: TollhouseError
        ask, who = admitted.ask, admitted.ask.caller.user
        try:
            if ask.media.fresh and ask.request.store and ask.attempt == 1:
                await self._media.keep(who, ask.media)
            prepared = await self._media.hydrate(who, admitted.prepared)
            asked.set()
            outcome = await self._runtime.run(prepared, admitted.max_output_tokens, str(admitted.hold.id))
        except RunFailed as failed:
            error, calls = failed.error, failed.calls
            log.warning("turn %s failed: %s", admitted.hold.turn_id, "; ".join(call.error for call in calls) or error.detail)
        except TollhouseError as refused:
            error, calls = refused, ()
        else:
            return Ended(admitted, charge_for(admitted, outcome.calls, "ok"), reply=outcome.reply)
        return Ended(admitted, charge_for(admitted, calls, error.http_code), error=error)

    async def _never_ran(self, admitted: Admitted) -> None:
        """It was admitted, and whoever waited for that is gone: the model is not asked."""
        await self._give_up(admitted, asked=False)

    async def _give_up(self, admitted: Admitted, *, asked: bool) -> None:
        """The turn ends now: whoever waited for it was cancelled (no client can do that, a plugin's own time limit can)."""
        await self._settlement.settle(Ended(admitted, interrupted(admitted, asked=asked), error=TurnInterrupted()))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def get(self, caller: Caller, turn_id: str) -> TurnResult:
        """A turn of the caller."""
        found, tenant_id, principal = parse_id(turn_id), caller.user.tenant_id, caller.user
        if found is None:
            raise NotFound()
        row = await self.store.run(tenant_scope(tenant_id), partial(_by_id, tenant_id=tenant_id, turn_id=found))
        if row is None or row["user_id"] != principal.user_id:
            raise NotFound()
        return result_of(row)

    async def check(
        self, caller: Caller, agent: str, channel: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Decision:
        """What admission would say now."""
        principal = caller.user
        return await self.policy.check(AccessRequest(principal, agent, channel or principal.channel, metadata or {}))


def _who(principal: Principal) -> dict[str, Any]:
    return {"user_id": principal.user_id, "kind": principal.credential_kind, "credential": principal.credential_id}


def _permitted(row: Any) -> Any:
    """A row of ``WHO``, if its person may have turns answered by this credential.

    Raises:
        Unauthenticated: the person or the credential is gone since it was checked.
        AccessDenied: the API key is not meant for turns, or the person is blocked.
    """
    if row is None or row["scopes"] is None:
        raise Unauthenticated()
    meant = {TURN_SCOPE, "*"} & {*row["scopes"]}
    if meant and row["user_status"] == "active":
        return row
    reason = reasons.USER_BLOCKED if meant else reasons.SCOPE
    raise AccessDenied(Decision(False, reason.code, reason.sentence, reason.status))


def _has_media(request: TurnRequest) -> bool:
    said = (request.parts, *(message.parts for message in request.history))
    return any(not isinstance(part, Text) for parts in said for part in parts)


async def _raise_alarms(conn: Any, tenant_id: UUID, broken: Mapping[UUID, str]) -> None:
    for alarm in connection_alarms(broken):
        await raise_alarm(conn, tenant_id, alarm.code, alarm.subject, alarm.message)


async def _by_id(conn: Any, tenant_id: UUID, turn_id: UUID) -> Any:
    return await sql.BY_ID.row(conn, tenant=tenant_id, turn=turn_id)


async def _find(conn: Any, ask: Ask) -> Ask | TurnResult:
    """The turn of this idempotency key: its result, or the ask for the attempt to make. Nothing is admitted for an answer that
    is given again, so the credential is read again here, by the same statement.

    Raises:
        Unauthenticated, AccessDenied: the credential has ended or is not meant for turns, or the person is blocked.
        OtherBody: the key was used for something else.
        AnswerDeleted: it was answered, and the answer is gone.
        TurnRunning: somebody alive works on it.
    """
    tenant_id, key = ask.caller.user.tenant_id, {"source": ask.source_id, "external_id": ask.request.external_id}
    who = _who(ask.caller.user)
    row = _permitted(await sql.BY_EXTERNAL_ID.row(conn, tenant=tenant_id, **key, **who))
    if row["state"] == "running" and not row["alive"]:
        await expire_turn(conn, tenant_id, row["id"], row["runner_id"])
        row = _permitted(await sql.BY_EXTERNAL_ID.row(conn, tenant=tenant_id, **key, **who))
    if row["id"] is None:
        return replace(ask, attempt=1)
    if row["body_hash"] != ask.body:
        raise OtherBody()
    if row["state"] == "done":
        if not row["reply"]:
            raise AnswerDeleted(turn_id=str(row["id"]))
        return result_of(row, replayed=True)
    if row["state"] == "running":
        raise TurnRunning(turn_id=str(row["id"]))
    request = replace(ask.request, conversation=str(row["conversation_id"]) if row["conversation_id"] else None)
    return replace(ask, turn_id=row["id"], attempt=row["attempt"] + 1, request=request, began=row["created_at"])


def _check(request: TurnRequest) -> None:
    if not any(not isinstance(part, Text) or part.text.strip() for part in request.parts):
        raise InvalidInput("Say something: the message is empty.", field="parts")
    for place, part in enumerate(request.parts):
        if isinstance(part, Text) and "\0" in part.text:
            raise InvalidInput("The text holds a NUL character, which cannot be stored.", field=f"parts.{place}.text")
    if request.external_id is not None and not 0 < len(request.external_id) <= MAX_EXTERNAL_ID:
        raise InvalidInput(f"An idempotency key has 1 to {MAX_EXTERNAL_ID} characters.", field="external_id")


def _storable(request: TurnRequest) -> TurnRequest:
    """The request as a conversation will keep it: what the model reads now is what it reads as history later."""
    parts, history = _clean_parts(request.parts), request.history
    said = [_clean_parts(message.parts) for message in history]
    if any(now is not message.parts for now, message in zip(said, history, strict=True)):
        history = tuple([replace(message, parts=now) for now, message in zip(said, history, strict=True)])
    return request if parts is request.parts and history is request.history else replace(request, parts=parts, history=history)


def _clean_parts(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The very same, if there was nothing to clean: nearly always."""
    cleaned = tuple(map(clean_part, parts))
    return parts if cleaned == parts else cleaned


def _result(admitted: Admitted, state: Any, *, reply: Any, usage: TokenUsage, model: str) -> TurnResult:
    case = admitted.case
    assert case.facts.agent is not None
    created: datetime = admitted.ask.began or case.facts.now
    return TurnResult(
        id=str(admitted.hold.turn_id),
        state=state,
        agent=case.facts.agent.slug,
        channel=case.request.channel,
        created_at=created,
        conversation_id=str(admitted.conversation_id) if admitted.conversation_id else None,
        version=admitted.prepared.version.number,
        reply=reply,
        usage=usage,
        model=model,
        warnings=admitted.warnings,
        external_id=admitted.ask.request.external_id,
    )


def _told(error: TollhouseError, admitted: Admitted) -> TollhouseError:
    """The error with the turn that it belongs to: it is kept, and can be tried again."""
    talk = str(admitted.conversation_id) if admitted.conversation_id else None
    error.extra = {**error.extra, "turn_id": str(admitted.hold.turn_id), "conversation_id": talk}
    return error
