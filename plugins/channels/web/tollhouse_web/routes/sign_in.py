"""Making an account, signing in and out."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import Accounts, Conflict, Forbidden, InvalidInput, RateLimited, Sessions, Unauthenticated, context_of
from tollhouse_web import forms, site, words
from tollhouse_web.forms import Form

router = APIRouter(include_in_schema=False)


@router.get("/register")
async def register_form(request: Request) -> Response:
    """The form for a new account."""
    return _show(request, "register.html", Form({"next": request.query_params.get("next", "")}))


@router.post("/register")
async def register(request: Request) -> Response:
    """A new account, signed in at once."""
    if not site.site_of(request).settings.signup:
        return _show(request, "register.html", Form({"next": ""}), status=403)
    form = await forms.read(request, "email", "password", "name", "next")
    accounts = context_of(request).port(Accounts)
    try:
        await accounts.register(form["email"], form["password"], form["name"])
    except InvalidInput as error:
        forms.refuse(form, error)
        return _show(request, "register.html", form, status=422)
    except Conflict as error:
        if error.http_code != "email_taken":
            raise
        form.errors["email"] = words.EMAIL_TAKEN
        forms.ask_again(form)
        return _show(request, "register.html", form, status=409)
    except RateLimited as error:
        form.notice = error.detail
        return _show(request, "register.html", form, status=429, headers=forms.retry_header(error))
    return await _start_session(request, form, "register.html")


@router.get("/login")
async def login_form(request: Request) -> Response:
    """The form to sign in."""
    form = Form({"next": request.query_params.get("next", "")})
    if context_of(request).principal is not None:
        return _onward(request, form)
    return _show(request, "login.html", form)


@router.post("/login")
async def login(request: Request) -> Response:
    """A session, as a cookie that the gateway sets."""
    return await _start_session(request, await forms.read(request, "email", "password", "next"), "login.html")


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End this session. Without one the cookie goes all the same."""
    ctx = context_of(request)
    if ctx.principal is not None:
        await ctx.port(Sessions).logout()
    response = site.go(request, "/")
    site.cookies_of(request).clear(response)
    return response


async def _start_session(request: Request, form: Form, template: str) -> Response:
    try:
        signed_in = await context_of(request).port(Sessions).login(form["email"], form["password"], "cookie")
    except Unauthenticated as error:
        form.notice = error.detail
        return _show(request, template, form, status=401)
    except Forbidden as error:  # the right password of somebody who is blocked
        form.notice = error.detail
        return _show(request, template, form, status=403)
    except RateLimited as error:
        form.notice = error.detail
        return _show(request, template, form, status=429, headers=forms.retry_header(error))
    response = _onward(request, form)
    site.cookies_of(request).set(response, signed_in.token, signed_in.expires_at)
    return response


def _onward(request: Request, form: Form) -> Response:
    return site.go(request, site.wanted_path(request, form["next"]) or "/chat")


def _show(request: Request, template: str, form: Form, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    wanted = form["next"] if site.wanted_path(request, form["next"]) else ""
    form.values["next"] = wanted
    query = "?" + urlencode({"next": wanted}) if wanted else ""
    return site.page(request, template, status, headers, form=form, query=query)
