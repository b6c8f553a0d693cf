"""Sending a message: one turn. With htmx the answer is a fragment; without, the chat's page comes back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from tollhouse.plugin import (
    AccessDenied,
    AgentInfo,
    BackendError,
    Catalog,
    Conversations,
    Files,
    InvalidInput,
    Media,
    NotFound,
    Part,
    PluginContext,
    RateLimited,
    Text,
    TollhouseError,
    TooLarge,
    TurnRequest,
    TurnResult,
    Turns,
    Unavailable,
    Usage,
    context_of,
)
from tollhouse_web import formats, room, site, views, words
from tollhouse_web.forms import clean
from tollhouse_web.room import Draft
from tollhouse_web.views import Action, Card

router = APIRouter(include_in_schema=False)

KEPT = "X-Message-Kept"
"""Tells the script that what was written stands in the chat, and does not belong back into the composer."""
_KEY = re.compile(r"[0-9A-Za-z_-]{8,64}")


@dataclass(frozen=True, slots=True)
class Said:
    """What the composer sent."""

    agent: str
    conversation: str | None
    key: str
    text: str
    parts: tuple[Part, ...] = ()
    first: bool = False
    """Whether nothing was said before in the chat, as its page knew it."""

    @property
    def media(self) -> list[Media]:
        return [part for part in self.parts if isinstance(part, Media)]

    def draft(self, key: str | None = None) -> Draft:
        """The same, back in the composer."""
        return Draft(self.text, self.media, key or uuid4().hex)


@router.post("/chat")
async def send(request: Request) -> Response:
    """Run one turn. What was written is never lost: a failure gives it back to the composer."""
    ctx = context_of(request)
    async with _sent(request) as form:
        said = _said(form)
        agent = await ctx.port(Catalog).agent(said.agent)
        try:
            said = await _with_parts(ctx, form, said)
            result = await ctx.port(Turns).run(
                TurnRequest(agent=agent.slug, parts=said.parts, conversation=said.conversation, external_id=said.key)
            )
        except TollhouseError as error:
            if error.http_status in (401, 500) or (isinstance(error, NotFound) and not site.by_htmx(request)):
                raise
            return await _refused(request, agent, said, error)
    return await _answered(request, agent, said, result)


@router.post("/chat/begin")
async def begin(request: Request) -> Response:
    """An empty chat for a message that is about to be sent, so that its page has an address before the answer is there.

    204 where there would be no answer: then the message itself is told why, and leaves no empty chat behind.
    """
    ctx = context_of(request)
    async with _sent(request) as form:
        agent = await ctx.port(Catalog).agent(_said(form).agent)
    if not (await ctx.port(Turns).check(agent.slug)).allowed:
        return Response(status_code=204)
    conversation = await ctx.port(Conversations).start(agent.slug)
    return JSONResponse({"id": conversation.id, "path": site.site_of(request).url(_place(conversation.id))})


@asynccontextmanager
async def _sent(request: Request) -> AsyncIterator[FormData]:
    """The form.

    Raises:
        TooLarge: it has too many files; the library's words for that are not for people.
    """
    try:
        form = await request.form(max_files=room.MOST_FILES, max_fields=30)
    except HTTPException as error:
        if "Too many files" not in str(error.detail):
            raise
        raise TooLarge(words.too_many_files(room.MOST_FILES)) from None
    try:
        yield form
    finally:
        await form.close()


def _said(form: FormData) -> Said:
    def text(name: str) -> str:
        found = form.get(name)
        return clean(found) if isinstance(found, str) else ""

    key = text("key")
    return Said(
        agent=text("agent"),
        conversation=text("conversation") or None,
        key=key if _KEY.fullmatch(key) else uuid4().hex,
        text=text("text").replace("\r\n", "\n").strip(),
        first=bool(text("first")) or not text("conversation"),
    )


async def _with_parts(ctx: PluginContext[Any], form: FormData, said: Said) -> Said:
    """The words, files that are here already, and new ones."""
    files = ctx.port(Files)
    refs = [(await files.open(item))[0] for item in form.getlist("attached")[: room.MOST_FILES] if isinstance(item, str)]
    for item in form.getlist("files"):
        if isinstance(item, UploadFile) and item.filename:
            refs.append(await files.put(await item.read(), item.filename))
    media = tuple(Media(ref.type, ref.media_type, file_id=ref.id, name=ref.name, size=ref.size) for ref in refs)
    words_first: tuple[Part, ...] = (Text(said.text),) if said.text else ()
    if not words_first and not media:
        raise InvalidInput(words.EMPTY_MESSAGE, field="text")
    return replace(said, parts=words_first + media)


async def _answered(request: Request, agent: AgentInfo, said: Said, result: TurnResult) -> Response:
    place = _place(result.conversation_id)
    if not site.by_htmx(request):
        return site.go(request, f"{place}#m{result.id}")
    answer = await room.answered(result.id, result.reply.parts, result.created_at) if result.reply else None
    card = None if answer else room.failed(result, formats.beginning(said.text))
    return await _turn(request, agent, said, result.conversation_id, answer=answer, card=card, turn_id=result.id)


async def _unanswered(request: Request, agent: AgentInfo, said: Said, error: TollhouseError) -> Response:
    """The turn failed and is kept: what was said stands in the chat with its state, and can be tried again from there."""
    conversation_id, turn_id = str(error.extra["conversation_id"]), str(error.extra["turn_id"])
    if not site.by_htmx(request):
        return site.go(request, f"{_place(conversation_id)}#end")
    card = Card(
        words.NOT_ANSWERED,
        room.failure_text(error.http_code, error.detail),
        failed=True,
        retry=room.again_path(conversation_id, turn_id) if words.can_help(error.http_code) else "",
        about=formats.beginning(said.text),
    )
    headers = {KEPT: "yes"} | ({"Retry-After": str(error.retry_after)} if error.retry_after else {})
    more: dict[str, Any] = {"status": error.http_status, "headers": headers}
    return await _turn(request, agent, said, conversation_id, card=card, turn_id=turn_id, **more)


async def _running(request: Request, agent: AgentInfo, said: Said, error: TollhouseError) -> Response:
    """The same message is being answered already, for a page that is gone: this one waits for the answer in its place."""
    turn = await context_of(request).port(Turns).get(str(error.extra["turn_id"]))
    return await _turn(request, agent, said, turn.conversation_id, turn_id=turn.id, running=turn, headers={KEPT: "yes"})


async def _turn(
    request: Request,
    agent: AgentInfo,
    said: Said,
    conversation_id: str | None,
    *,
    turn_id: str,
    answer: room.Shown | None = None,
    card: Card | None = None,
    running: TurnResult | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """What was said and what came of it; after the first message also what the page around it did not know before."""
    ctx = context_of(request)
    begun = None
    if said.first and conversation_id is not None:
        begun = await ctx.port(Conversations).get(conversation_id)
        headers = {**(headers or {}), "HX-Replace-Url": site.site_of(request).url(_place(conversation_id))}
    recent = await room.recent_of(ctx.port(Conversations)) if begun else ()
    return site.page(
        request,
        "part/turn.html",
        status,
        headers,
        mine=replace(room.said(turn_id, said.parts), trouble=card),
        answer=answer,
        running=running,
        agent_name=agent.name,
        conversation_id=conversation_id,
        key=uuid4().hex,
        left=views.left_line(await ctx.port(Usage).limits(), agent),
        begun=begun,
        title=room.title(begun) if begun else "",
        recent=room.links(recent),
    )


def _place(conversation_id: str | None) -> str:
    return f"/chat/{conversation_id}" if conversation_id else "/chat"


async def _refused(request: Request, agent: AgentInfo, said: Said, error: TollhouseError) -> Response:
    """The card in the place of the answer, with the answer's true status."""
    ctx = context_of(request)
    if isinstance(error, BackendError) and error.extra.get("turn_id") and error.extra.get("conversation_id"):
        return await _unanswered(request, agent, said, error)
    if error.http_code == "turn_running" and error.extra.get("turn_id") and said.conversation and site.by_htmx(request):
        return await _running(request, agent, said, error)
    card = await _card(ctx, agent, said, error)
    # What may still have arrived keeps its key: sending it again finds the same turn. What is settled gets a fresh one.
    unsure = isinstance(error, Unavailable | RateLimited) or error.http_code == "turn_running"
    draft = said.draft(said.key if unsure else None)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if site.by_htmx(request):
        return site.page(request, "part/refused.html", error.http_status, headers, card=card, key=draft.key)
    shown = await room.of_conversation(ctx, said.conversation) if said.conversation else await room.with_agent(ctx, agent.slug)
    shown = replace(shown, cards=[card], draft=draft)
    return site.page(request, "chat.html", error.http_status, headers, room=shown, before=None)


async def _card(ctx: PluginContext[Any], agent: AgentInfo, said: Said, error: TollhouseError) -> Card:
    here = f"/chat/{said.conversation}" if said.conversation else "/chat"
    if isinstance(error, AccessDenied):
        return await room.denied(ctx, error.decision, agent)
    if error.http_code == "turn_running":
        return Card(words.STILL_RUNNING, words.STILL_RUNNING_TEXT, actions=[Action(words.OPEN_CHAT, here)])
    if error.http_code == "idempotency_mismatch":
        return Card(words.SENT_BEFORE, words.SENT_BEFORE_TEXT, failed=True, actions=[Action(words.OPEN_CHAT, here)])
    if isinstance(error, TooLarge):
        return Card(words.TOO_LARGE, error.detail, failed=True)
    again = (error.may_retry or isinstance(error, Unavailable)) and words.can_help(error.http_code)
    ran = isinstance(error, BackendError | Unavailable)
    return Card(
        words.NOT_ANSWERED,
        room.failure_text(error.http_code, error.detail) if ran else error.detail,
        failed=True,
        help=words.try_in(error.retry_after) if error.retry_after else "",
        again=again,
    )
