"""Prompt versions: written in a form, compared, put into use and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from tollhouse.agents.parameters import PARAMETERS
from tollhouse.agents.rows import AgentRow, FieldChange, VersionRow
from tollhouse.agents.split import BASIS_POINTS
from tollhouse.agents.template import VARIABLES
from tollhouse.border.calls import ask
from tollhouse.console.agents import authors
from tollhouse.console.changes import field_label, field_value
from tollhouse.console.desk import Area, Desk
from tollhouse.console.forms import Form
from tollhouse.console.version_form import MOST_REDACTIONS, check_spec, form_labels, form_of, place_errors, spec_of
from tollhouse.host.values import Connection
from tollhouse.plugin.content import MODALITIES
from tollhouse.plugin.errors import Conflict, InvalidInput, TollhouseError
from tollhouse.store.exact import moment_within
from tollhouse.store.ids import parse_id

log = logging.getLogger(__name__)
area = Area()
MODELS_SECONDS: Final = 3.0
MAX_SHOWN: Final = 500


@area.get("/agents/{id}/versions/new", "manage")
async def new(desk: Desk) -> Response:
    """The form of a new draft: empty, or what another version (``?copy=``) says."""
    agent = await desk.parts.agents.get(desk.tenant.id, desk.id())
    form = Form.of(max_output_tokens=1024, history_messages=40, modalities=["text"])
    copied = parse_id(desk.query("copy"))
    if copied is not None:
        version = await desk.parts.agents.version(desk.tenant.id, copied)
        form = form_of(version.spec, f"Copy of version {version.number}")
    return await _form(desk, form, agent)


@area.post("/agents/{id}/versions")
async def create(desk: Desk) -> Response:
    """Save the draft."""
    agent = await desk.parts.agents.get(desk.tenant.id, desk.id())
    form = await desk.form()
    spec = spec_of(form)
    try:
        form.weigh(lambda: check_spec(spec), partial(place_errors, form))
        form.check()
        note = form.text("note")
        version = await desk.parts.agents.create_draft(desk.tenant.id, desk.actor, agent.id, spec=spec, note=note)
    except (InvalidInput, Conflict) as error:
        return await _form(desk, place_errors(form, error), agent)
    return _saved(desk, form, version)


@area.get("/versions/{id}/edit", "manage")
async def edit(desk: Desk) -> Response:
    """The form of a draft."""
    version = await desk.parts.agents.version(desk.tenant.id, desk.id())
    agent = await desk.parts.agents.get(desk.tenant.id, version.agent_id)
    form = form_of(version.spec, version.note).fill({"expected": version.updated_at.isoformat()})
    return await _form(desk, form, agent, version)


@area.post("/versions/{id}")
async def update(desk: Desk) -> Response:
    """Save a draft again; refused if somebody else has changed it since."""
    version = await desk.parts.agents.version(desk.tenant.id, desk.id())
    agent = await desk.parts.agents.get(desk.tenant.id, version.agent_id)
    form = await desk.form()
    spec = spec_of(form)
    try:
        form.weigh(lambda: check_spec(spec), partial(place_errors, form))
        form.check()
        values: dict[str, Any] = {"spec": spec, "note": form.text("note"), "expected": _moment(form.get("expected"))}
        version = await desk.parts.agents.update_draft(desk.tenant.id, desk.actor, version.id, **values)
    except (InvalidInput, Conflict) as error:
        return await _form(desk, place_errors(form, error), agent, version)
    return _saved(desk, form, version)


@area.get("/versions/{id}")
async def show(desk: Desk) -> Response:
    """What a version says."""
    version = await desk.parts.agents.version(desk.tenant.id, desk.id())
    agent = await desk.parts.agents.get(desk.tenant.id, version.agent_id)
    others = [one for one in await desk.parts.agents.versions(desk.tenant.id, agent.id) if one.id != version.id]
    names = {str(one.id): one.name for one in await model_connections(desk)}
    who = await authors(desk, [version])
    values: dict[str, Any] = {"version": version, "agent": agent, "others": others, "connections": names, "people": who}
    return desk.page("version.html", section="agents", **values)


@area.get("/versions/{id}/diff")
async def diff(desk: Desk) -> Response:
    """What changed from another version (``?from=``) to this one."""
    before = parse_id(desk.query("from"))
    if before is None:
        raise InvalidInput("Choose a version to compare with.", field="from")
    found = await desk.parts.agents.diff(desk.tenant.id, before, desk.id())
    agent = await desk.parts.agents.get(desk.tenant.id, found.after.agent_id)
    names = {str(one.id): one.name for one in await model_connections(desk)}
    changes = [change for one in found.fields if (change := _change(one, names)) is not None]
    return desk.page("diff.html", section="agents", diff=found, agent=agent, lines=diff_lines(found.template), changes=changes)


@area.get("/versions/{id}/activate", "manage")
async def choose_weights(desk: Desk) -> Response:
    """How much of the traffic each version is to get."""
    version = await desk.parts.agents.version(desk.tenant.id, desk.id())
    agent = await desk.parts.agents.get(desk.tenant.id, version.agent_id)
    weights = {version.id: BASIS_POINTS}
    if version.status == "active":  # it has its part: then this is about all parts
        versions = await desk.parts.agents.versions(desk.tenant.id, agent.id)
        weights = {one.id: one.weight for one in versions if one.status == "active"}
    return await _split(desk, Form.of(**{f"weight.{key}": f"{part / 100:g}" for key, part in weights.items()}), version, agent)


@area.post("/versions/{id}/activate")
async def activate(desk: Desk) -> Response:
    """Put it into use, alone or beside others; for an archived one this is the way back."""
    version = await desk.parts.agents.version(desk.tenant.id, desk.id())
    agent = await desk.parts.agents.get(desk.tenant.id, version.agent_id)
    form = await desk.form()
    try:
        weights = _weights(form, await desk.parts.agents.versions(desk.tenant.id, agent.id), version.id)
        form.check()
        await desk.parts.agents.activate(desk.tenant.id, desk.actor, version.id, weights)
    except (InvalidInput, Conflict) as error:
        return await _split(desk, form.failed(error), version, agent)
    return desk.done(f"/agents/{agent.id}", "activated")


@area.post("/versions/{id}/archive")
async def archive(desk: Desk) -> Response:
    """Put it away."""
    version = await desk.parts.agents.archive_version(desk.tenant.id, desk.actor, desk.id())
    return desk.done(f"/agents/{version.agent_id}", "archived")


@area.get("/models", "manage")
async def models(desk: Desk) -> Response:
    """The models that a connection lists, as options for the field beside it."""
    slot = "fallback" if desk.query("slot") == "fallback" else "primary"
    found = await model_names(desk, parse_id(desk.query(f"{slot}.connection_id")))
    return desk.page("models.html", models=found, slot=slot)


async def model_connections(desk: Desk) -> Sequence[Connection]:
    """The tenant's model connections, those that are switched off too."""
    return (await desk.parts.connections.list(desk.tenant.id, "llm", limit=200)).items


async def model_names(desk: Desk, connection_id: UUID | None) -> list[str]:
    """What a connection lists, as long as it does not take long: any name can be typed as well."""
    if connection_id is None:
        return []
    try:
        async with asyncio.timeout(MODELS_SECONDS):
            bound = await desk.parts.connections.bound(desk.caller.tenant, connection_id)
            models = await ask(bound.plugin_name, "models", bound.obj, bound.ctx)
            return sorted(model.id for model in models)[:MAX_SHOWN]
    except (TollhouseError, TimeoutError) as error:
        log.info("connection %s does not list its models: %s", connection_id, type(error).__name__)
        return []


def diff_lines(unified: str) -> list[tuple[str, str]]:
    """A unified diff as (tag, line): ``ins``, ``del``, ``span``, or ``gap`` between pieces."""
    tags = {"+": "ins", "-": "del", " ": "span"}
    lines: list[tuple[str, str]] = []
    for line in unified.splitlines()[2:]:
        if line.startswith("@@"):
            lines.append(("gap", "…"))
        else:
            lines.append((tags.get(line[:1], "span"), line[1:]))
    return lines


def _change(change: FieldChange, connections: Mapping[str, str]) -> tuple[str, str, str] | None:
    """What changed, before and after, in the words of the form; None if nobody would see a difference."""
    before, after = (field_value(change.path, value, connections) for value in (change.before, change.after))
    return None if before == after else (field_label(change.path), before, after)


def _weights(form: Form, versions: Sequence[VersionRow], chosen: UUID) -> Mapping[UUID, int] | None:
    """Per cent as basis points, of every version that has a field and is to get something."""
    weights: dict[UUID, int] = {}
    for version in versions:
        share = form.amount(f"weight.{version.id}", 2)
        if share:
            weights[version.id] = share
    if not weights:
        return None
    if chosen not in weights and not form.errors:
        form.refuse(f"weight.{chosen}", "The version to activate needs a part of the messages")
    total = sum(weights.values())
    if total != BASIS_POINTS and not form.errors:
        form.refuse(f"weight.{chosen}", f"Together these are {total / 100:g} %, and not 100 %")
    return weights


def _saved(desk: Desk, form: Form, version: VersionRow) -> Response:
    """After saving a draft: the page that the button was for."""
    then = {"try": f"/versions/{version.id}/try", "activate": f"/versions/{version.id}/activate"}
    return desk.done(then.get(form.get("then"), f"/versions/{version.id}"), "draft")


def _moment(text: str) -> datetime | None:
    try:
        return moment_within(datetime.fromisoformat(text)) if text else None
    except ValueError:
        return None


async def _split(desk: Desk, form: Form, version: VersionRow, agent: AgentRow) -> Response:
    versions = await desk.parts.agents.versions(desk.tenant.id, agent.id)
    active = [one for one in versions if one.status == "active" and one.id != version.id]
    values = {"form": form, "version": version, "agent": agent, "active": active}
    return desk.page("activate.html", status=form.status, section="agents", **values)


async def _form(desk: Desk, form: Form, agent: AgentRow, version: VersionRow | None = None) -> Response:
    connections = await model_connections(desk)
    if not form.get("primary.connection_id") and connections:
        form.fill({"primary.connection_id": connections[0].id})
    values: dict[str, Any] = {
        "form": form,
        "agent": agent,
        "version": version,
        "connections": connections,
        "variables": VARIABLES,
        "parameters": sorted(PARAMETERS),
        "modalities": MODALITIES,
        "redactions": min(max(form.integer("post.redact.rows") or 0, 0) + 2, MOST_REDACTIONS),
    }
    form.labels = form_labels()
    return desk.page("version_form.html", status=form.status, section="agents", **values)
