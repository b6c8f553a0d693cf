"""The gateway's own routes: health, metrics, static files, brand, and the OpenAPI document."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tollhouse.gateway import metrics as metrics_module
from tollhouse.gateway.addresses import is_loopback
from tollhouse.gateway.brand import BrandFiles
from tollhouse.gateway.exchange import exchange_of
from tollhouse.gateway.metrics import Metrics
from tollhouse.gateway.openapi import answer, described
from tollhouse.gateway.parts import GatewayParts
from tollhouse.gateway.static import StaticFiles
from tollhouse.plugin.errors import Forbidden, Unauthenticated
from tollhouse.plugin.mounts import Mount
from tollhouse.store.trouble import Trouble

log = logging.getLogger(__name__)
CHECK_SECONDS: Final = 3.0
ROBOTS: Final = "User-agent: *\nDisallow: /api/\nDisallow: /v1/\nDisallow: /hooks/\n"


class Infra:
    """What every installation answers, whatever plugins it has."""

    def __init__(self, parts: GatewayParts, metrics: Metrics, static: StaticFiles) -> None:
        self._parts = parts
        self._metrics = metrics
        self._static = static

    def mounts(self) -> tuple[Mount, Mount]:
        """The routes of no tenant, and those that are a tenant's."""
        public = frozenset({"GET /healthz", "GET /readyz", "GET /static/{name}", "GET /favicon.ico", "GET /robots.txt"})
        # Public for the edge: each decides for itself who may read it.
        public |= {"GET /metrics", "GET /openapi.json"}
        routes: list[BaseRoute] = [
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/metrics", self._metrics_page, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/static/{name}", self._static.serve, methods=["GET"]),
            Route("/favicon.ico", self._favicon, methods=["GET"]),
            Route("/robots.txt", self._robots, methods=["GET"]),
        ]
        brand, files = frozenset({"GET /brand.css", "GET /brand/logo"}), BrandFiles(self._parts.logo)
        branded: list[BaseRoute] = [
            Route("/brand.css", files.css, methods=["GET"]),
            Route("/brand/logo", files.logo, methods=["GET"]),
        ]
        return Mount("", APIRouter(routes=routes), public), Mount("", APIRouter(routes=branded), brand)

    @described("Whether the process lives", answer({"status": "ok"}))
    async def _healthz(self, request: Request) -> Response:
        """The process lives. It says nothing about what it depends on."""
        return JSONResponse({"status": "ok"})

    @described(
        "Whether it can do its work",
        answer({"status": "ready"}),
        {
            "503": answer(
                {"status": "not ready", "codes": ["database_full"], "reasons": ["the database has no room left on its disk"]}
            )
        },
    )
    async def _readyz(self, request: Request) -> Response:
        """Whether it can do its work; 503 with what is missing."""
        missing = [one for one in await asyncio.gather(*map(self._check, self._parts.readiness)) if one is not None]
        if missing:
            body = {"status": "not ready", "codes": [one.code for one in missing], "reasons": [one.text for one in missing]}
            return JSONResponse(body, 503, headers={"retry-after": "5"})
        return JSONResponse({"status": "ready"})

    async def _check(self, name: str) -> Trouble | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await self._parts.readiness[name]()
        except TimeoutError:
            return Trouble(f"{name}_silent", f"{name}: no answer in {CHECK_SECONDS:.0f} seconds")
        except Exception:
            log.warning("readiness check %s failed", name, exc_info=True)
            return Trouble(f"{name}_failed", f"{name}: the check failed")

    @described("Metrics for Prometheus", answer("tollhouse_http_requests_total 41.0\n", "text/plain"), errors=(401, 403))
    async def _metrics_page(self, request: Request) -> Response:
        """For the operator by API key, and for the loopback."""
        exchange = exchange_of(request)
        principal = exchange.caller.principal if exchange.caller else None
        if not self._parts.settings.metrics_public and not is_loopback(exchange.address, exchange.headers):
            if principal is None:
                raise Unauthenticated()
            if not principal.operator or exchange.by_cookie:
                raise Forbidden("Metrics are for the operator, by API key")
        return Response(self._metrics.render(self._parts.troubles()), media_type=metrics_module.CONTENT_TYPE)

    @described("This document", answer({"openapi": "3.1.0", "info": {"title": "Tollhouse"}}), errors=(401,))
    async def _openapi(self, request: Request) -> Response:
        """For who is signed in, and for the loopback."""
        exchange = exchange_of(request)
        signed_in = exchange.caller is not None and exchange.caller.principal is not None
        if not signed_in and not is_loopback(exchange.address, exchange.headers):
            raise Unauthenticated()
        return Response(request.scope["app"].openapi_json, media_type="application/json")

    async def _favicon(self, request: Request) -> Response:
        request.path_params["name"] = "icon.svg"
        return await self._static.serve(request)

    async def _robots(self, request: Request) -> Response:
        return PlainTextResponse(ROBOTS, headers={"cache-control": "public, max-age=3600"})
