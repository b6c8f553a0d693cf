"""What staff do with a user. Who may do what to whom is the rule of ``auth.roles``; what no service asks, is asked here."""

from __future__ import annotations

import json
from datetime import timedelta

from starlette.responses import Response

from tollhouse.auth import roles
from tollhouse.auth.links import LIFETIME
from tollhouse.auth.users import User
from tollhouse.console.desk import Area, Desk
from tollhouse.console.users import existing, once, user_page
from tollhouse.plugin.errors import Conflict, InvalidInput
from tollhouse.store.ids import parse_id

area = Area()
HOUR = timedelta(hours=1)


@area.post("/users/{id}/profile")
async def profile(desk: Desk) -> Response:
    """Name and language."""
    user = await existing(desk)
    _guard(desk, user, "manage")
    form = await desk.form()
    try:
        language = form.optional("language")
        await desk.parts.users.update_profile(
            desk.tenant.id, user.id, actor=desk.actor, name=form.text("name"), language=language
        )
    except InvalidInput as error:
        return await user_page(desk, user, form.failed(error))
    return desk.done(f"/users/{user.id}")


@area.post("/users/{id}/role")
async def role(desk: Desk) -> Response:
    """Make somebody staff, or a customer again."""
    form = await desk.form()
    await desk.parts.users.set_role(desk.tenant.id, desk.id(), form.optional("role"), by=desk.by, actor=desk.actor)
    return desk.done(f"/users/{desk.id()}")


@area.post("/users/{id}/block", "help")
async def block(desk: Desk) -> Response:
    """Shut somebody out."""
    await desk.parts.users.block(desk.tenant.id, desk.id(), by=desk.by, actor=desk.actor)
    return desk.done(f"/users/{desk.id()}", "blocked")


@area.post("/users/{id}/unblock", "help")
async def unblock(desk: Desk) -> Response:
    """Let somebody in again."""
    await desk.parts.users.unblock(desk.tenant.id, desk.id(), by=desk.by, actor=desk.actor)
    return desk.done(f"/users/{desk.id()}", "unblocked")


@area.post("/users/{id}/link")
async def link(desk: Desk) -> Response:
    """A link by which the person signs in once; it is shown this once."""
    user = await existing(desk)
    token = await desk.parts.links.create(desk.tenant.id, "sign_in", user.id, by=desk.by, actor=desk.actor)
    address = f"{desk.caller.tenant.base_url}/link/{token}"
    title = f"Sign-in link for {user.email or user.name or 'this user'}"
    return once(desk, title, address, LIFETIME["sign_in"] / HOUR / 24, f"/users/{user.id}")


@area.post("/users/{id}/confirm-email", "help")
async def confirm_email(desk: Desk) -> Response:
    """Note that the person's e-mail is theirs."""
    await desk.parts.users.confirm_email(desk.tenant.id, desk.id(), by=desk.by, actor=desk.actor)
    return desk.done(f"/users/{desk.id()}", "email_confirmed")


@area.post("/users/{id}/sessions/end", "help")
async def end_sessions(desk: Desk) -> Response:
    """Sign the person out everywhere."""
    user = await existing(desk)
    _guard(desk, user, "help")
    keep = desk.principal.credential_id if user.id == desk.principal.user_id else None
    await desk.parts.sessions.end_all_for_user(desk.tenant.id, user.id, actor=desk.actor, keep=keep)
    return desk.done(f"/users/{user.id}", "sessions")


@area.post("/users/{id}/keys/{key}/revoke", "help")
async def revoke_key(desk: Desk) -> Response:
    """End one of the person's API keys."""
    user = await existing(desk)
    _guard(desk, user, "help")
    await desk.parts.keys.revoke_of(desk.tenant.id, user.id, desk.id("key"), actor=desk.actor)
    return desk.done(f"/users/{user.id}", "revoked")


@area.post("/users/{id}/plan")
async def assign(desk: Desk) -> Response:
    """Put the person on a plan without payment."""
    user = await existing(desk)
    form = await desk.form()
    periods = form.integer("periods")
    try:
        form.check()
        plan = parse_id(form.text("plan"))
        if plan is None:
            raise InvalidInput("Choose a plan", field="plan")
        await desk.parts.subscription_admin.assign(desk.caller, user.id, plan, periods=periods)
    except (InvalidInput, Conflict) as error:
        return await user_page(desk, user, form.failed(error))
    return desk.done(f"/users/{user.id}", "assigned")


@area.post("/users/{id}/export")
async def export(desk: Desk) -> Response:
    """Everything that is kept of the person, as a file."""
    found = await desk.parts.accounts.export(desk.tenant.id, desk.id(), by=desk.by, actor=desk.actor)
    name = f"user-{desk.id()}.json"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(json.dumps(found, ensure_ascii=False, indent=2), media_type="application/json", headers=headers)


@area.post("/users/{id}/erase")
async def erase(desk: Desk) -> Response:
    """Blank the person, once their e-mail was typed."""
    user = await existing(desk)
    form = await desk.form()
    name = confirm_name(user)
    try:
        if form.text("confirm") != name:
            raise InvalidInput(f"Type “{name}” to erase this person", field="confirm")
        await desk.parts.accounts.erase(desk.tenant.id, user.id, by=desk.by, actor=desk.actor)
    except (InvalidInput, Conflict) as error:
        return await user_page(desk, user, form.failed(error))
    return desk.done("/users", "erased")


def confirm_name(user: User) -> str:
    """What is typed to erase somebody."""
    return user.email or user.name or "erase"


def _guard(desk: Desk, user: User, permission: roles.Permission) -> None:
    """Staff and owners are protected from those below them."""
    if user.id == desk.principal.user_id and not desk.elsewhere:
        return
    roles.require_over(desk.by, permission, role=user.role, operator=user.operator)
