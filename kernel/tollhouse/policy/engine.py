"""The policy engine: the only place where access is decided.

``gate`` applies the rules, ``fit`` the limits; both are pure and used by every way of asking: admission (which locks the
counters and sets units aside), ``check``, ``check_many``, ``explain`` and ``limits`` (which only read).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from tollhouse.billing.plans import PlanCache, PlanVersion
from tollhouse.plugin.access import Decision, LimitStatus, Principal
from tollhouse.plugin.errors import AccessDenied, InvalidInput, NotFound
from tollhouse.policy import facts as facts_module
from tollhouse.policy import reasons
from tollhouse.policy.facts import AgentFacts, Facts, read_facts
from tollhouse.policy.limits import CAP_ID, Applied, Fit, Needs, applied_limits, fit, status_of
from tollhouse.policy.reasons import Reason
from tollhouse.policy.rules import RULES, AccessRequest, Case, Rule, case_of, first_reason
from tollhouse.policy.words import limit_sentence
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store

MAX_PROMPT_TOKENS = 1_000_000_000
SHORT_WINDOWS = ("minute", "hour", "now")
Upgrade = Callable[[str], str | None]
WorstPrices = Callable[[Facts], Awaitable[tuple[int, int, bool]]]
"""Input and output price in nano-units per million tokens, and whether every price is known."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule of an explanation, and what it said."""

    rule: str
    passed: bool
    reason: str = "ok"
    detail: str = ""


class PolicyEngine:
    """Decides. Holds no state of its own: immutable plan versions come from their cache, all else is read each time."""

    def __init__(
        self,
        store: Store,
        plans: PlanCache,
        channels: Collection[str],
        *,
        rules: Sequence[Rule] = RULES,
        upgrade: Upgrade = lambda tenant_slug: None,
        prices: WorstPrices | None = None,
    ) -> None:
        """``channels``: those whose plugin is on. ``upgrade``: where a tenant's users get more, None if there is no page.
        ``prices``: the dearest prices of the models that would answer, for asking about cost limits without a turn."""
        self.store = store
        self.plans = plans
        self.channels = frozenset(channels)
        self.rules = tuple(rules)
        self._upgrade = upgrade
        self._prices = prices

    # -- deciding, pure ------------------------------------------------------------------------------------------------

    def case(self, request: AccessRequest, facts: Facts, plan: PlanVersion | None) -> Case:
        """Facts and request as the rules see them."""
        return case_of(request, facts, plan, self.channels)

    def gate(self, case: Case) -> Decision | None:
        """A denial by a rule, or None when every rule passes; the limits are still to come."""
        reason = first_reason(self.rules, case)
        return self._denial(case, reason) if reason is not None else None

    def fit(self, case: Case, needs: Needs) -> Fit:
        """What has to be set aside; or why it does not fit, which :meth:`verdict` puts into words."""
        return fit(applied_limits(case, case.facts.standings), needs)

    def verdict(self, case: Case, result: Fit) -> Decision:
        """The decision that a fit comes to, with all its limits."""
        if result.reason is not None:
            return self._denial(case, result.reason, result.blocking)
        return self._yes(case, applied_limits(case, case.facts.standings), result)

    def _yes(self, case: Case, applied: Sequence[Applied], result: Fit) -> Decision:
        return Decision(
            True,
            "ok",
            limits=_statuses(case, applied),
            plan=case.plan.slug if case.plan else None,
            warnings=self.warnings(case, result),
        )

    @staticmethod
    def warnings(case: Case, result: Fit) -> tuple[str, ...]:
        """What is to be said of soft limits that are used up; nothing nearly always."""
        return tuple(_sentence(case, soft) for soft in result.soft) if result.soft else ()

    def _denial(self, case: Case, reason: Reason, blocking: Applied | None = None) -> Decision:
        status, retryable, message, wait = reason.status, reason.retryable, reason.sentence, None
        if blocking is not None and reason is reasons.LIMIT:
            message = _sentence(case, blocking)
            if blocking.limit.window in SHORT_WINDOWS and blocking.limit.amount > 0:
                status, retryable = 429, True
                wait = 1 if blocking.limit.window == "now" else _seconds(case, blocking)
        return Decision(
            False,
            reason.code,
            message=message,
            status=status,
            retryable=retryable,
            retry_after=wait,
            limit=next(iter(_statuses(case, [blocking])), None) if blocking is not None else None,
            limits=_statuses(case, applied_limits(case, case.facts.standings)) if case.entitlement.usable else (),
            plan=case.plan.slug if case.plan else None,
            upgrade_url=self._upgrade(case.facts.tenant.slug) if status in (402, 403, 429) else None,
        )

    # -- asking, without setting anything aside ------------------------------------------------------------------------

    async def check(self, request: AccessRequest) -> Decision:
        """What admission would say now."""
        case = await self.read_case(request)
        denial = self.gate(case)
        if denial is not None:
            return denial
        return self.verdict(case, self.fit(case, await self._least(case)))

    async def check_many(self, principal: Principal, channel: str) -> list[tuple[AgentFacts, Decision]]:
        """Every published agent with the decision on it: how lists are filtered."""
        base = await self.read_case(AccessRequest(principal, "", channel))
        found = []
        for agent in await self._published(principal.tenant_id):
            # A list needs no versions: a published agent without an active one is denied when it is asked.
            ready = replace(agent, versions=((UUID(int=0), 10_000),))
            case = replace(base, facts=replace(base.facts, agent=ready), request=AccessRequest(principal, agent.slug, channel))
            if _counts_cost(case):
                found.append((agent, await self.check(case.request)))
                continue
            found.append((agent, self.gate(case) or self.verdict(case, self.fit(case, Needs()))))
        return found

    async def explain(self, request: AccessRequest) -> tuple[Decision, list[Step]]:
        """The decision with every rule that was asked, in order, up to the one that decided."""
        case = await self.read_case(request)
        steps = []
        for rule in self.rules:
            reason = rule(case)
            steps.append(Step(rule.__name__, reason is None, reason.code if reason else "ok", reason.meaning if reason else ""))
            if reason is not None:
                return self._denial(case, reason), steps
        needs = await self._least(case)
        result = self.fit(case, needs)
        decision = self.verdict(case, result)
        for applied in applied_limits(case, case.facts.standings):
            blocked = result.blocking is not None and applied.limit == result.blocking.limit
            held = f", {applied.standing.held} being answered" if applied.standing.held else ""
            used = f"{applied.standing.used} of {applied.limit.amount} used{held}"
            name = f"limit {applied.limit.metric}/{applied.limit.window}"
            steps.append(Step(name, not blocked, decision.reason if blocked else "ok", used))
        return decision, steps

    async def _least(self, case: Case) -> Needs:
        """The least that a turn needs: what is known of its prompt, one token of output, and the price of both."""
        tokens = case.request.metadata.get("prompt_tokens") or 1
        if not isinstance(tokens, int) or not 0 < tokens <= MAX_PROMPT_TOKENS:
            raise InvalidInput(f"A whole number from 1 to {MAX_PROMPT_TOKENS:,}.", field="metadata.prompt_tokens")
        if self._prices is None or not _counts_cost(case):
            return Needs(input_tokens=tokens)
        input_price, output_price, priced = await self._prices(case.facts)
        return Needs(tokens, 1, input_price, output_price, priced)

    async def limits(self, principal: Principal) -> tuple[LimitStatus, ...]:
        """Every limit of the principal's plan with how it stands."""
        case = await self.read_case(AccessRequest(principal, "", principal.channel))
        agents = {agent.id: agent.slug for agent in await self._published(principal.tenant_id)}
        currency = case.facts.tenant.cost_currency
        return tuple(status_of(one, agents, currency) for one in applied_limits(case, case.facts.standings, every=True))

    async def read_case(self, request: AccessRequest) -> Case:
        """The case with nothing locked."""

        async def read(conn: Any) -> Facts:
            return await read_facts(conn, request.principal, request.agent)

        facts = await self.store.run(tenant_scope(request.principal.tenant_id), read)
        subscription = facts.subscription
        plan = await self.plans.get(facts.tenant.id, subscription.plan_version_id) if subscription else None
        return self.case(request, facts, plan)

    async def _published(self, tenant_id: UUID) -> list[AgentFacts]:
        async def read(conn: Any) -> list[AgentFacts]:
            rows = await facts_module.PUBLISHED.rows(conn, tenant=tenant_id)
            return [AgentFacts(row["id"], row["slug"], row["name"], row["status"]) for row in rows]

        return await self.store.run(tenant_scope(tenant_id), read)


def _counts_cost(case: Case) -> bool:
    return any(applied.limit.metric == "cost" for applied in applied_limits(case, case.facts.standings))


def refusal(decision: Decision) -> AccessDenied | NotFound:
    """What a denial is raised as: an agent that is not there for this person is not found, like any other thing."""
    return NotFound(decision.message) if decision.status == 404 else AccessDenied(decision)


def _statuses(case: Case, applied: Sequence[Applied]) -> tuple[LimitStatus, ...]:
    agent = case.facts.agent
    names: Mapping[UUID, str] = {agent.id: agent.slug} if agent else {}
    # What the tenant may spend in a day is the business of its staff; ``explain`` tells them.
    currency = case.facts.tenant.cost_currency
    return tuple(status_of(one, names, currency) for one in applied if one.limit.id != CAP_ID)


def _sentence(case: Case, applied: Applied) -> str:
    return limit_sentence(applied, case.facts.tenant.timezone)


def _seconds(case: Case, blocking: Applied) -> int:
    return max(1, int((blocking.key.end - case.facts.now).total_seconds()) + 1)
