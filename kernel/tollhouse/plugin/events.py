"""Events: what came in from outside, and what the kernel tells plugins after it happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from tollhouse.plugin.content import Part
from tollhouse.plugin.errors import TollhouseError


@dataclass(frozen=True, slots=True)
class Sender:
    """A person as the vendor names them: the subject of an identity (provider, issuer, subject)."""

    provider: str
    issuer: str
    subject: str
    name: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message from a messenger. ``external_id`` is the vendor's id of it: the same id is handled once.

    ``key`` orders: events of one key (a chat) are handled one after the other, as they came. ``agent`` names the one that
    was asked for, None for the conversation's or the connection's default.
    """

    external_id: str
    sender: Sender
    parts: tuple[Part, ...]
    key: str
    agent: str | None = None
    recipient: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["message"] = "message"


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """What a payment provider tells of an order. ``state`` is normalised; ``reference`` is our order's id."""

    external_id: str
    reference: str
    state: Literal["paid", "failed", "refunded", "canceled"]
    key: str
    occurred_at: datetime | None = None
    provider_reference: str | None = None
    kind: Literal["payment"] = "payment"


InboundEvent = InboundMessage | PaymentEvent


class DeliveryFailed(TollhouseError):
    """A message could not be sent. ``permanent``: the recipient is gone, do not try again."""

    code = "delivery_failed"
    status = 502
    title = "The message could not be delivered"

    def __init__(self, detail: str | None = None, *, permanent: bool = False, retry_after: int | None = None) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.permanent = permanent


EventName = Literal[
    "turn.finished",
    "turn.denied",
    "user.registered",
    "subscription.changed",
    "order.paid",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened and was committed. Delivered at least once: be idempotent by ``id``.

    ``data`` holds ids and numbers, never content: what more is needed is asked for through a port.
    """

    id: UUID
    name: EventName
    tenant_id: UUID
    occurred_at: datetime
    data: Mapping[str, Any]
