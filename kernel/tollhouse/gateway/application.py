"""Builds the one application: FastAPI's router inside, the edge around it."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from tollhouse.gateway.cookies import Cookies
from tollhouse.gateway.edge import Edge
from tollhouse.gateway.infra import Infra
from tollhouse.gateway.metrics import Metrics
from tollhouse.gateway.openapi import make_document
from tollhouse.gateway.pages import Pages
from tollhouse.gateway.parts import GatewayParts
from tollhouse.gateway.route_table import RouteTable
from tollhouse.gateway.static import StaticFiles
from tollhouse.plugin.mounts import Mount

DESCRIPTION = "Agents, plans and usage. Send an API key or a session's token as `Authorization: Bearer …`."


class Application(FastAPI):
    """FastAPI for routing, validation and OpenAPI. Errors, and all else that middlewares usually do, are the edge's."""

    edge: Edge
    table: RouteTable
    pages: Pages
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI event."""
        if scope["type"] == "http":
            scope["app"] = self
            await self.edge(scope, receive, send)
        elif scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        else:  # no web sockets
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def build_middleware_stack(self) -> ASGIApp:
        """What of FastAPI's own stack is still needed: nothing that catches an error or answers one."""
        return AsyncExitStackMiddleware(self.router)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made anew; it is not kept, because it is large as objects."""
        return make_document(self, self.table)

    @cached_property
    def openapi_json(self) -> bytes:
        """The same as it is answered, made once."""
        return json.dumps(self.openapi()).encode()


def build_application(parts: GatewayParts) -> Application:
    """The application.

    Raises:
        ConfigError: two routes take the same requests, a setting is bad, or a mount names a route that it does not have.
    """
    app = Application(
        title="Tollhouse",
        version=parts.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=parts.lifespan,
    )
    metrics, static = Metrics(), StaticFiles()
    pages = Pages(static=static, cookies=Cookies(parts.settings))
    app.table, app.pages, app.metrics = RouteTable(), pages, metrics
    tenantless, branded = Infra(parts, metrics, static).mounts()
    _include(app, tenantless, None, infra=True, tenantless=True)
    _include(app, branded, None, infra=True)
    for mount in parts.mounts:
        _include(app, mount, None)
    for registered in parts.plugin_mounts:
        _include(app, registered.obj, registered.plugin)
    app.edge = Edge(parts, app.table, app.build_middleware_stack(), metrics, pages)
    return app


def _include(app: Application, mount: Mount, plugin: str | None, *, infra: bool = False, tenantless: bool = False) -> None:
    app.include_router(mount.router, prefix=mount.prefix)
    included = app.router.routes[-1]
    app.table.add(mount, iter_route_contexts([included]), plugin, infra=infra, tenantless=tenantless)
