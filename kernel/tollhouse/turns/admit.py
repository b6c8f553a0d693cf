"""Transaction 1 of turns: facts and counters are read and locked, the engine decides, turns and holds are written.

Turns of one tenant that are ready at the same time are admitted together; each is decided on what the one before left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from tollhouse.agents.versions import PromptVersion
from tollhouse.conversations.repository import title_of
from tollhouse.host.caller import Caller
from tollhouse.plugin.content import Message, Part, part_from_json, part_to_json
from tollhouse.plugin.errors import AccessDenied, NotFound, Unauthenticated
from tollhouse.plugin.ports import TurnRequest
from tollhouse.policy.engine import PolicyEngine
from tollhouse.policy.facts import Facts, read_all_facts
from tollhouse.policy.limits import Fit
from tollhouse.policy.rules import AccessRequest, Case
from tollhouse.records import record
from tollhouse.runtime.prepare import Candidate, Prepared, Surroundings, prepare
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.ids import new_id, parse_id
from tollhouse.store.lane import Lane
from tollhouse.turns import repository as sql
from tollhouse.turns.counting import most_of
from tollhouse.turns.errors import TakenOver
from tollhouse.turns.fingerprint import body_hash
from tollhouse.turns.media import Resolved
from tollhouse.turns.offer import AtHand, Caches, Offer
from tollhouse.usage.holds import Hold, ensure_counters
from tollhouse.usage.prices import Price

MAX_HISTORY = 200
ROUNDS = 10
"""How often admission begins again because something had to be looked up, or counters had to be made, first."""


@record(frozen=True, slots=True)
class Ask:
    """A turn that somebody asks for, with its media, and where it was found before."""

    caller: Caller
    request: TurnRequest
    media: Resolved
    source_id: UUID
    body: bytes
    turn_id: UUID
    attempt: int = 1
    began: datetime | None = None  # of a turn whose earlier attempt failed

    @classmethod
    def of(cls, caller: Caller, request: TurnRequest, media: Resolved, source_id: UUID | None) -> Ask:
        """A fresh turn."""
        # Without a key nobody will ever compare the bodies.
        body = body_hash(request, media.parts) if request.external_id is not None else b""
        return cls(caller, request, media, source_id or caller.user.user_id, body, new_id())

    @property
    def key(self) -> Hashable:
        """What tells turns apart before they are written."""
        return self.turn_id if self.request.external_id is None else (self.source_id, self.request.external_id)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is said."""
        return self.media.parts

    @property
    def access(self) -> AccessRequest:
        """The same, as the policy engine sees it."""
        principal = self.caller.user
        return AccessRequest(principal, self.request.agent, principal.channel, self.request.metadata)


@record(frozen=True, slots=True)
class Admitted:
    """A turn that may run now: what was held for it and what is sent."""

    ask: Ask
    case: Case
    hold: Hold
    prepared: Prepared
    max_output_tokens: int
    prices: Mapping[tuple[str, str], Price | None]
    conversation_id: UUID | None
    begins_talk: bool = False
    warnings: tuple[str, ...] = ()
    broken: Mapping[UUID, str] = field(default_factory=dict)


@record(frozen=True, slots=True)
class _Talk:
    """A conversation as it is stored; ``messages`` is JSON."""

    id: UUID
    agent_id: UUID
    messages: str | None


class Admission:
    """Admits turns. Everything it needs to know beside the facts is immutable or cached."""

    def __init__(self, policy: PolicyEngine, caches: Caches, runner_id: Callable[[], UUID], model_timeout: float) -> None:
        """``model_timeout``: seconds that one call of a model may take at most."""
        self.policy = policy
        self._caches = caches
        self._runner_id = runner_id
        self._model_timeout = model_timeout

    async def admit(self, lane: Lane, tenant_id: UUID, asks: Sequence[Ask]) -> Sequence[Admitted | Exception]:
        """Admit turns of one tenant in one transaction; for each, what it is to be run with, or why it is not.

        Raises:
            asyncpg.UniqueViolationError: one of them has an idempotency key that came a moment earlier.
        """
        prices = self._caches.prices.at_hand(tenant_id)
        if prices is None:
            await lane.close()  # nobody waits for one connection while holding another
            prices = await self._caches.prices.ready(tenant_id)
        known = AtHand(self._caches, prices)
        for _ in range(ROUNDS):
            outcomes = await lane.run(partial(self._try, tenant_id=tenant_id, asks=asks, known=known))
            if outcomes is not None:
                return outcomes
            if known.lookups.wanted:
                await lane.close()
                await known.lookups.fetch()
        raise DatabaseDown()  # somebody removes counters as fast as we make them

    async def _try(
        self, conn: Any, tenant_id: UUID, asks: Sequence[Ask], known: AtHand
    ) -> Sequence[Admitted | Exception] | None:
        """One try. None: something has to be looked up; or counters were missing and are made: commit and try again, so that
        everybody locks what all see."""
        asked = [(ask.caller.user, ask.request.agent) for ask in asks]
        all_facts = await read_all_facts(conn, tenant_id, asked, lock=True)
        talks = await self._conversations(conn, tenant_id, asks)
        decided: list[Admitted | Fit | Exception] = []
        keys: set[Hashable] = set()
        offers: dict[UUID, Offer] = {}
        for ask, facts, talk in zip(asks, all_facts, talks, strict=True):
            # Of several with one idempotency key, one may run: the rest find it running.
            decided.append(TakenOver() if ask.key in keys else self._decide(ask, facts, talk, offers, known))
            if not isinstance(decided[-1], Exception):
                keys.add(ask.key)
        if known.lookups.wanted:
            return None
        missing = {line.counter.id: line for one in decided if isinstance(one, Fit) for line in one.lines}
        if missing:
            await ensure_counters(conn, tenant_id, list(missing.values()))
            return None
        outcomes = [one for one in decided if not isinstance(one, Fit)]
        admitted = [one for one in outcomes if isinstance(one, Admitted)]
        lost = await self._take_over(conn, tenant_id, admitted)
        if len(admitted) > len(lost):
            await self._write(conn, tenant_id, [one for one in admitted if one.hold.turn_id not in lost])
        return [TakenOver() if isinstance(one, Admitted) and one.hold.turn_id in lost else one for one in outcomes]

    def _decide(
        self, ask: Ask, facts: Facts | None, talk: _Talk | None, offers: dict[UUID, Offer], known: AtHand
    ) -> Admitted | Fit | Exception:
        """What one turn comes to. An error here is this turn's own; the others go on. ``offers``: what versions come to that
        were asked for in this group already."""
        try:
            return self._decide_or_raise(ask, facts, talk, offers, known)
        except Exception as error:
            return error

    def _decide_or_raise(
        self, ask: Ask, facts: Facts | None, talk: _Talk | None, offers: dict[UUID, Offer], known: AtHand
    ) -> Admitted | Fit:
        if facts is None:
            raise Unauthenticated()
        plan = known.plan(facts.tenant.id, facts.subscription.plan_version_id) if facts.subscription else None
        case = self.policy.case(ask.access, facts, plan)
        denial = self.policy.gate(case)
        if denial is not None:
            raise AccessDenied(denial)
        conversation_id, history = _history(ask, case, talk)
        version = known.version(case)
        offer = offers.get(version.id)
        if offer is None:
            offer = offers[version.id] = known.offer(ask.caller.tenant, facts, version)
        prepared = self._prepare(ask, facts, version, history, offer.candidates)
        fit = self.policy.fit(case, offer.needs(prepared))
        if fit.reason is not None:
            raise AccessDenied(self.policy.verdict(case, fit))
        if any(line.counter.id not in facts.standings for line in fit.lines):
            return fit
        for line in fit.lines:  # the next one in this group sees what this one has set aside
            facts.standings[line.counter.id] = facts.standings[line.counter.id].holding(line.amount)
        hold = Hold(new_id(), ask.turn_id, ask.attempt, fit.lines)
        begins = conversation_id is None and ask.request.store
        talk_id = new_id() if begins else conversation_id
        warnings = self.policy.warnings(case, fit) + prepared.notes
        return Admitted(ask, case, hold, prepared, fit.max_output_tokens, offer.prices, talk_id, begins, warnings, offer.broken)

    # -- what is sent --------------------------------------------------------------------------------------------------

    async def _conversations(self, conn: Any, tenant_id: UUID, asks: Sequence[Ask]) -> list[_Talk | None]:
        """For each, the conversation that it goes on with, if there is one and it is theirs."""
        found: list[_Talk | None] = [None] * len(asks)
        named = [
            (place, key, ask)
            for place, ask in enumerate(asks)
            if ask.request.conversation is not None and (key := parse_id(ask.request.conversation)) is not None
        ]
        if named:
            rows = await sql.CONVERSATIONS.rows(
                conn,
                tenant=tenant_id,
                conversations=[key for _, key, _ in named],
                users=[ask.caller.user.user_id for _, _, ask in named],
                turns=[ask.turn_id for _, _, ask in named],
                most=MAX_HISTORY,
            )
            for row in rows:
                place, key, _ = named[row["place"] - 1]
                found[place] = _Talk(key, row["agent_id"], row["messages"])
        return found

    def _prepare(
        self, ask: Ask, facts: Facts, version: PromptVersion, history: Sequence[Message], candidates: Sequence[Candidate]
    ) -> Prepared:
        assert facts.agent is not None
        surroundings = Surroundings(
            ask.caller.tenant,
            facts.agent.name,
            facts.user.name,
            facts.user.language or facts.tenant.language,
            ask.caller.user.channel,
            facts.now,
            ZoneInfo(facts.tenant.timezone),
        )
        asked, said = ask.request.parameters, Message("user", ask.parts)
        return prepare(version, surroundings, said, history, (), asked, candidates, self._model_timeout)

    # -- what is written -----------------------------------------------------------------------------------------------

    async def _take_over(self, conn: Any, tenant_id: UUID, admitted: Sequence[Admitted]) -> set[UUID]:
        """Raise the attempts of turns that ran before; those that somebody else took over first."""
        again = [one for one in admitted if one.ask.attempt > 1]
        if not again:
            return set()
        rows = await sql.TAKE_OVER.rows(
            conn,
            tenant=tenant_id,
            runner=self._runner_id(),
            turns=[one.hold.turn_id for one in again],
            attempts=[one.hold.attempt for one in again],
            versions=[one.prepared.version.id for one in again],
            conversations=[one.conversation_id for one in again],
        )
        return {one.hold.turn_id for one in again} - {row["id"] for row in rows}

    async def _write(self, conn: Any, tenant_id: UUID, admitted: Sequence[Admitted]) -> None:
        rows = [_row(one) for one in admitted]
        kept = any(row["message"] for row in rows)
        await sql.ADMIT[kept].rows(conn, tenant=tenant_id, runner=self._runner_id(), **sql.ADMITTED.params(rows))


def _history(ask: Ask, case: Case, talk: _Talk | None) -> tuple[UUID | None, Sequence[Message]]:
    if ask.request.conversation is None:
        return None, ask.media.history
    if talk is None or case.facts.agent is None or talk.agent_id != case.facts.agent.id:
        raise NotFound("There is no such conversation with this agent.")
    stored = [
        Message(role, tuple(part_from_json(part) for part in parts))
        for role, parts in (json.loads(talk.messages) if talk.messages else ())
    ]
    return talk.id, (*stored, *ask.media.history)


def _row(one: Admitted) -> dict[str, Any]:
    """The row of ``admitted``."""
    ask, hold, version = one.ask, one.hold, one.prepared.version
    # Another attempt finds what was said where the first one put it, unless that conversation was deleted since.
    said = one.conversation_id is not None and (ask.attempt == 1 or one.begins_talk)
    return {
        "hold": hold.id,
        "turn": hold.turn_id,
        "attempt": hold.attempt,
        "user_id": one.case.facts.user.id,
        "counter_ids": [line.counter.id for line in hold.lines],
        "amounts": [line.amount for line in hold.lines],
        "facts": hold_facts(one),
        "source": ask.source_id,
        "external_id": ask.request.external_id,
        "body_hash": "\\x" + ask.body.hex(),
        "agent": version.agent_id,
        "version": version.id,
        "channel": one.case.request.channel,
        "conversation": one.conversation_id,
        "title": (title_of(ask.parts) or "New conversation") if one.begins_talk else None,
        "message": new_id() if said else None,
        "parts": [part_to_json(part) for part in ask.parts] if said else None,
    }


def hold_facts(one: Admitted) -> dict[str, Any]:
    """What the sweeper needs to write an entry if this process dies: what this turn is, and what it may have cost by then."""
    case, version, planned = one.case, one.prepared.version, one.prepared.estimate.per_candidate[0]
    candidate, subscription, most = planned.candidate, case.facts.subscription, most_of(planned, one.max_output_tokens)
    price = one.prices.get((candidate.backend_name, candidate.model))
    return {
        "agent": str(version.agent_id),
        "version": str(version.id),
        "plan_version": str(subscription.plan_version_id) if subscription else None,
        "subscription": str(subscription.id) if subscription else None,
        "connection": str(candidate.connection_id),
        "backend": candidate.backend_name,
        "model": candidate.model,
        "channel": case.request.channel,
        "test": case.request.test,
        "input_tokens": most.input,
        "output_tokens": most.output,
        "price": price.snapshot() if price is not None else None,
    }
