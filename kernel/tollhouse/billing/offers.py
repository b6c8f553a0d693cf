"""Plans as users see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from tollhouse.billing.plans import Plan, limit_text
from tollhouse.billing.repository import Row
from tollhouse.plugin.money import Money
from tollhouse.plugin.ports import LimitInfo, PlanInfo


def plan_infos(plans: Sequence[Plan], agents: Mapping[UUID, Row], current: UUID | None = None) -> Sequence[PlanInfo]:
    """Plans as users see them: only published agents are named, and a limit of model cost is all of itself, 100 percent.
    ``current`` is the id of the reader's own plan."""
    return [_info(plan, agents, plan.id == current) for plan in plans]


def _info(plan: Plan, agents: Mapping[UUID, Row], current: bool) -> PlanInfo:
    version = plan.version
    shown = [
        row["slug"]
        for agent_id, row in agents.items()
        if row["status"] == "published" and (version.all_agents or agent_id in version.agents)
    ]
    names = {agent_id: row["name"] for agent_id, row in agents.items()}
    limits = [
        LimitInfo(
            limit.metric,
            limit.window,
            min(limit.amount, 100) if limit.metric == "cost" else limit.amount,
            limit_text(limit, None, names),
            agents[limit.agent_id]["slug"] if limit.agent_id is not None and limit.agent_id in agents else None,
            limit.channel,
            limit.hard,
        )
        for limit in version.limits
    ]
    return PlanInfo(
        id=str(plan.id),
        slug=plan.slug,
        name=plan.name,
        description=plan.description,
        price=Money(version.price_minor, version.currency),
        interval=version.interval,
        agents=shown,
        channels=None if version.channels is None else sorted(version.channels),
        limits=limits,
        version=version.number,
        current=current,
        verified_email=version.verified_email,
    )
