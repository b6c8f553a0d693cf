"""Users: found, shown, invited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from tollhouse.agents.rows import AgentRow
from tollhouse.auth import roles
from tollhouse.auth.links import LIFETIME
from tollhouse.auth.users import User
from tollhouse.console.desk import Area, Desk
from tollhouse.console.forms import Form
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import Conflict, InvalidInput, NotFound

area = Area()
ROLES: Final = {
    "owner": "Everything, also making owners",
    "admin": "Changes agents, plans, connections and people",
    "support": "Sees everything, helps customers, confirms payments",
    "analyst": "Sees everything, changes nothing",
}
NAMES: Final = {"owner": "an owner", "admin": "an admin", "support": "support", "analyst": "an analyst", "": "a customer"}
POWERS: Final = {
    "owner": "do everything, also making owners",
    "admin": "change agents, plans, connections and people",
    "support": "see everything, help customers and confirm payments",
    "analyst": "see everything, and change nothing",
    "": "use what their plan gives, and not open the console",
}
"""What each role can do, as the rest of a sentence; no role is a customer."""
CURRENT: Final = ("active", "past_due", "canceled")


@area.get("/users")
async def index(desk: Desk) -> Response:
    """Users, newest first, by the beginning of an e-mail or name."""
    search, who = desk.query("search"), desk.query("who")
    found = await desk.parts.users.list(
        desk.tenant.id,
        search=search,
        role=who if who in ROLES else None,
        staff=who == "staff",
        cursor=desk.query("cursor") or None,
    )
    more = desk.more("/users", found.next_cursor, search=search, who=who)
    return desk.page("users.html", section="users", users=found.items, search=search, who=who, roles=ROLES, more=more)


@area.get("/users/invite", "manage")
async def invitation(desk: Desk) -> Response:
    """The form of an invitation."""
    return _invite_form(desk, Form.of(role="support", email=desk.query("email")[:254]))


@area.post("/users/invite")
async def invite(desk: Desk) -> Response:
    """Make the account, and the link by which its person takes over; it is shown this once."""
    form = await desk.form()
    email, name, role = form.text("email"), form.text("name"), form.optional("role")
    try:
        user, token = await desk.parts.accounts.invite(desk.tenant.id, email, role, by=desk.by, actor=desk.actor, name=name)
    except (InvalidInput, Conflict) as error:
        return _invite_form(desk, form.failed(error, beside={"email_taken": "email"}))
    link = f"{desk.caller.tenant.base_url}/invite/{token}"
    return once(desk, f"Invitation for {user.email}", link, LIFETIME["invite"].days, f"/users/{user.id}")


@area.get("/users/{id}")
async def show(desk: Desk) -> Response:
    """Everything about one user."""
    return await user_page(desk, await desk.parts.users.get(desk.tenant.id, desk.id()))


async def user_page(desk: Desk, user: User, form: Form | None = None) -> Response:
    """The page of a user; ``form``: of a write that was refused."""
    parts, tenant_id = desk.parts, desk.tenant.id
    subscriptions = (await parts.subscription_admin.subscriptions(tenant_id, user_id=user.id, limit=10)).items
    agents = (await parts.agents.list(tenant_id, limit=200)).items
    failed = await parts.sessions.failures.list(tenant_id, user_id=user.id, limit=5) if desk.may("manage") else None
    values: dict[str, Any] = {
        "user": user,
        "form": form or Form(),
        "role_names": NAMES,
        "powers": POWERS,
        "subscriptions": subscriptions,
        "current": next((one for one in subscriptions if one.subscription.status in CURRENT), None),
        "plans": await parts.plans.list(tenant_id),
        "orders": (await parts.subscription_admin.orders(tenant_id, user_id=user.id, limit=10)).items,
        "limits": await parts.policy.limits(person(desk, user)),
        "denials": await parts.denials.recent(tenant_id, user_id=user.id, limit=10),
        "sessions": await parts.sessions.list(person(desk, user)),
        "keys": await parts.keys.list_of(tenant_id, user.id),
        "failures": failed.items if failed is not None else (),
        "agents": agents,
        "agent_names": agent_names(agents),
        "channels": channel_titles(desk),
        "touch": _may_touch(desk, user),
    }
    return desk.page("user.html", status=values["form"].status, section="users", **values)


def person(desk: Desk, user: User, channel: str = "") -> Principal:
    """The user, as the policy engine would see them on a channel."""
    channel = channel or next(iter(desk.parts.host.channels), "web")
    return Principal(
        desk.tenant.id,
        user.id,
        "console",
        channel,
        email=user.email,
        name=user.name or None,
        role=user.role,
        operator=user.operator,
        credential_kind="identity",
    )


async def people(desk: Desk, ids: Iterable[UUID]) -> dict[UUID, User]:
    """The users of a list that is at most a page long."""
    found = {}
    for user_id in dict.fromkeys(ids):
        found[user_id] = await desk.parts.users.get(desk.tenant.id, user_id)
    return found


def agent_names(agents: Sequence[AgentRow]) -> dict[str, str]:
    """Agents by what people may have asked for: the short name or the id."""
    return {key: agent.name for agent in agents for key in (agent.slug, str(agent.id))}


def channel_titles(desk: Desk) -> dict[str, str]:
    """What the channels of this installation are called."""
    return {name: found.obj.title for name, found in desk.parts.host.channels.items()}


def once(desk: Desk, title: str, secret: str, days: float, back: str, section: str = "users") -> Response:
    """A page with something that is shown this once."""
    return desk.page("once.html", section=section, title=title, secret=secret, days=days, back=desk.url(back))


def _may_touch(desk: Desk, user: User) -> dict[str, bool]:
    """What the person at the desk may do to this user: staff and owners are protected from those below them."""
    if user.status == "erased":
        return {"help": False, "manage": False}
    needed: roles.Permission | None = "own" if user.role == "owner" else "manage" if user.role is not None else None
    guarded = user.operator and not desk.operator

    def allowed(right: roles.Permission) -> bool:
        return not guarded and desk.may(right) and (needed is None or desk.may(needed))

    return {"help": allowed("help"), "manage": allowed("manage")}


def _invite_form(desk: Desk, form: Form) -> Response:
    return desk.page("invite_form.html", status=form.status, section="users", form=form, roles=ROLES)


async def existing(desk: Desk) -> User:
    """The user of the address.

    Raises:
        NotFound: there is none in this tenant.
    """
    user = await desk.parts.users.get(desk.tenant.id, desk.id())
    if user.status == "erased":
        raise NotFound()
    return user
