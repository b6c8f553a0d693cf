"""The ways in that exist without any channel: signing in, and one-time links. A link is never used up by looking at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tollhouse.auth.errors import AccountBlocked
from tollhouse.auth.links import Link, Purpose
from tollhouse.auth.users import User
from tollhouse.console.forms import Form
from tollhouse.console.parts import ConsoleParts
from tollhouse.gateway.exchange import caller_of, end_session, exchange_of, start_session
from tollhouse.gateway.pages import Pages
from tollhouse.host.caller import Caller
from tollhouse.plugin.errors import Conflict, InvalidInput, RateLimited, TollhouseError, Unauthenticated, Unavailable
from tollhouse.plugin.mounts import Mount
from tollhouse.plugin.paths import local_path
from tollhouse.plugin.ports import SignedIn
from tollhouse.tenants.values import Tenant

SIGN_IN: Final = "/console/sign-in"
SIGN_OUT: Final = "/console/sign-out"
CLAIM: Final = "/claim/{token}"
LINK: Final = "/link/{token}"
INVITE: Final = "/invite/{token}"
STAFF_HOME: Final = "/console"
CLAIMS: Final[tuple[Purpose, ...]] = ("operator", "owner")

Step = Callable[["Door"], Awaitable[Response]]


class Door:
    """One request at a door: nobody in particular, on the way to be somebody."""

    def __init__(self, parts: ConsoleParts, pages: Pages, request: Request) -> None:
        self.parts = parts
        self.pages = pages
        self.request = request
        self.caller: Caller = caller_of(request)
        self.tenant = cast(Tenant, exchange_of(request).tenant)

    @property
    def token(self) -> str:
        return cast(str, self.request.path_params["token"])

    async def form(self) -> Form:
        """What was sent; nothing yet on a GET."""
        return await Form.sent(self.request) if self.request.method == "POST" else Form()

    def page(self, template: str, form: Form, **values: object) -> Response:
        """A page of a door, in the status of what happened."""
        return self.pages.render(self.request, template, status=form.status, form=form, **values)

    def enter(self, signed_in: SignedIn, path: str) -> Response:
        """Give the session's cookie, and go on."""
        start_session(self.request, signed_in)
        return self.go(path)

    def go(self, path: str) -> Response:
        """To a page of this tenant."""
        return RedirectResponse(self.request.scope.get("root_path", "") + path, status_code=303)

    @property
    def where(self) -> dict[str, Any]:
        """What a session remembers of the browser."""
        caller = self.caller
        return {"address": caller.address, "user_agent": caller.user_agent, "browser": caller.browser}

    async def join(self, user: User) -> Response:
        """Go in as who has just redeemed a link. The link is used up: whatever fails from here on, the account is there."""
        try:
            signed_in = await self.parts.sessions.begin(self.tenant.id, user.id, "cookie", **self.where)
        except TollhouseError:
            return self.go(f"{SIGN_IN}?ready=1")
        return self.enter(signed_in, _home(signed_in))

    async def link(self, *purposes: Purpose) -> Link:
        """What the link in the address is for."""
        return await self.parts.links.look(self.token, purposes, self.tenant.id, self.caller.address)


def doors_mount(parts: ConsoleParts, pages: Pages) -> Mount:
    """The doors. All are public; each is rate-limited by the gateway, and signing in by the throttle of sign-ins too."""
    steps: dict[str, Step] = {SIGN_IN: sign_in, CLAIM: claim, LINK: sign_in_link, INVITE: invitation}

    def endpoint(step: Step) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await step(Door(parts, pages, request))

        return answer

    routes: list[BaseRoute] = [
        Route(path, endpoint(step), methods=[method]) for path, step in steps.items() for method in ("GET", "POST")
    ]
    routes.append(Route(SIGN_OUT, endpoint(sign_out), methods=["POST"]))
    public = frozenset(f"{method} {path}" for path in steps for method in ("GET", "POST"))
    return Mount("", APIRouter(routes=routes), public=public | {f"POST {SIGN_OUT}"}, errors="page")


async def sign_in(door: Door) -> Response:
    """E-mail and password."""
    form = await door.form()
    wanted = _inside(form.get("next") or door.request.query_params.get("next", ""))
    if door.request.method == "GET":
        return door.go(wanted) if door.caller.principal is not None else _sign_in_page(door, form, wanted)
    try:
        email, password = form.text("email"), form.get("password")
        signed_in = await door.parts.sessions.login(door.tenant.id, email, password, "cookie", **door.where)
    except (Unauthenticated, AccountBlocked, RateLimited, Unavailable) as error:
        return _with_wait(_sign_in_page(door, form.failed(error), wanted), error)
    return door.enter(signed_in, wanted)


async def sign_out(door: Door) -> Response:
    """End the session, and take the cookie back."""
    if door.caller.principal is not None:
        await door.parts.sessions.logout(door.caller.principal)
    end_session(door.request)
    return door.go(SIGN_IN)


async def claim(door: Door) -> Response:
    """The first operator's, or a new tenant's first owner's way in."""
    link = await door.link(*CLAIMS)
    form = await door.form()
    if door.request.method == "POST":
        take = door.parts.accounts.claim_operator if link.purpose == "operator" else door.parts.accounts.claim_owner
        try:
            user = await take(door.token, form.text("email"), form.get("password"), form.text("name"))
        except (InvalidInput, Conflict, Unavailable) as error:
            form.failed(error)
        else:
            return await door.join(user)
    return door.page("claim.html", form, link=link)


async def sign_in_link(door: Door) -> Response:
    """A one-time link: the page says what will happen, its button does it."""
    link = await door.link("sign_in")
    form = await door.form()
    if door.request.method == "POST":
        signed_in = await door.parts.sessions.redeem(door.tenant.id, door.token, "cookie", **door.where)
        return door.enter(signed_in, _home(signed_in))
    assert link.user_id is not None
    user = await door.parts.users.get(door.tenant.id, link.user_id)
    return door.page("link.html", form, link=link, user=user)


async def invitation(door: Door) -> Response:
    """Take over the account that one was invited to: the invited person chooses the password."""
    link = await door.link("invite")
    assert link.user_id is not None
    user = await door.parts.users.get(door.tenant.id, link.user_id)
    form = await door.form()
    if door.request.method == "POST":
        password = form.get("password")
        try:
            user = await door.parts.accounts.accept_invitation(door.tenant.id, door.token, password, form.text("name"))
        except (InvalidInput, Conflict, Unavailable) as error:
            form.failed(error)
        else:
            return await door.join(user)
    return door.page("invite.html", form, link=link, user=user, role=user.role or link.data.get("role"))


def _sign_in_page(door: Door, form: Form, wanted: str) -> Response:
    ready = "ready" in door.request.query_params
    return door.page("sign_in.html", form, next=wanted, ready=ready)


def _home(signed_in: SignedIn) -> str:
    return STAFF_HOME if signed_in.principal.role is not None or signed_in.principal.operator else "/"


def _inside(path: str) -> str:
    """Where to go after signing in: a page of the console, or its start; never somewhere else."""
    inside = path == STAFF_HOME or path.startswith((STAFF_HOME + "/", STAFF_HOME + "?"))
    return path if inside and local_path(path) and path != SIGN_IN else STAFF_HOME


def _with_wait(answer: Response, error: TollhouseError) -> Response:
    if error.retry_after is not None:
        answer.headers["retry-after"] = str(error.retry_after)
    return answer
