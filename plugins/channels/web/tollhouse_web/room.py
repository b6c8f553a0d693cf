"""A chat as its page shows it: what was said, what is being answered, and the composer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from markupsafe import Markup

from tollhouse.plugin import (
    AgentInfo,
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    Catalog,
    ContentFiltered,
    ContextTooLong,
    ConversationInfo,
    Conversations,
    Decision,
    Media,
    NotFound,
    Part,
    PluginContext,
    StoredMessage,
    Text,
    TurnResult,
    Turns,
)
from tollhouse_web import formats, views, words
from tollhouse_web.prose import PROSE
from tollhouse_web.views import Card

RECENT = 8
"""How many chats stand beside an open one."""
LOOKED_THROUGH = 50
"""How many of the newest conversations are looked through for them."""
LOOKED_UP = 20
"""How many unanswered messages of a page are looked up."""
MOST_FILES = 10
KINDS = {
    "image": "image/png,image/jpeg,image/gif,image/webp",
    "audio": "audio/wav,audio/x-wav,audio/mpeg,audio/ogg,audio/mp4,audio/x-m4a,audio/webm,.wav,.mp3,.ogg,.opus,.m4a,.weba",
    "file": "application/pdf,.pdf,text/plain,text/*,.txt,.md,.csv,.json,.xml,.yaml,.log",
}
"""What the kernel takes of each modality. A picker offers these and no others; the script refuses others before they travel."""
USUAL = {
    kind.code: kind.title
    for kind in (
        BackendError,
        BackendTimeout,
        BackendRateLimited,
        BackendUnavailable,
        BackendRejected,
        BackendAuthFailed,
        ContextTooLong,
        ContentFiltered,
        BadCompletion,
    )
}
"""What the kernel says of a model's failures where nobody says more."""
PAGES = 20
"""How many pages of a conversation are looked through for one message."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One message. ``text`` as it was written; ``html`` of an agent's words, which are Markdown."""

    id: str
    mine: bool
    text: str = ""
    html: Markup = field(default_factory=Markup)
    media: Sequence[Media] = ()
    at: datetime | None = None
    trouble: Card | None = None
    """Why it has no answer, and the way to try again."""

    @property
    def begins(self) -> str:
        """Its first words: what tells its buttons from those of other messages."""
        return formats.beginning(self.text)


@dataclass(frozen=True, slots=True)
class Draft:
    """What the composer holds: words, files that are uploaded already, and the turn's idempotency key."""

    text: str = ""
    attached: Sequence[Media] = ()
    key: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True, slots=True)
class Room:
    """A chat's page. ``agent`` is None when it is no longer offered, ``conversation`` None before the first message."""

    agent: AgentInfo | None
    agent_name: str
    conversation: ConversationInfo | None = None
    messages: Sequence[Shown] = ()
    earlier: str | None = None
    running: TurnResult | None = None
    cards: Sequence[Card] = ()
    left: str = ""
    draft: Draft = field(default_factory=Draft)
    recent: Sequence[ConversationInfo] = ()
    first: bool = True
    """Whether nothing was said yet."""

    @property
    def title(self) -> str:
        return title(self.conversation) if self.conversation else words.NEW_CHAT

    @property
    def links(self) -> list[tuple[str, str]]:
        """The chats beside this one."""
        return links(self.recent)

    @property
    def accept(self) -> str:
        """What the file picker offers; empty for an agent that only reads."""
        takes = self.agent.modalities if self.agent else frozenset()
        return ",".join(kinds for name, kinds in KINDS.items() if name in takes)

    @property
    def takes(self) -> str:
        """What is said to somebody who chose another kind of file."""
        return words.wrong_kind(self.agent_name, self.agent.modalities if self.agent else ())

    @property
    def most_files(self) -> int:
        """How many files one message holds."""
        return MOST_FILES


def title(conversation: ConversationInfo) -> str:
    """A chat's title, or who it is with."""
    return conversation.title or words.chat_with(conversation.agent_name)


def links(recent: Sequence[ConversationInfo]) -> list[tuple[str, str]]:
    """Chats as links: path and title."""
    return [(f"/chat/{item.id}", title(item)) for item in recent]


def said(message_id: str, parts: Sequence[Part], at: datetime | None = None) -> Shown:
    """What the person said."""
    return _message(message_id, True, parts, at)


async def answered(message_id: str, parts: Sequence[Part], at: datetime | None = None) -> Shown:
    """What the agent said."""
    message = _message(message_id, False, parts, at)
    return (await _rendered([message]))[0]


def _message(message_id: str, mine: bool, parts: Sequence[Part], at: datetime | None) -> Shown:
    text = "\n\n".join(part.text for part in parts if isinstance(part, Text))
    media = tuple(part for part in parts if isinstance(part, Media))
    return Shown(message_id, mine, text, media=media, at=at)


async def _rendered(messages: Sequence[Shown]) -> list[Shown]:
    """The same with the agent's words as HTML."""
    pages = iter(await PROSE.of([message.text for message in messages if not message.mine]))
    return [message if message.mine else replace(message, html=next(pages)) for message in messages]


async def recent_of(conversations: Conversations) -> list[ConversationInfo]:
    """The chats beside an open one. What programs said is left out: each of their requests may be a conversation."""
    found = await conversations.list(limit=LOOKED_THROUGH)
    return [item for item in found.items if item.channel != "api"][:RECENT]


async def of_conversation(ctx: PluginContext[Any], conversation_id: str, cursor: str | None = None) -> Room:
    """An existing chat: its newest messages, or those before ``cursor``."""
    conversations = ctx.port(Conversations)
    conversation = await conversations.get(conversation_id)
    found = await conversations.messages(conversation_id, cursor)
    turns = await _unanswered(ctx, found.items)
    agent = await _agent(ctx, conversation.agent)
    room = Room(
        agent=agent,
        agent_name=conversation.agent_name,
        conversation=conversation,
        messages=await _rendered([_stored(item, turns) for item in found.items]) or await _welcome(agent),
        first=not found.items,
        earlier=found.next_cursor,
    )
    if cursor is not None:
        return room
    running = [turn for turn in turns.values() if turn.state == "running"]
    recent = await recent_of(conversations)
    return await _with_policy(ctx, replace(room, recent=recent, running=running[0] if running else None))


async def with_agent(ctx: PluginContext[Any], name: str) -> Room:
    """A chat that has not begun."""
    agent = await ctx.port(Catalog).agent(name)
    messages = await _welcome(agent)
    recent = await recent_of(ctx.port(Conversations))
    return await _with_policy(ctx, Room(agent, agent.name, messages=messages, recent=recent))


async def _welcome(agent: AgentInfo | None) -> list[Shown]:
    """What an agent says before anybody has said anything."""
    return [await answered("welcome", (Text(agent.welcome),))] if agent is not None and agent.welcome else []


async def denied(ctx: PluginContext[Any], decision: Decision, agent: AgentInfo) -> Card:
    """The card in the place of an answer."""
    return views.denial(decision, agent, await ctx.port(Catalog).plans(), {agent.slug: agent.name, agent.id: agent.name})


def failed(turn: TurnResult, about: str = "") -> Card:
    """A turn that had no answer, as its record tells it. Trying it again is another attempt of the same turn.

    ``about``: how what was said begins.
    """
    error = turn.error or {}
    code, detail = str(error.get("code", "")), str(error.get("detail") or "")
    text = failure_text(code, detail) if detail else words.NOTHING_COUNTED
    again = turn.external_id and turn.channel == "web" and words.can_help(code)
    return Card(
        words.NOT_ANSWERED, text, failed=True, retry=again_path(turn.conversation_id, turn.id) if again else "", about=about
    )


def failure_text(code: str, detail: str) -> str:
    """Why there is no answer, in the customer's words."""
    return words.failure(code, detail, USUAL.get(code))


def again_path(conversation_id: str | None, turn_id: str) -> str:
    """Where a failed turn is tried again."""
    return f"/chat/{conversation_id}/turns/{turn_id}/again" if conversation_id else ""


async def said_in(ctx: PluginContext[Any], conversation_id: str, turn_id: str) -> StoredMessage:
    """What the person said in a turn of this conversation.

    Raises:
        NotFound: nothing, or too long ago.
    """
    cursor = None
    for _ in range(PAGES):
        found = await ctx.port(Conversations).messages(conversation_id, cursor)
        for message in found.items:
            if message.turn_id == turn_id and message.role == "user":
                return message
        cursor = found.next_cursor
        if cursor is None:
            break
    raise NotFound()


async def _agent(ctx: PluginContext[Any], name: str) -> AgentInfo | None:
    try:
        return await ctx.port(Catalog).agent(name)
    except NotFound:
        return None


async def _unanswered(ctx: PluginContext[Any], messages: Sequence[StoredMessage]) -> dict[str, TurnResult]:
    """What became of the messages that have no answer here, by turn: the newest of them."""
    answered = {message.turn_id for message in messages if message.role == "assistant"}
    asked = [item.turn_id for item in messages if item.role == "user" and item.turn_id and item.turn_id not in answered]
    turns: dict[str, TurnResult] = {}
    for turn_id in reversed(asked[-LOOKED_UP:]):
        try:
            turns[turn_id] = await ctx.port(Turns).get(turn_id)
        except NotFound:
            continue
    return turns


def _stored(message: StoredMessage, turns: Mapping[str, TurnResult]) -> Shown:
    # By its turn, where there is one: a page and the fragment that came before it call the same message the same.
    found = _message(message.turn_id or message.id, message.role == "user", message.parts, message.created_at)
    if not found.mine:
        return found
    turn = turns.get(message.turn_id or "")
    return replace(found, trouble=failed(turn, found.begins)) if turn is not None and turn.state == "failed" else found


async def _with_policy(ctx: PluginContext[Any], room: Room) -> Room:
    """Say before anybody writes in vain that there would be no answer; else what is left."""
    if room.agent is None:
        return room
    decision = await ctx.port(Turns).check(room.agent.slug)
    if not decision.allowed:
        return replace(room, cards=[*room.cards, await denied(ctx, decision, room.agent)])
    return replace(room, left=views.left_line(decision.limits, room.agent))
