"""Who one is here: profile, password, sessions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import Accounts, InvalidInput, RateLimited, Sessions, context_of
from tollhouse_web import forms, site, words
from tollhouse_web.forms import Form

router = APIRouter(include_in_schema=False)


@router.get("/account")
async def account(request: Request) -> Response:
    """Profile, password and sessions."""
    return await _show(request)


@router.post("/account/profile")
async def save_profile(request: Request) -> Response:
    """Name and language."""
    form = await forms.read(request, "name", "language")
    try:
        await context_of(request).port(Accounts).update(name=form["name"], language=form["language"])
    except InvalidInput as error:
        forms.refuse(form, error)
        return await _show(request, 422, profile_form=form)
    return site.go(request, "/account?done=profile")


@router.post("/account/password")
async def change_password(request: Request) -> Response:
    """Another password; the other sessions end."""
    form = await forms.read(request, "current", "new")
    try:
        await context_of(request).port(Accounts).change_password(form["current"], form["new"])
    except InvalidInput as error:
        forms.refuse(form, error, {"password": "new"})
        return await _show(request, 422, password_form=form)
    except RateLimited as error:
        form.notice = error.detail
        return await _show(request, 429, forms.retry_header(error), password_form=form)
    return site.go(request, "/account?done=password")


@router.post("/account/sessions/{session_id}/end")
async def end_session(request: Request, session_id: str) -> Response:
    """End one of the person's sessions."""
    await context_of(request).port(Sessions).end(session_id)
    return site.go(request, "/account?done=session#sessions")


async def _show(request: Request, status: int = 200, headers: dict[str, str] | None = None, **shown: Any) -> Response:
    ctx = context_of(request)
    profile = await ctx.port(Accounts).profile()
    values = {
        "profile": profile,
        "sessions": await ctx.port(Sessions).list(),
        "done": words.DONE.get(request.query_params.get("done", "")),
        "profile_form": Form({"name": profile.name, "language": profile.language or ""}),
        "password_form": Form(),
        # Whoever came by a one-time link has forgotten it: the kernel does not ask for it then.
        "asks_current": ctx.principal is None or ctx.principal.auth_provider != "link",
    }
    return site.page(request, "account.html", status, headers, **{**values, **shown})
