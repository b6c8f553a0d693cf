"""Why somebody can or cannot: every rule that was asked, in order, with what it said."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.console.users import person
from tollhouse.policy.rules import AccessRequest

area = Area()

RULES: Final = {
    "tenant_is_active": "The tenant is in business",
    "credential_may": "The credential is meant for it",
    "user_is_active": "The person is not blocked",
    "channel_is_installed": "The channel is installed",
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
    values |= {"decision": None, "steps": (), "rules": RULES}
    if agent and channel:
        request = AccessRequest(person(desk, user, channel), agent, channel)
        values["decision"], values["steps"] = await desk.parts.policy.explain(request)
    return desk.page("explain.html", section="users", **values)
