"""``/api/v1``: turns, conversations, uploads."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.datastructures import UploadFile

from tollhouse.gateway.exchange import JSON, port
from tollhouse.gateway.large_json import LargeJsonRoute, forget_json
from tollhouse.plugin.errors import InvalidInput
from tollhouse.plugin.ports import Conversations, Files, Turns
from tollhouse.routes import schemas_turns as s
from tollhouse.routes.common import Cursor, Items, Limit, answers, idempotency_key, in_one_line, inside, items

router = APIRouter(route_class=LargeJsonRoute)
LARGE = frozenset({"POST /turns", "POST /uploads"})
IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", description="The same key gives the first answer again, and charges once.")
]
TRUE = {"type": "string", "const": "true"}
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                },
                "example": {"file": "…"},
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "…"},
        },
    }
}
REPLAYED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Idempotent-Replayed": {"description": "`true` for an answer that was given before.", "schema": TRUE},
            "X-Turn-Warning": {"description": "The same as `warnings`, in one line.", "schema": {"type": "string"}},
        }
    }
}


@router.post("/turns", response_model=s.Turn, tags=["talking", "model call"], responses=REPLAYED)
async def run_turn(request: Request, response: Response, body: s.CreateTurn, key: IdempotencyKey = None) -> s.Turn:
    """Say something to an agent; the answer is the whole reply."""
    with inside("parameters", lambda name: name not in s.CreateTurn.model_fields):
        key = idempotency_key(key)
        wanted = await asyncio.to_thread(body.request, key) if JSON in request.scope else body.request(key)
        forget_json(request)
        result = await port(request, Turns).run(wanted)
    if result.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    if result.warnings:
        response.headers["X-Turn-Warning"] = in_one_line(result.warnings)
    return s.Turn.of(result)


@router.get("/turns/{turn_id}", response_model=s.Turn, tags=["talking"])
async def get_turn(request: Request, turn_id: str) -> s.Turn:
    """A turn of yours, also one whose answer you missed."""
    return s.Turn.of(await port(request, Turns).get(turn_id))


@router.get("/conversations", response_model=Items[s.Conversation], tags=["talking"])
async def list_conversations(request: Request, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """Your conversations, newest first."""
    page = await port(request, Conversations).list(cursor, limit)
    return items(page.items, page.next_cursor)


@router.post(
    "/conversations", status_code=201, response_model=s.Conversation, tags=["talking"], openapi_extra={"x-errors": [402]}
)
async def start_conversation(request: Request, body: s.StartConversation) -> Any:
    """Begin an empty conversation."""
    return await port(request, Conversations).start(body.agent, body.title)


@router.get("/conversations/{conversation_id}", response_model=s.Conversation, tags=["talking"])
async def get_conversation(request: Request, conversation_id: str) -> Any:
    """One conversation."""
    return await port(request, Conversations).get(conversation_id)


@router.patch("/conversations/{conversation_id}", response_model=s.Conversation, tags=["talking"])
async def rename_conversation(request: Request, conversation_id: str, body: s.RenameConversation) -> Any:
    """Give it another title."""
    return await port(request, Conversations).rename(conversation_id, body.title)


@router.delete("/conversations/{conversation_id}", status_code=204, tags=["talking"])
async def delete_conversation(request: Request, conversation_id: str) -> None:
    """Forget it."""
    await port(request, Conversations).delete(conversation_id)


@router.get("/conversations/{conversation_id}/messages", response_model=Items[s.MessageView], tags=["talking"])
async def list_messages(request: Request, conversation_id: str, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
    """What was said, oldest first; without a cursor the newest, and the cursor leads to older ones."""
    page = await port(request, Conversations).messages(conversation_id, cursor, limit)
    return items([s.MessageView.of(message) for message in page.items], page.next_cursor)


@router.post("/uploads", status_code=201, response_model=s.File, tags=["files"], openapi_extra=UPLOAD_BODY)
async def upload(request: Request, name: Annotated[str, Query(max_length=255)] = "") -> Any:
    """Store a file: as a form's ``file``, or as the body itself with ``?name=``."""
    files = port(request, Files)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=10) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InvalidInput("Send the file as the form's field 'file'", field="file")
            return await files.put(await file.read(), (file.filename or name)[:255])
    return await files.put(await request.body(), name)


@router.get("/uploads/{file_id}", response_class=Response, tags=["files"], responses=answers("…", "application/octet-stream"))
async def download(request: Request, file_id: str) -> Response:
    """A file of yours, always as a download: nothing that was uploaded is ever shown as a page of ours."""
    ref, data = await port(request, Files).open(file_id)
    disposition = f"attachment; filename*=UTF-8''{quote(ref.name or ref.id, safe='')}"
    headers = {"content-disposition": disposition, "content-security-policy": "sandbox; default-src 'none'"}
    return Response(data, media_type=ref.media_type, headers=headers)
