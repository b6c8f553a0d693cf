"""The chats: their list, one of them, a new one, renaming and deleting."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import AgentInfo, Catalog, Conversations, InvalidInput, NotFound, Turns, context_of
from tollhouse_web import forms, room, site, views, words
from tollhouse_web.forms import Form
from tollhouse_web.offer import all_agents

router = APIRouter(include_in_schema=False)


@router.get("/chat")
async def chats(request: Request) -> Response:
    """Every chat, newest first."""
    found = await context_of(request).port(Conversations).list(request.query_params.get("cursor"), 50)
    rows = [(item, room.title(item)) for item in found.items]
    done = words.DONE.get(request.query_params.get("done", ""))
    return site.page(request, "chats.html", rows=rows, more=found.next_cursor, done=done)


@router.get("/chat/new")
async def new(request: Request) -> Response:
    """An empty chat with an agent; with several to choose from, the choice first."""
    ctx = context_of(request)
    name = request.query_params.get("agent", "")
    if not name:
        agents = await ctx.port(Catalog).agents("web")
        if len(agents) != 1:
            return await _choose(request, agents)
        name = agents[0].slug
    return site.page(request, "chat.html", room=await room.with_agent(ctx, name))


async def _choose(request: Request, agents: Sequence[AgentInfo]) -> Response:
    """Whom to talk to. If nobody could answer now, the policy engine's reason and what would help, before anything is typed."""
    ctx = context_of(request)
    plans = await ctx.port(Catalog).plans()
    known = agents or await all_agents(ctx.port(Catalog), plans)
    names, card = views.agent_names(known), None
    for agent in known:
        decision = await ctx.port(Turns).check(agent.slug)
        if decision.allowed:
            card = None
            break
        card = card or views.denial(decision, agent, plans, names)
    return site.page(request, "choose.html", agents=agents, card=card)


@router.get("/chat/{conversation_id}")
async def show(request: Request, conversation_id: str) -> Response:
    """One chat; with ``before`` its earlier messages."""
    before = request.query_params.get("before")
    found = await room.of_conversation(context_of(request), conversation_id, before)
    if before and site.by_htmx(request):
        return site.page(request, "part/earlier.html", room=found)
    return site.page(request, "chat.html", room=found, before=before)


@router.get("/chat/{conversation_id}/turns/{turn_id}")
async def turn(request: Request, conversation_id: str, turn_id: str) -> Response:
    """How a turn stands that was running when the page was loaded; asked for every two seconds."""
    if not site.by_htmx(request):
        return site.go(request, f"/chat/{conversation_id}#end")
    ctx = context_of(request)
    conversation = await ctx.port(Conversations).get(conversation_id)
    found = await ctx.port(Turns).get(turn_id)
    if found.conversation_id != conversation.id:
        raise NotFound()
    who = conversation.agent_name
    if found.state == "running":
        return site.page(request, "part/running.html", conversation=conversation, agent_name=who, turn=found)
    answer = await room.answered(found.id, found.reply.parts, found.created_at) if found.reply else None
    card = None if answer else room.failed(found)
    return site.page(request, "part/answer.html", message=answer, card=card, agent_name=who)


@router.get("/chat/{conversation_id}/edit")
async def edit(request: Request, conversation_id: str) -> Response:
    """Another title, or no chat at all."""
    conversation = await context_of(request).port(Conversations).get(conversation_id)
    form = Form({"title": conversation.title})
    return site.page(request, "chat_edit.html", conversation=conversation, name=room.title(conversation), form=form)


@router.post("/chat/{conversation_id}/edit")
async def rename(request: Request, conversation_id: str) -> Response:
    """Another title."""
    conversations = context_of(request).port(Conversations)
    form = await forms.read(request, "title")
    try:
        await conversations.rename(conversation_id, form["title"])
    except InvalidInput as error:
        forms.refuse(form, error)
        conversation = await conversations.get(conversation_id)
        return site.page(request, "chat_edit.html", 422, conversation=conversation, name=room.title(conversation), form=form)
    return site.go(request, f"/chat/{conversation_id}")


@router.post("/chat/{conversation_id}/delete")
async def delete(request: Request, conversation_id: str) -> Response:
    """Forget a chat."""
    await context_of(request).port(Conversations).delete(conversation_id)
    return site.go(request, "/chat?done=deleted")
