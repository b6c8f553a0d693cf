"""Trying a message again that had no answer: another attempt of the same turn. Nothing is said twice, nothing counts twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import (
    AccessDenied,
    Catalog,
    ConversationInfo,
    Conversations,
    InvalidInput,
    NotFound,
    Part,
    PluginContext,
    StoredMessage,
    TollhouseError,
    TurnRequest,
    TurnResult,
    Turns,
    Usage,
    context_of,
)
from tollhouse_web import room, site, views, words
from tollhouse_web.views import Action, Card

router = APIRouter(include_in_schema=False)


@router.post("/chat/{conversation_id}/turns/{turn_id}/again")
async def again(request: Request, conversation_id: str, turn_id: str) -> Response:
    """Run a failed turn once more, and put the answer where its failure stood."""
    ctx = context_of(request)
    conversation = await ctx.port(Conversations).get(conversation_id)
    before = await ctx.port(Turns).get(turn_id)
    if before.conversation_id != conversation.id or not before.external_id:
        raise NotFound()
    said = await room.said_in(ctx, conversation.id, turn_id)
    try:
        result = await _run(ctx, conversation, before, said.parts)
    except TollhouseError as error:
        if error.http_status in (401, 404, 500):
            raise
        return await _still_not(request, conversation, said, error)
    if not site.by_htmx(request):
        return site.go(request, f"/chat/{conversation.id}#end")
    mine = room.said(said.id, said.parts)
    answer = await room.answered(result.id, result.reply.parts, result.created_at) if result.reply else None
    left = views.left_line(await ctx.port(Usage).limits(), await ctx.port(Catalog).agent(conversation.agent))
    values: dict[str, Any] = {"answer": answer, "card": None if answer else room.failed(result, mine.begins), "left": left}
    return site.page(request, "part/again.html", agent_name=conversation.agent_name, **values)


async def _run(
    ctx: PluginContext[Any], conversation: ConversationInfo, before: TurnResult, parts: tuple[Part, ...]
) -> TurnResult:
    """The same request as before."""
    request = TurnRequest(before.agent, parts, conversation=conversation.id, external_id=before.external_id)
    try:
        return await ctx.port(Turns).run(request)
    except InvalidInput as error:
        if error.http_code != "idempotency_mismatch":
            raise
    # It began the conversation, and could not name it.
    return await ctx.port(Turns).run(replace(request, conversation=None))


async def _still_not(request: Request, conversation: ConversationInfo, said: StoredMessage, error: TollhouseError) -> Response:
    """There is still no answer: the new reason in the place of the old one."""
    ctx = context_of(request)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if not site.by_htmx(request):
        found = await room.of_conversation(ctx, conversation.id)
        return site.page(request, "chat.html", error.http_status, headers, room=found, before=None)
    retry = room.again_path(conversation.id, said.turn_id or "") if words.can_help(error.http_code) else ""
    about = room.said(said.id, said.parts).begins
    if isinstance(error, AccessDenied):
        denied = await room.denied(ctx, error.decision, await ctx.port(Catalog).agent(conversation.agent))
        card = replace(denied, retry=retry, about=about)
    elif error.http_code == "turn_running":
        card = Card(
            words.STILL_RUNNING, words.STILL_RUNNING_TEXT, actions=[Action(words.OPEN_CHAT, f"/chat/{conversation.id}")]
        )
    else:
        text = room.failure_text(error.http_code, error.detail)
        card = Card(words.NOT_ANSWERED, text, failed=True, retry=retry, about=about)
    values: dict[str, Any] = {"answer": None, "card": card, "left": "", "agent_name": conversation.agent_name}
    return site.page(request, "part/again.html", error.http_status, headers, **values)
