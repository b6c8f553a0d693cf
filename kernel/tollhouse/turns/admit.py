"""Transaction 1 of a turn: facts and counters are read and locked, the engine decides, turn and hold are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from tollhouse.agents.split import bucket, choose
from tollhouse.agents.versions import PromptVersion, VersionCache
from tollhouse.billing.plans import PlanCache
from tollhouse.conversations.repository import title_of
from tollhouse.host.caller import Caller
from tollhouse.host.connections import Connections
from tollhouse.plugin.content import Message, Part, part_from_json, part_to_json
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import AccessDenied, BackendAuthFailed, NotFound
from tollhouse.plugin.llm import CountsTokens, DescribesModels
from tollhouse.plugin.ports import TurnRequest
from tollhouse.policy.engine import PolicyEngine
from tollhouse.policy.facts import Facts, read_facts
from tollhouse.policy.limits import Fit, Needs
from tollhouse.policy.rules import AccessRequest, Case
from tollhouse.runtime.prepare import Candidate, Prepared, Surroundings, prepare
from tollhouse.store.ids import new_id, parse_id
from tollhouse.turns import repository as sql
from tollhouse.turns.fingerprint import body_hash
from tollhouse.turns.media import Resolved
from tollhouse.usage.holds import Hold, ensure_counters
from tollhouse.usage.prices import Price, PriceBook

MAX_HISTORY = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """A turn that somebody asks for, with the bytes of its media, and where it was found before."""

    caller: Caller
    request: TurnRequest
    media: Resolved
    source_id: UUID
    body: bytes
    turn_id: UUID
    attempt: int = 1

    @classmethod
    def of(cls, caller: Caller, request: TurnRequest, media: Resolved, source_id: UUID | None) -> Ask:
        """A fresh turn."""
        # Without a key nobody will ever compare the bodies.
        body = body_hash(request, media.parts) if request.external_id is not None else b""
        return cls(caller, request, media, source_id or caller.user.user_id, body, new_id())

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is said."""
        return self.media.parts

    @property
    def access(self) -> AccessRequest:
        """The same, as the policy engine sees it."""
        principal = self.caller.user
        return AccessRequest(principal, self.request.agent, principal.channel, self.request.metadata)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A turn that may run now: what was held for it and what is sent."""

    ask: Ask
    case: Case
    hold: Hold
    prepared: Prepared
    max_output_tokens: int
    prices: Mapping[tuple[str, str], Price | None]
    conversation_id: UUID | None


class Admission:
    """Admits turns. Everything it needs to know beside the facts is immutable or cached."""

    def __init__(
        self,
        policy: PolicyEngine,
        plans: PlanCache,
        versions: VersionCache,
        connections: Connections,
        prices: PriceBook,
        runner_id: Callable[[], UUID],
    ) -> None:
        self.policy = policy
        self._plans = plans
        self._versions = versions
        self._connections = connections
        self._prices = prices
        self._runner_id = runner_id

    async def admit(self, conn: Any, ask: Ask) -> Admitted | Fit:
        """One try, inside the transaction of ``conn``.

        Gives the admitted turn, or a Fit whose counters were missing and are made now: commit and try again. The commit fails
        with ``NOTHING_DONE`` when another process took this turn over first.

        Raises:
            AccessDenied: the decision.
        """
        principal = ask.caller.user
        facts = await read_facts(conn, principal, ask.request.agent, lock=True)
        plan = await self._plans.get(facts.tenant.id, facts.subscription.plan_version_id) if facts.subscription else None
        case = self.policy.case(ask.access, facts, plan)
        denial = self.policy.gate(case)
        if denial is not None:
            raise AccessDenied(denial)
        conversation_id, history = await self._history(conn, ask, case)
        version = await self._version(ask, facts)
        candidates, prices = await self._candidates(ask.caller.tenant, facts, version)
        prepared = self._prepare(ask, facts, version, history, candidates)
        fit = self.policy.fit(case, needs_of(prepared, prices))
        if fit.reason is not None:
            raise AccessDenied(self.policy.verdict(case, fit))
        if any(line.counter.id not in facts.standings for line in fit.lines):
            await ensure_counters(conn, facts.tenant.id, fit.lines)
            return fit
        hold = Hold(new_id(), ask.turn_id, ask.attempt, fit.lines)
        admitted = Admitted(ask, case, hold, prepared, fit.max_output_tokens, prices, conversation_id or self._new_talk(ask))
        await self._write(conn, admitted, new_talk=conversation_id is None)
        return admitted

    # -- what is sent --------------------------------------------------------------------------------------------------

    async def _history(self, conn: Any, ask: Ask, case: Case) -> tuple[UUID | None, Sequence[Message]]:
        if ask.request.conversation is None:
            return None, ask.request.history
        conversation_id = parse_id(ask.request.conversation)
        row = conversation_id and await sql.CONVERSATION.row(
            conn,
            tenant=case.facts.tenant.id,
            conversation=conversation_id,
            user_id=case.facts.user.id,
            turn=ask.turn_id,
            most=MAX_HISTORY,
        )
        if not row or case.facts.agent is None or row["agent_id"] != case.facts.agent.id:
            raise NotFound("There is no such conversation with this agent.")
        stored = [
            Message(role, tuple(part_from_json(part) for part in parts))
            for role, parts in (json.loads(row["messages"]) if row["messages"] else ())
        ]
        return conversation_id, (*stored, *ask.request.history)

    async def _version(self, ask: Ask, facts: Facts) -> PromptVersion:
        assert facts.agent is not None
        wanted = ask.request.metadata.get("version") if ask.access.test else None
        if wanted is not None:
            version_id = parse_id(str(wanted))
            version = await self._versions.get(facts.tenant.id, version_id) if version_id else None
            if version is None or version.agent_id != facts.agent.id:
                raise NotFound()
            return version
        if not facts.agent.versions:
            raise NotFound("This agent has no active version; name the one to try.")
        if len(facts.agent.versions) == 1:
            return await self._versions.get(facts.tenant.id, facts.agent.versions[0][0])
        place = bucket(facts.tenant.id, facts.agent.id, facts.user.id)
        return await self._versions.get(facts.tenant.id, choose(facts.agent.versions, place))

    async def _candidates(
        self, tenant: TenantInfo, facts: Facts, version: PromptVersion
    ) -> tuple[list[Candidate], dict[tuple[str, str], Price | None]]:
        """The models that may answer and what they cost; a switched-off connection is left out."""
        found: list[Candidate] = []
        prices: dict[tuple[str, str], Price | None] = {}
        for choice in (version.spec.primary, version.spec.fallback):
            revision = facts.connections.get(choice.connection_id) if choice else None
            if choice is None or revision is None:
                continue
            bound = await self._connections.bound(tenant, choice.connection_id, revision)
            backend = bound.backend
            describes, counts = _abilities(backend.__class__)
            info = backend.describe(bound.ctx.config, choice.model) if describes else None
            count = _counter(backend, choice.model) if counts else None
            found.append(Candidate(choice.connection_id, backend.name, choice.model, info, count, revision))
            prices[backend.name, choice.model] = await self._prices.get(tenant.id, backend.name, choice.model)
        if not found:
            raise BackendAuthFailed(private="no active connection for this version")
        return found, prices

    def _prepare(
        self, ask: Ask, facts: Facts, version: PromptVersion, history: Sequence[Message], candidates: list[Candidate]
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
        return prepare(version, surroundings, Message("user", ask.parts), history, (), ask.request.parameters, candidates)

    # -- what is written -----------------------------------------------------------------------------------------------

    def _new_talk(self, ask: Ask) -> UUID | None:
        return new_id() if ask.request.store else None

    async def _write(self, conn: Any, admitted: Admitted, *, new_talk: bool) -> None:
        ask, case, hold = admitted.ask, admitted.case, admitted.hold
        assert case.facts.agent is not None
        fresh, stored = ask.attempt == 1, admitted.conversation_id is not None
        first = admitted.prepared.candidates[0]
        await sql.ADMIT[fresh, new_talk and stored, stored and fresh].last(
            conn,
            tenant=case.facts.tenant.id,
            hold=hold.id,
            turn=hold.turn_id,
            attempt=hold.attempt,
            user_id=case.facts.user.id,
            runner=self._runner_id(),
            counter_ids=[line.counter.id for line in hold.lines],
            amounts=[line.amount for line in hold.lines],
            facts=json.dumps(hold_facts(case, admitted.prepared.version, first)),
            source=ask.source_id,
            external_id=ask.request.external_id,
            body_hash=ask.body,
            agent=case.facts.agent.id,
            version=admitted.prepared.version.id,
            conversation=admitted.conversation_id,
            channel=case.request.channel,
            title=title_of(ask.parts) or "New conversation",
            message=new_id(),
            parts=json.dumps([part_to_json(part) for part in ask.parts]) if stored else None,
        )


def needs_of(prepared: Prepared, prices: Mapping[tuple[str, str], Price | None]) -> Needs:
    """The worst case of the prepared call: the dearest of its candidates."""
    known = [price for price in prices.values() if price is not None]
    return Needs(
        input_tokens=prepared.estimate.input_tokens,
        max_output_tokens=prepared.estimate.max_output_tokens,
        input_price=max((price.input_per_million for price in known), default=0),
        output_price=max((price.output_per_million for price in known), default=0),
        priced=len(known) == len(prices),
    )


def hold_facts(case: Case, version: PromptVersion, candidate: Candidate) -> dict[str, Any]:
    """What the sweeper needs to write an entry if this process dies."""
    subscription = case.facts.subscription
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
    }


@lru_cache(maxsize=256)
def _abilities(kind: type) -> tuple[bool, bool]:
    """Whether backends of this class describe models, and count tokens; asked of the class once, because asking is slow."""
    return issubclass(kind, DescribesModels), issubclass(kind, CountsTokens)


def _counter(backend: CountsTokens, model: str) -> Callable[[str], int | None]:
    return lambda text: backend.count_tokens(model, text)
