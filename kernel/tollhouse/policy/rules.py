"""The rules, in their order. Pure functions of facts: each gives a reason to deny, or None.

The first reason decides. Limits come last and are in limits.py, because they also say how much may be set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from typing import Any

from tollhouse.billing.entitlements import NOTHING, Entitlement, entitlements
from tollhouse.billing.plans import PlanVersion
from tollhouse.plugin.access import Principal
from tollhouse.policy import reasons
from tollhouse.policy.facts import Facts
from tollhouse.policy.reasons import Reason
from tollhouse.records import record

TURN_SCOPE = "turns"
MANAGING = ("owner", "admin")


@record(frozen=True, slots=True)
class AccessRequest:
    """Who asks for which agent on which channel.

    ``metadata``: part kinds and sizes, estimated prompt tokens, locale, client, address, and ``test`` for a try-out by staff.
    """

    principal: Principal
    agent: str
    channel: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def test(self) -> bool:
        """Whether this is a try-out by the team: it needs a role instead of a subscription, and spends no allowance."""
        return bool(self.metadata.get("test"))


@record(frozen=True, slots=True)
class Case:
    """A request with its facts: what the rules look at."""

    request: AccessRequest
    facts: Facts
    plan: PlanVersion | None
    entitlement: Entitlement
    channels: Collection[str]


def case_of(request: AccessRequest, facts: Facts, plan: PlanVersion | None, channels: Collection[str]) -> Case:
    """The case, with its entitlement computed for the moment of the facts."""
    rights = NOTHING if request.test else entitlements(facts.subscription, plan, facts.overrides, facts.now)
    return Case(request, facts, plan, rights, channels)


def tenant_is_active(case: Case) -> Reason | None:
    return None if case.facts.tenant.status == "active" else reasons.TENANT_SUSPENDED


def credential_may(case: Case) -> Reason | None:
    # As the gateway was told, who may have been told up to half a minute ago, and as it is now.
    told, now = case.request.principal.scopes, case.facts.user.scopes
    if (told is not None and TURN_SCOPE not in told) or not {TURN_SCOPE, "*"} & {*now}:
        return reasons.SCOPE
    if case.request.test and not (case.facts.user.role in MANAGING or case.request.principal.operator):
        return reasons.ROLE
    return None


def user_is_active(case: Case) -> Reason | None:
    return None if case.facts.user.status == "active" else reasons.USER_BLOCKED


def channel_is_installed(case: Case) -> Reason | None:
    return None if case.request.channel in case.channels else reasons.CHANNEL_MISSING


def agent_is_published(case: Case) -> Reason | None:
    agent = case.facts.agent
    if agent is None or (agent.status != "published" and not case.request.test):
        return reasons.NO_AGENT
    return None


def subscription_is_current(case: Case) -> Reason | None:
    if case.entitlement.usable or case.request.test:
        return None
    return reasons.BY_CODE[case.entitlement.reason]


def email_is_verified(case: Case) -> Reason | None:
    if case.plan is None or not case.plan.verified_email or case.facts.user.verified or case.request.test:
        return None
    return reasons.UNVERIFIED


def plan_contains_agent(case: Case) -> Reason | None:
    if case.plan is None or case.plan.all_agents or case.request.test:
        return None
    return None if case.facts.agent is not None and case.facts.agent.id in case.plan.agents else reasons.NOT_IN_PLAN


def plan_permits_channel(case: Case) -> Reason | None:
    if case.plan is None or case.plan.channels is None or case.request.test:
        return None
    return None if case.request.channel in case.plan.channels else reasons.CHANNEL_NOT_IN_PLAN


def agent_is_ready(case: Case) -> Reason | None:
    return None if (case.facts.agent and case.facts.agent.versions) or case.request.test else reasons.NO_VERSION


Rule = Callable[[Case], Reason | None]

RULES: tuple[Rule, ...] = (
    tenant_is_active,
    credential_may,
    user_is_active,
    channel_is_installed,
    agent_is_published,
    subscription_is_current,
    email_is_verified,
    plan_contains_agent,
    plan_permits_channel,
    agent_is_ready,
)


def first_reason(rules: Collection[Rule], case: Case) -> Reason | None:
    """The first rule's reason to deny, or None."""
    for rule in rules:
        reason = rule(case)
        if reason is not None:
            return reason
    return None
