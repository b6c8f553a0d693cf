"""All pages of the console as mounts: the tenant's own, the operator's view into another tenant, and the doors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tollhouse.console import (
    agents,
    audit,
    connections,
    doors,
    explain,
    limits,
    orders,
    overview,
    people,
    plans,
    prices,
    queues,
    settings,
    subscriptions,
    tenants,
    tryout,
    usage,
    users,
    versions,
)
from tollhouse.console import format as formats
from tollhouse.console.desk import ELSEWHERE, PREFIX, PageSpec, open_desk
from tollhouse.console.parts import ConsoleParts
from tollhouse.gateway.cookies import Cookies
from tollhouse.gateway.exchange import caller_of, exchange_of
from tollhouse.gateway.pages import Pages
from tollhouse.gateway.static import StaticFiles
from tollhouse.gateway.trouble import wants_part
from tollhouse.plugin.errors import Conflict, Forbidden, InvalidInput, TollhouseError, Unauthenticated, Unavailable
from tollhouse.plugin.mounts import Mount

TEMPLATES: Final = Path(__file__).parent / "templates"
MODULES: Final = (
    overview,
    agents,
    versions,
    tryout,
    plans,
    connections,
    users,
    people,
    explain,
    subscriptions,
    limits,
    orders,
    prices,
    usage,
    queues,
    audit,
    settings,
    tenants,
)
SHOWN: Final = (InvalidInput, Conflict, Unavailable, Forbidden)
"""Refusals of a write that are shown inside the console; everything else is the gateway's page."""

Endpoint = Callable[[Request], Awaitable[Response]]


def page_specs() -> Iterator[PageSpec]:
    """Every page of the console with the right that it takes."""
    for module in MODULES:
        yield from module.area.specs


def console_mount(parts: ConsoleParts) -> list[Mount]:
    """The mounts. Reading without a session leads to the sign-in page; writing without one is refused by the gateway."""
    pages = console_pages(parts)
    routes: list[BaseRoute] = []
    public: set[str] = set()
    for prefix in (PREFIX, ELSEWHERE):
        for spec in page_specs():
            path = prefix + spec.path
            routes.append(Route(path, _endpoint(parts, pages, spec), methods=[spec.method]))
            if spec.method == "GET":
                public.add(f"GET {path}")
    console = Mount("", APIRouter(routes=routes), public=frozenset(public), errors="page")
    return [console, doors.doors_mount(parts, pages)]


def console_pages(parts: ConsoleParts) -> Pages:
    """The environment of the console's templates."""
    pages = Pages(TEMPLATES, static=StaticFiles(), cookies=Cookies(parts.settings))
    environment = pages.environment
    environment.filters.update(formats.FILTERS)
    environment.globals["ui"] = environment.get_template("ui.html").module
    return pages


def _endpoint(parts: ConsoleParts, pages: Pages, spec: PageSpec) -> Endpoint:
    async def answer(request: Request) -> Response:
        if caller_of(request).principal is None:
            if wants_part(exchange_of(request)):
                raise Unauthenticated()  # the sign-in page must not land inside the page that is open
            return _to_sign_in(request)
        desk = await open_desk(parts, pages, request)
        desk.require(spec.right)
        try:
            return await spec.handler(desk)
        except SHOWN as error:
            return await _shown(error, desk.refused, spec)

    return answer


async def _shown(error: TollhouseError, refused: Callable[[TollhouseError], Response], spec: PageSpec) -> Response:
    if spec.method == "GET":
        raise error
    return refused(error)


def _to_sign_in(request: Request) -> Response:
    root = request.scope.get("root_path", "")
    path = request.scope["path"].removeprefix(root)
    query = request.scope["query_string"].decode("latin-1")
    wanted = f"{path}?{query}" if query else path
    return RedirectResponse(f"{root}{doors.SIGN_IN}?{urlencode({'next': wanted})}", status_code=303)
