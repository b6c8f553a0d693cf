"""Connections: the tenant's accounts elsewhere. A secret goes in, and never comes out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from pydantic import BaseModel
from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.console.forms import TYPE_AGAIN, Form
from tollhouse.console.schema_form import Field, fields_of, fill_config, read_config
from tollhouse.host.errors import NameTaken
from tollhouse.host.forms import parse
from tollhouse.host.values import KINDS, Connection
from tollhouse.plugin.channels import Receives
from tollhouse.plugin.connectable import Connectable, Health
from tollhouse.plugin.errors import Conflict, InvalidInput, NotFound

area = Area()
KIND_WORDS: Final[Mapping[str, str]] = {
    "llm": "Models",
    "channel": "Channels",
    "payment": "Payments",
    "auth": "Sign-in",
}


@area.get("/connections")
async def index(desk: Desk) -> Response:
    """Every connection, by kind."""
    found = [(kind, (await desk.parts.connections.list(desk.tenant.id, kind, limit=200)).items) for kind in KINDS]
    groups = [(kind, items) for kind, items in sorted(found, key=lambda one: list(KIND_WORDS).index(one[0])) if items]
    return desk.page("connections.html", section="connections", groups=groups, kinds=KIND_WORDS, titles=_titles(desk))


@area.get("/connections/new", "manage")
async def choose(desk: Desk) -> Response:
    """What can be connected; once chosen, its form."""
    kind, plugin = desk.query("kind"), desk.query("plugin")
    if kind and plugin:
        return _form(desk, _defaults(desk, kind, plugin), kind, plugin)
    available = desk.parts.connections.available()
    groups = [(each, [one for one in available if one.kind == each]) for each in KIND_WORDS]
    shown = [(each, some) for each, some in groups if some]
    return desk.page("connection_choose.html", section="connections", groups=shown, kinds=KIND_WORDS)


@area.post("/connections")
async def create(desk: Desk) -> Response:
    """Make it."""
    form = await desk.form()
    kind, plugin = form.text("kind"), form.text("plugin")
    fields = _fields(desk, kind, plugin)
    values = read_config(form, fields)
    try:
        form.weigh(lambda: parse(_config_of(desk, kind, plugin), values), partial(_placed, form))
        form.check()
        made = await desk.parts.connections.create(desk.actor, desk.tenant.id, kind, plugin, form.text("name"), values)
    except (InvalidInput, NameTaken) as error:
        return _form(desk, _placed(form, error), kind, plugin)
    return desk.done(f"/connections/{made.id}", "created")


@area.get("/connections/{id}")
async def show(desk: Desk) -> Response:
    """One connection, and what can be done with it."""
    return await _page(desk, await desk.parts.connections.get(desk.tenant.id, desk.id()))


@area.get("/connections/{id}/edit", "manage")
async def edit(desk: Desk) -> Response:
    """The form; secrets say only that they are set."""
    found = await desk.parts.connections.get(desk.tenant.id, desk.id())
    form = fill_config(Form.of(name=found.name, revision=found.revision), _fields(desk, found.kind, found.plugin), found.config)
    return _form(desk, form, found.kind, found.plugin, found)


@area.post("/connections/{id}")
async def update(desk: Desk) -> Response:
    """Save it; a secret that is left blank stays."""
    found = await desk.parts.connections.get(desk.tenant.id, desk.id())
    form = await desk.form()
    values = read_config(form, _fields(desk, found.kind, found.plugin))
    clear = [name for name in found.secrets if form.has(f"clear.{name}")]
    try:
        form.check()
        changes: dict[str, Any] = {
            "name": form.text("name"),
            "values": values,
            "clear": clear,
            "revision": form.integer("revision"),
        }
        await desk.parts.connections.update(desk.actor, desk.tenant.id, found.id, **changes)
    except (InvalidInput, Conflict) as error:
        return _form(desk, _placed(form, error), found.kind, found.plugin, found)
    return desk.done(f"/connections/{found.id}")


@area.post("/connections/{id}/test")
async def test(desk: Desk) -> Response:
    """Try it for real."""
    started = time.perf_counter()
    health = await desk.parts.connections.test(desk.caller.tenant, desk.id(), desk.actor)
    took = round((time.perf_counter() - started) * 1000)
    found = await desk.parts.connections.get(desk.tenant.id, desk.id())
    return await _page(desk, found, health=health, took=took)


@area.post("/connections/{id}/enable")
async def enable(desk: Desk) -> Response:
    """Switch it on."""
    await desk.parts.connections.enable(desk.actor, desk.tenant.id, desk.id())
    return desk.done(f"/connections/{desk.id()}", "enabled")


@area.post("/connections/{id}/disable")
async def disable(desk: Desk) -> Response:
    """Switch it off."""
    await desk.parts.connections.disable(desk.actor, desk.tenant.id, desk.id())
    return desk.done(f"/connections/{desk.id()}", "disabled")


@area.post("/connections/{id}/delete")
async def delete(desk: Desk) -> Response:
    """Delete it, once its name was typed."""
    found = await desk.parts.connections.get(desk.tenant.id, desk.id())
    form = await desk.form()
    try:
        if form.text("confirm") != found.name:
            raise InvalidInput(f"Type “{found.name}” to delete it", field="confirm")
        await desk.parts.connections.delete(desk.actor, desk.tenant.id, found.id)
    except (InvalidInput, Conflict) as error:
        return await _page(desk, found, form.failed(error))
    return desk.done("/connections", "deleted")


async def _page(
    desk: Desk, found: Connection, form: Form | None = None, health: Health | None = None, took: int = 0
) -> Response:
    registered = desk.parts.host.of_kind(found.kind).get(found.plugin)
    obj = registered.obj if registered is not None else None
    fields = _fields(desk, found.kind, found.plugin) if registered is not None else []
    values: dict[str, Any] = {
        "connection": found,
        "form": form or Form(),
        "fields": fields,
        "labels": {field.name: field.title for field in fields},
        "title": _titles(desk).get((found.kind, found.plugin)),
        "kinds": KIND_WORDS,
        "health": health,
        "took": took,
        "testable": isinstance(obj, Connectable),
        "webhook": _webhook(desk, found) if isinstance(obj, Receives) else None,
    }
    status = form.status if form is not None else 200
    return desk.page("connection.html", status=status, section="connections", **values)


def _webhook(desk: Desk, found: Connection) -> str:
    return f"{desk.parts.settings.base_url}/hooks/{desk.tenant.slug}/{found.id}"


def _titles(desk: Desk) -> dict[tuple[str, str], str]:
    return {(one.kind, one.plugin): one.title for one in desk.parts.connections.available()}


def _fields(desk: Desk, kind: str, plugin: str) -> list[Field]:
    try:
        return fields_of(desk.parts.connections.form(plugin, kind))
    except InvalidInput:
        raise NotFound() from None  # an address somebody made up, or a plugin that is off by now


def _defaults(desk: Desk, kind: str, plugin: str) -> Form:
    fields = _fields(desk, kind, plugin)
    form = fill_config(Form(), fields, {field.name: field.default for field in fields if field.default is not None})
    return form.fill({"name": _titles(desk).get((kind, plugin), plugin)})


def _placed(form: Form, error: InvalidInput | Conflict) -> Form:
    form.failed(error)
    if isinstance(error, NameTaken):
        form.problems.clear()
        form.refuse("name", error.detail)
    return form


def _config_of(desk: Desk, kind: str, plugin: str) -> type[BaseModel]:
    config: type[BaseModel] = desk.parts.host.of_kind(kind)[plugin].obj.Config
    return config


def _form(desk: Desk, form: Form, kind: str, plugin: str, found: Connection | None = None) -> Response:
    fields = _fields(desk, kind, plugin)
    for field in fields:
        if field.secret:
            if form.status != 200 and form.text(field.input):
                form.refuse(field.input, TYPE_AGAIN)
            form.fill({field.input: ""})
    values = {"form": form, "kind": kind, "plugin": plugin, "fields": fields, "connection": found}
    values |= {"title": _titles(desk).get((kind, plugin), plugin), "kinds": KIND_WORDS}
    return desk.page("connection_form.html", status=form.status, section="connections", **values)
