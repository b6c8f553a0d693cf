"""Agents: what is sold."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from starlette.responses import Response

from tollhouse.agents.rows import AgentRow, VersionRow
from tollhouse.console.desk import Area, Desk
from tollhouse.console.forms import Form
from tollhouse.console.users import people
from tollhouse.plugin.errors import Conflict, InvalidInput

area = Area()
FIELDS = ("slug", "name", "description", "welcome")


@area.get("/agents")
async def index(desk: Desk) -> Response:
    """Every agent, newest first."""
    found = await desk.parts.agents.list(desk.tenant.id, cursor=desk.query("cursor") or None)
    more = desk.more("/agents", found.next_cursor)
    return desk.page("agents.html", section="agents", agents=found.items, more=more)


@area.get("/agents/new", "manage")
async def new(desk: Desk) -> Response:
    """The form of a new agent."""
    return _form(desk, Form())


@area.post("/agents")
async def create(desk: Desk) -> Response:
    """Make it; its first version comes next."""
    form = await desk.form()
    try:
        agent = await desk.parts.agents.create(desk.tenant.id, desk.actor, **{name: form.text(name) for name in FIELDS})
    except (InvalidInput, Conflict) as error:
        return _form(desk, _placed(form, error))
    return desk.done(f"/agents/{agent.id}", "created")


@area.get("/agents/{id}")
async def show(desk: Desk) -> Response:
    """An agent and its versions."""
    agent = await desk.parts.agents.get(desk.tenant.id, desk.id())
    versions = await desk.parts.agents.versions(desk.tenant.id, agent.id)
    return desk.page("agent.html", section="agents", agent=agent, versions=versions, people=await authors(desk, versions))


async def authors(desk: Desk, versions: Sequence[VersionRow]) -> dict[UUID, str]:
    """Names of those who wrote or activated versions."""
    ids = {row.created_by for row in versions} | {row.activated_by for row in versions}
    found = await people(desk, (one for one in ids if one is not None))
    return {one: user.name or user.email or "Erased user" for one, user in found.items()}


@area.get("/agents/{id}/edit", "manage")
async def edit(desk: Desk) -> Response:
    """The form of an agent."""
    agent = await desk.parts.agents.get(desk.tenant.id, desk.id())
    values = {name: getattr(agent, name) for name in (*FIELDS, "position")}
    return _form(desk, Form.of(**values), agent)


@area.post("/agents/{id}")
async def update(desk: Desk) -> Response:
    """Save it."""
    agent = await desk.parts.agents.get(desk.tenant.id, desk.id())
    form = await desk.form()
    position = form.integer("position")
    try:
        form.check()
        texts = {name: form.text(name) for name in FIELDS}
        await desk.parts.agents.update(desk.tenant.id, desk.actor, agent.id, **texts, position=position)
    except (InvalidInput, Conflict) as error:
        return _form(desk, _placed(form, error), agent)
    return desk.done(f"/agents/{agent.id}")


@area.post("/agents/{id}/publish")
async def publish(desk: Desk) -> Response:
    """Let users find it."""
    await desk.parts.agents.publish(desk.tenant.id, desk.actor, desk.id())
    return desk.done(f"/agents/{desk.id()}", "published")


@area.post("/agents/{id}/unpublish")
async def unpublish(desk: Desk) -> Response:
    """Take it back, or bring an archived one back."""
    await desk.parts.agents.unpublish(desk.tenant.id, desk.actor, desk.id())
    return desk.done(f"/agents/{desk.id()}", "unpublished")


@area.post("/agents/{id}/archive")
async def archive(desk: Desk) -> Response:
    """Take it out of use."""
    await desk.parts.agents.archive(desk.tenant.id, desk.actor, desk.id())
    return desk.done(f"/agents/{desk.id()}", "archived")


def _placed(form: Form, error: InvalidInput | Conflict) -> Form:
    """A short name that is taken is said beside its field."""
    return form.failed(error, beside={"slug_taken": "slug"})


def _form(desk: Desk, form: Form, agent: AgentRow | None = None) -> Response:
    return desk.page("agent_form.html", status=form.status, section="agents", form=form, agent=agent)
