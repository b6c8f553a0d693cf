"""Channels: ways to talk with an agent.

An *interactive* channel (web, mobile, api) registers routes and uses the Turns port. A *messenger* receives through the one
webhook intake, and its replies are delivered by a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel

from tollhouse.plugin.access import Decision
from tollhouse.plugin.content import Modality, Part, Reply
from tollhouse.plugin.events import InboundEvent

if TYPE_CHECKING:
    from tollhouse.plugin.context import PluginContext


@dataclass(frozen=True, slots=True)
class ChannelCapabilities:
    """What a channel can carry. ``text_limit`` in UTF-16 code units per message, None for no limit."""

    text_limit: int | None = None
    media: frozenset[Modality] = frozenset({"text"})
    buttons: bool = False
    markup: str = "plain"
    payment_providers: frozenset[str] | None = None


@runtime_checkable
class Channel(Protocol):
    """A way to talk. ``name`` is the channel's word in plans and in the ledger. The object holds no state."""

    name: str
    title: str
    capabilities: ChannelCapabilities


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A webhook as it came: the exact bytes, because signatures are over bytes. Header names are lower case."""

    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    address: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class RawResponse:
    """An answer that is owed inside the webhook's own request (a handshake, say)."""

    status: int = 200
    body: bytes = b""
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Received:
    """What a webhook meant. The events are stored before it is answered, each handled once in effect."""

    events: Sequence[InboundEvent] = ()
    response: RawResponse | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One vendor message, ready to be sent; JSON, so that it can wait in the outbox."""

    recipient: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivered:
    """Proof of delivery: the vendor's id of the message that was sent."""

    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn ended in, for rendering: a reply, or the decision that denied it, or a sentence about an error."""

    recipient: str
    reply: Reply | None = None
    denial: Decision | None = None
    error: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Receives(Protocol):
    """Anything with a webhook: ``/hooks/{tenant}/{connection}``."""

    async def receive(self, ctx: PluginContext[Any], request: RawRequest) -> Received:
        """Verify and parse, within 10 seconds. Bytes in, meaning out; no side effect.

        Raises:
            Unauthenticated: the signature or secret is wrong (401; nothing is stored).
            InvalidInput: it is not what the vendor sends.
        """
        ...


@runtime_checkable
class Messenger(Channel, Receives, Protocol):
    """A channel whose messages arrive by webhook and whose replies are delivered by a worker."""

    Config: type[BaseModel]

    def render(self, ctx: PluginContext[Any], answer: Answer) -> Sequence[Outgoing]:
        """Meaning in, vendor messages out: split, escape, add buttons. At least one, of JSON. Pure, within 1 second."""
        ...

    async def deliver(self, ctx: PluginContext[Any], outgoing: Outgoing) -> Delivered:
        """Send one message, within 30 seconds. Retried by itself: the turn is never run again.

        Raises:
            DeliveryFailed: with ``permanent`` for a recipient who is gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that still lies at the vendor; fetched by the worker. ``size`` in bytes if the vendor said."""

    reference: str
    type: Modality
    size: int | None = None
    name: str | None = None


InboundPart = Part | Attachment
