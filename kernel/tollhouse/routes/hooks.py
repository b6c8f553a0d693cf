"""``/hooks/{tenant}/{connection}``: the one webhook intake of all plugins."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

from fastapi import APIRouter, Request, Response

from tollhouse.gateway.exchange import exchange_of
from tollhouse.plugin.channels import RawRequest, RawResponse
from tollhouse.plugin.mounts import Mount
from tollhouse.routes.common import answers

UPDATE = {"update_id": 10000, "message": {"text": "Hello?"}}
BODY: dict[str, Any] = {
    "description": "Whatever the vendor sends; its plugin verifies and reads it.",
    "content": {"application/json": {"schema": {"description": "Anything."}, "example": UPDATE}},
}


class Accepts(Protocol):
    """Takes webhooks (``tollhouse.delivery.intake.Intake``)."""

    async def accept(self, tenant: str, connection: str, request: RawRequest) -> RawResponse: ...


def hooks_mount(intake: Accepts) -> Mount:
    """Public for the gateway: the plugin verifies each webhook by its vendor's rules."""
    router = APIRouter(tags=["webhooks"])

    @router.get("/{tenant}/{connection}", response_class=Response, responses=answers("1158201444", "text/plain"))
    async def handshake(request: Request, tenant: str, connection: str) -> Response:
        """A vendor makes sure that this address is meant."""
        return await _accept(intake, request, tenant, connection)

    @router.post(
        "/{tenant}/{connection}",
        response_class=Response,
        responses=answers("ok", "text/plain"),
        openapi_extra={"requestBody": BODY},
    )
    async def receive(request: Request, tenant: str, connection: str) -> Response:
        """A vendor tells something. Stored before it is answered; handled once in effect."""
        return await _accept(intake, request, tenant, connection)

    public = frozenset({"GET /{tenant}/{connection}", "POST /{tenant}/{connection}"})
    return Mount("/hooks", router, public=public)


async def _accept(intake: Accepts, request: Request, tenant: str, connection: str) -> Response:
    exchange = exchange_of(request)
    raw = RawRequest(
        method=request.method,
        query=dict(request.query_params),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers.items()},
        body=await request.body(),
        address=exchange.address,
        received_at=datetime.now(UTC),
    )
    answer = await intake.accept(tenant, connection, raw)
    return Response(answer.body, answer.status, media_type=answer.media_type)
