"""``/v1``: what OpenAI's clients call."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter
from pydantic_core import PydanticSerializationError, to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tollhouse.plugin import Catalog, InvalidInput, Mount, NotFound, Turns, context_of
from tollhouse_api import answers, requests
from tollhouse_api.errors import ModelNotFound, UnknownEndpoint
from tollhouse_api.reference import CHAT_COMPLETIONS, MODEL, MODELS

MAX_HEADER = 2_000
ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class ChatCompletions:
    """``POST /v1/chat/completions``: an ASGI app of its own, because this is the busiest route of all."""

    openapi = CHAT_COMPLETIONS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await chat_completions(Request(scope, receive))
        await response(scope, receive, send)


async def chat_completions(request: Request) -> Response:
    """One completion."""
    headers = request.headers
    sent = (headers.get("idempotency-key"), headers.get("x-conversation-id"))
    if (document := request.scope.get("tollhouse.json")) is None:
        wanted = requests.parse(await request.body())
        turn = requests.to_turn(wanted, *sent)
    else:  # a large body: what is decoded from it takes its time, and is held once
        wanted = requests.check(await document())
        turn = await asyncio.to_thread(requests.to_turn, wanted, *sent)
        requests.lighten(wanted)
    try:
        result = await context_of(request).port(Turns).run(turn)
    except InvalidInput as error:
        requests.point_into(wanted, turn, error)
        raise
    except NotFound:
        if turn.conversation is None and not _mentions_files(turn):
            raise ModelNotFound(param="model") from None
        raise
    extra = {"x-turn-id": result.id}
    if result.conversation_id is not None:
        extra["x-conversation-id"] = result.conversation_id
    warnings = [*result.warnings, *(f"Ignored, because agents do not take it: {name}." for name in wanted.ignored)]
    if warnings:
        extra["x-turn-warning"] = " ".join(warnings).encode("ascii", "replace").decode()[:MAX_HEADER]
    if result.replayed:
        extra["idempotent-replayed"] = "true"
    if wanted.stream:
        body = answers.stream(result, wanted.model, warnings, with_usage=wanted.with_usage)
        return Response(body, media_type="text/event-stream", headers=extra)
    return _json(answers.completion(result, wanted.model, warnings), extra)


async def list_models(request: Request) -> Response:
    """``GET /v1/models``: the agents that the caller may use by API, also while a limit is used up."""
    ctx = context_of(request)
    agents = await ctx.port(Catalog).agents("api")
    data = [answers.model_object(agent, ctx.tenant.slug) for agent in agents]
    return _json({"object": "list", "data": data})


async def get_model(request: Request) -> Response:
    """``GET /v1/models/{id}``."""
    ctx = context_of(request)
    name = request.path_params["id"]
    for agent in await ctx.port(Catalog).agents("api"):
        if name in (agent.slug, agent.id):
            return _json(answers.model_object(agent, ctx.tenant.slug))
    raise ModelNotFound(param="id")


async def unknown(request: Request) -> Response:
    """Everything else under ``/v1``."""
    raise UnknownEndpoint()


list_models.openapi = MODELS  # type: ignore[attr-defined]
get_model.openapi = MODEL  # type: ignore[attr-defined]


def make_mount() -> Mount:
    """The routes. Plain Starlette routes describe themselves for OpenAPI by the attribute ``openapi``."""
    router = APIRouter()
    router.routes += [
        Route("/chat/completions", ChatCompletions(), methods=["POST"]),
        Route("/models", list_models, methods=["GET"]),
        Route("/models/{id:path}", get_model, methods=["GET"]),
        Route("/{rest:path}", unknown, methods=ALL_METHODS),
    ]
    busiest = frozenset({"POST /chat/completions"})
    return Mount("/v1", router, large_bodies=busiest, rechecked=busiest, errors="openai")


def _mentions_files(turn: Any) -> bool:
    parts = [part for message in turn.history for part in message.parts] + list(turn.parts)
    return any(getattr(part, "file_id", None) for part in parts)


def _json(content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    try:
        body = to_json(content)
    except PydanticSerializationError:  # half a surrogate pair, which has no UTF-8: JSON can name it all the same
        body = json.dumps(content).encode("ascii")
    return Response(body, media_type="application/json", headers=headers)
