"""Why somebody can or cannot: every rule that was asked, in order, with what it said."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.console.format import cost, meter, titled, used
from tollhouse.console.users import person
from tollhouse.policy.engine import Step
from tollhouse.policy.rules import AccessRequest

area = Area()

_LIMIT: Final = re.compile(r"limit (\w+)/(\w+)")
_USED: Final = re.compile(r"(\d+) of (\d+) used(?:, (\d+) being answered)?")
"""How the policy engine writes a limit, for programs."""

RULES: Final = {
    "tenant_is_active": "The service is in business",
    "credential_may": "The way they signed in may send messages",
    "user_is_active": "The person is not blocked",
    "channel_is_installed": "The channel is switched on",
    "agent_is_published": "The agent is published",
    "subscription_is_current": "There is a current subscription",
    "email_is_verified": "The e-mail is verified, where the plan wants it",
    "plan_contains_agent": "The plan contains the agent",
    "plan_permits_channel": "The plan permits the channel",
    "agent_is_ready": "The agent has an active version",
}


@area.get("/users/{id}/explain")
async def show(desk: Desk) -> Response:
    """The answer for one agent on one channel, as it is at this moment."""
    user = await desk.parts.users.get(desk.tenant.id, desk.id())
    agents = (await desk.parts.agents.list(desk.tenant.id, limit=200)).items
    channels = {name: found.obj.title for name, found in desk.parts.host.channels.items()}
    agent, channel = desk.query("agent"), desk.query("channel")
    values: dict[str, Any] = {"user": user, "agents": agents, "channels": channels, "agent": agent, "channel": channel}
    values |= {"decision": None, "steps": ()}
    if agent and channel:
        request = AccessRequest(person(desk, user, channel), agent, channel)
        values["decision"], steps = await desk.parts.policy.explain(request)
        values["steps"] = [_said(step, desk.tenant.cost_currency) for step in steps]
    return desk.page("explain.html", section="users", **values)


def _said(step: Step, currency: str) -> tuple[bool, str, str]:
    """Whether a rule passed, what it asks, and what there is to say: of a limit as the person's own page says it."""
    limit = _LIMIT.fullmatch(step.rule)
    count = _USED.fullmatch(step.detail)
    if limit is None or count is None:
        return step.passed, RULES.get(step.rule, titled(step.rule)), step.detail
    metric, window = limit.groups()
    answered = f", {count[3]} being answered" if count[3] else ""
    if metric == "cost" and count[3]:
        answered = f", {cost(int(count[3]), currency)} set aside for what is being answered"
    counted = used(int(count[1]), int(count[2]), metric, currency)
    return step.passed, f"{meter(metric, window)}: {counted}{answered}", ""
