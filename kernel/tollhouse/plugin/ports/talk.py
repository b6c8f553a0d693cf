"""Turns, conversations and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from tollhouse.plugin.access import Decision
from tollhouse.plugin.content import FileRef, Message, Part, Reply
from tollhouse.plugin.llm import TokenUsage
from tollhouse.plugin.ports.page import Page


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One message to an agent.

    ``external_id`` (at most 255 characters) makes the turn idempotent. ``conversation`` continues a stored one; ``history``
    is for clients that keep their own, and may hold system messages, which rank below the agent's own. ``parameters`` are
    the client's wishes (``max_tokens``, ``temperature`` …): they can only lower, and count only where the agent's version
    opens them. ``store``: keep the messages as a conversation.
    """

    agent: str
    parts: tuple[Part, ...]
    conversation: str | None = None
    external_id: str | None = None
    history: tuple[Message, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    store: bool = True


@dataclass(frozen=True, slots=True)
class TurnResult:
    """A turn and what came of it. ``replayed``: it had run before, and nothing was charged now. ``external_id`` is the
    request's own: with it and the same body, a turn that failed runs again and stays one turn.

    ``warnings``: sentences about soft limits that were used up when it was admitted, and about what of the request was ignored,
    cut or moved.
    """

    id: str
    state: Literal["running", "done", "failed", "denied"]
    agent: str
    channel: str
    created_at: datetime
    conversation_id: str | None = None
    version: int | None = None
    reply: Reply | None = None
    usage: TokenUsage | None = None
    model: str | None = None
    error: Mapping[str, Any] | None = None
    replayed: bool = False
    warnings: tuple[str, ...] = ()
    external_id: str | None = None


class Turns(Protocol):
    """Talking to agents: admitted, run, metered and answered."""

    async def run(self, request: TurnRequest) -> TurnResult:
        """Run a turn to its end; a client that goes away does not cancel it.

        Raises:
            AccessDenied: the policy engine's decision, with the limit that said no.
            InvalidInput: the parts are not what the agent takes, or ``idempotency_mismatch``: same id, other body.
            Conflict: ``turn_running``: the same id is being worked on.
            BackendError: the model failed; nothing was charged. ``extra`` names the turn that is kept: ``turn_id``,
                ``conversation_id``.
        """
        ...

    async def get(self, turn_id: str) -> TurnResult:
        """A turn of the principal."""
        ...

    async def check(self, agent: str, channel: str | None = None, metadata: Mapping[str, Any] | None = None) -> Decision:
        """What :meth:`run` would be told now; nothing is set aside."""
        ...


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """A stored conversation. ``channel`` is where it began."""

    id: str
    agent: str
    agent_name: str
    title: str
    channel: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One stored message."""

    id: str
    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]
    created_at: datetime
    turn_id: str | None = None


class Conversations(Protocol):
    """What was said, of the principal."""

    async def list(self, cursor: str | None = None, limit: int = 50) -> Page[ConversationInfo]:
        """Newest first."""
        ...

    async def start(self, agent: str, title: str = "") -> ConversationInfo:
        """Begin an empty conversation with an agent that the principal may use."""
        ...

    async def get(self, conversation_id: str) -> ConversationInfo:
        """One conversation."""
        ...

    async def messages(self, conversation_id: str, cursor: str | None = None, limit: int = 100) -> Page[StoredMessage]:
        """Oldest first; without a cursor the newest ``limit`` of them, and ``next_cursor`` leads to older ones."""
        ...

    async def rename(self, conversation_id: str, title: str) -> ConversationInfo:
        """Give it another title."""
        ...

    async def delete(self, conversation_id: str) -> None:
        """Forget it, with its messages; what it used stays in the ledger."""
        ...


class Files(Protocol):
    """The principal's uploads."""

    async def put(self, data: bytes, name: str) -> FileRef:
        """Store a file; its type is found from the content.

        Raises:
            InvalidInput: the type is not supported, or a picture has too many pixels.
            TooLarge: over the upload limit.
        """
        ...

    async def open(self, file_id: str) -> tuple[FileRef, bytes]:
        """A file and its bytes."""
        ...
