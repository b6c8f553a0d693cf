"""The rules as pure functions: for each reason a case that has it, and the word of the neighbouring case that has not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tollhouse.billing.entitlements import Subscription
from tollhouse.billing.plans import PlanLimit, PlanVersion
from tollhouse.plugin.access import Decision, Principal
from tollhouse.policy import reasons
from tollhouse.policy.engine import PolicyEngine
from tollhouse.policy.facts import AgentFacts, Facts, TenantFacts, UserFacts
from tollhouse.policy.limits import Needs
from tollhouse.policy.rules import RULES, AccessRequest, Case, case_of, first_reason
from tollhouse.usage.counters import Standing

NOW = datetime(2026, 3, 10, 12, 20, 30, tzinfo=UTC)
TENANT, USER, AGENT, OTHER_AGENT, PLAN = (UUID(int=number) for number in range(1, 6))
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Story:
    """Everything a case is made of; a test changes one thing."""

    principal: Principal
    tenant: TenantFacts
    user: UserFacts
    agent: AgentFacts | None
    subscription: Subscription | None
    plan: PlanVersion | None
    metadata: dict[str, Any] = field(default_factory=dict)
    channels: frozenset[str] = frozenset({"api", "web"})

    def case(self) -> Case:
        request = AccessRequest(self.principal, "guide", self.principal.channel, self.metadata)
        facts = Facts(NOW, self.tenant, self.user, self.agent, self.subscription)
        return case_of(request, facts, self.plan, self.channels)

    def reason(self) -> str:
        found = first_reason(RULES, self.case())
        return "ok" if found is None else found.code

    def but(self, **changes: Any) -> Story:
        """The same with attributes changed: ``user__role="admin"`` reaches into a part."""
        story = self
        for name, value in changes.items():
            part, _, attribute = name.partition("__")
            story = replace(story, **{part: replace(getattr(story, part), **{attribute: value}) if attribute else value})
        return story


WELL = Story(
    Principal(TENANT, USER, "password", "api"),
    TenantFacts(TENANT, "shop", "Shop", "active", "Europe/Berlin", "en", "EUR", None),
    UserFacts(USER, "active", True, None, "Ada", None),
    AgentFacts(AGENT, "guide", "Guide", "published", ((UUID(int=9), 10_000),)),
    Subscription(TENANT, UUID(int=8), USER, PLAN, "active", NOW, NOW + DAY, NOW - DAY),
    PlanVersion(TENANT, PLAN, PLAN, "pro", "Pro", 1, 900, "EUR", "month", 3, False, frozenset({AGENT}), None, False, ()),
)

DENIALS: dict[str, list[tuple[Story, Story]]] = {
    "tenant_suspended": [(WELL.but(tenant__status="suspended"), WELL)],
    "scope_missing": [
        (WELL.but(principal__scopes=frozenset({"read"})), WELL.but(principal__scopes=frozenset({"read", "turns"}))),
        (WELL.but(principal__scopes=frozenset()), WELL.but(principal__scopes=None)),
    ],
    "role_missing": [
        (WELL.but(metadata={"test": True}), WELL.but(metadata={"test": True}, user__role="admin")),
        (WELL.but(metadata={"test": True}, user__role="support"), WELL.but(metadata={"test": True}, user__role="owner")),
        (WELL.but(metadata={"test": True}, user__role="analyst"), WELL.but(metadata={"test": True}, principal__operator=True)),
    ],
    "user_blocked": [(WELL.but(user__status="blocked"), WELL), (WELL.but(user__status="erased"), WELL)],
    "channel_not_installed": [(WELL.but(principal__channel="telegram"), WELL.but(principal__channel="web"))],
    "agent_not_found": [
        (WELL.but(agent=None), WELL),
        (WELL.but(agent__status="draft"), WELL.but(agent__status="draft", metadata={"test": True}, user__role="admin")),
        (WELL.but(agent__status="archived"), WELL),
    ],
    "no_subscription": [
        (WELL.but(subscription=None, plan=None), WELL.but(subscription=None, metadata={"test": True}, user__role="admin"))
    ],
    "subscription_pending": [(WELL.but(subscription__status="pending"), WELL)],
    "subscription_ended": [
        (WELL.but(subscription__status="ended"), WELL),
        (
            WELL.but(subscription__status="canceled", subscription__period_end=NOW),
            WELL.but(subscription__status="canceled", subscription__period_end=NOW + timedelta(microseconds=1)),
        ),
        (
            WELL.but(subscription__cancel_at_period_end=True, subscription__period_end=NOW - DAY),
            WELL.but(subscription__cancel_at_period_end=True),
        ),
    ],
    "payment_overdue": [
        (WELL.but(subscription__period_end=NOW - 3 * DAY), WELL.but(subscription__period_end=NOW - 3 * DAY + DAY)),
        (
            WELL.but(subscription__period_end=NOW - DAY, subscription__grace_until=NOW),
            WELL.but(subscription__period_end=NOW - 9 * DAY, subscription__grace_until=NOW + DAY),
        ),
    ],
    "email_unverified": [
        (WELL.but(plan__verified_email=True, user__verified=False), WELL.but(plan__verified_email=True)),
        (WELL.but(plan__verified_email=True, user__verified=False), WELL.but(user__verified=False)),
    ],
    "agent_not_in_plan": [
        (WELL.but(plan__agents=frozenset({OTHER_AGENT})), WELL.but(plan__agents=frozenset(), plan__all_agents=True)),
        (WELL.but(plan__agents=frozenset()), WELL.but(plan__agents=frozenset({OTHER_AGENT, AGENT}))),
    ],
    "channel_not_in_plan": [
        (WELL.but(plan__channels=frozenset({"web"})), WELL.but(plan__channels=frozenset({"web", "api"}))),
        (WELL.but(plan__channels=frozenset()), WELL.but(plan__channels=None)),
    ],
    "agent_not_ready": [
        (WELL.but(agent__versions=()), WELL.but(agent__versions=(), metadata={"test": True}, user__role="admin"))
    ],
}
BY_LIMITS = {"limit_reached", "tenant_cap_reached", "price_unknown"}
PAIRS = [(code, *pair) for code, pairs in DENIALS.items() for pair in pairs]


@pytest.mark.parametrize(("code", "denied", "allowed"), PAIRS, ids=[f"{code}" for code, *_ in PAIRS])
def test_a_rule_denies_its_case_and_passes_the_one_beside_it(code: str, denied: Story, allowed: Story) -> None:
    assert denied.reason() == code
    assert allowed.reason() == "ok"


def test_every_reason_has_a_story_here() -> None:
    assert set(DENIALS) | BY_LIMITS == set(reasons.BY_CODE)


def test_the_first_rule_decides_whatever_else_is_wrong() -> None:
    everything = WELL.but(
        tenant__status="suspended",
        principal__scopes=frozenset(),
        user__status="blocked",
        principal__channel="fax",
        agent=None,
        subscription=None,
    )
    order = ["tenant_suspended", "scope_missing", "user_blocked", "channel_not_installed", "agent_not_found", "no_subscription"]
    cures: list[Callable[[Story], Story]] = [
        lambda story: story.but(tenant__status="active"),
        lambda story: story.but(principal__scopes=None),
        lambda story: story.but(user__status="active"),
        lambda story: story.but(principal__channel="api"),
        lambda story: story.but(agent=WELL.agent),
        lambda story: story.but(subscription=WELL.subscription),
    ]
    for code, cure in zip(order, cures, strict=True):
        assert everything.reason() == code
        everything = cure(everything)
    assert everything.reason() == "ok"


# -- What a denial says ------------------------------------------------------------------------------------------------------


def decide(story: Story, *limits: PlanLimit, needs: Needs | None = None) -> Decision:
    """The engine's decision, without a database: gate and fit are pure."""
    engine = PolicyEngine(None, None, story.channels, upgrade=lambda slug: f"/t/{slug}/plans")  # type: ignore[arg-type]
    case = story.but(plan__limits=tuple(limits)).case() if story.plan else story.case()
    return engine.gate(case) or engine.verdict(case, engine.fit(case, needs or Needs()))


def limit(amount: int, window: str = "day", metric: str = "calls", **more: Any) -> PlanLimit:
    return PlanLimit(UUID(int=77), metric, amount, window, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("window", "status", "retryable", "retry_after", "resets_at"),
    [
        ("minute", 429, True, 31, datetime(2026, 3, 10, 12, 21, tzinfo=UTC)),
        ("hour", 429, True, 39 * 60 + 31, datetime(2026, 3, 10, 13, 0, tzinfo=UTC)),
        ("day", 402, False, None, datetime(2026, 3, 10, 23, 0, tzinfo=UTC)),
        ("month", 402, False, None, datetime(2026, 3, 31, 22, 0, tzinfo=UTC)),
        ("period", 402, False, None, datetime(2026, 4, 9, 12, 20, 30, tzinfo=UTC)),
        ("lifetime", 402, False, None, None),
    ],
)
def test_a_limits_window_makes_the_status(
    window: str, status: int, retryable: bool, retry_after: int | None, resets_at: datetime | None
) -> None:
    decision = decide(WELL, limit(7, window, "total_tokens"), needs=Needs(input_tokens=7))
    assert (decision.allowed, decision.reason) == (False, "limit_reached")
    assert (decision.status, decision.retryable, decision.retry_after) == (status, retryable, retry_after)
    assert decision.limit is not None
    assert (decision.limit.amount, decision.limit.remaining, decision.limit.resets_at) == (7, 7, resets_at)
    assert decision.message
    assert decision.plan == "pro"
    assert decision.upgrade_url == "/t/shop/plans"


def test_what_is_not_in_the_plan_at_all_does_not_come_back() -> None:
    decision = decide(WELL, limit(0, "minute"))
    assert (decision.status, decision.retryable, decision.retry_after) == (402, False, None)


def test_turns_at_once_come_back_at_any_moment() -> None:
    engine = PolicyEngine(None, None, WELL.channels)  # type: ignore[arg-type]
    case = WELL.but(plan__limits=(limit(1, "now", "concurrent"),)).case()
    (line,) = engine.fit(case, Needs()).lines
    busy = replace(case, facts=replace(case.facts, standings={line.counter.id: Standing(0, 1)}))
    decision = engine.verdict(busy, engine.fit(busy, Needs()))
    assert (decision.status, decision.retry_after, decision.limit and decision.limit.resets_at) == (429, 1, None)


@pytest.mark.parametrize(("code", "denied", "allowed"), PAIRS, ids=[code for code, *_ in PAIRS])
def test_a_rules_status_is_in_the_table(code: str, denied: Story, allowed: Story) -> None:
    decision = decide(denied)
    assert (decision.status, decision.message) == (reasons.BY_CODE[code].status, reasons.BY_CODE[code].sentence)
    assert (decision.retryable, decision.retry_after, decision.limit) == (False, None, None)
    assert decide(allowed).status == 200


def test_a_price_that_nobody_knows_stops_a_hard_cost_limit_only() -> None:
    unknown = Needs(10, 10, priced=False)
    assert decide(WELL, limit(10**9, metric="cost"), needs=unknown).reason == "price_unknown"
    assert decide(WELL, limit(10**9, metric="cost"), needs=unknown).status == 403
    assert decide(WELL, limit(10**9, metric="cost", hard=False), needs=unknown).allowed
    assert decide(WELL, limit(10**9, metric="total_tokens"), needs=unknown).allowed
    assert decide(WELL.but(tenant__daily_cost_cap=10**9), needs=unknown).reason == "price_unknown"


def test_the_tenants_own_cap_denies_everybody() -> None:
    dear = Needs(10, 1, input_price=1_000_000, output_price=1_000_000)
    assert decide(WELL.but(tenant__daily_cost_cap=11), needs=dear).allowed
    decision = decide(WELL.but(tenant__daily_cost_cap=10), needs=dear)
    assert (decision.reason, decision.status, decision.retryable) == ("tenant_cap_reached", 403, False)
    assert decision.limit is None, "what the tenant may spend is not its customers' business"
    assert all(one.amount != 10 for one in decision.limits)
    staff = WELL.but(tenant__daily_cost_cap=10, metadata={"test": True}, user__role="admin")
    assert decide(staff, needs=dear).reason == "tenant_cap_reached", "a try-out costs the tenant as much as a turn"
