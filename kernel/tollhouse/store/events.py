"""Events from outside as JSON, for the inbox, and back.

Bytes are not part of it: ``delivery`` stores them as blobs first and puts the blob's id into the part (``blob``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from tollhouse.plugin.channels import Attachment, InboundPart
from tollhouse.plugin.content import Part, part_from_json, part_to_json
from tollhouse.plugin.events import InboundEvent, InboundMessage, PaymentEvent, Sender
from tollhouse.store.json_text import clean

MAX_EXTERNAL = 255


def external_key(value: str) -> str:
    """A vendor's id as we store it: what is too long for an index is told apart by its hash."""
    value = clean(value)
    return value if len(value) <= MAX_EXTERNAL else "sha256:" + hashlib.sha256(value.encode()).hexdigest()


def event_to_json(event: InboundEvent) -> dict[str, Any]:
    """The stored form of an event."""
    if isinstance(event, PaymentEvent):
        return cast(
            "dict[str, Any]",
            clean(
                {
                    "external_id": event.external_id,
                    "reference": event.reference,
                    "state": event.state,
                    "key": event.key,
                    "occurred_at": event.occurred_at.isoformat() if event.occurred_at else None,
                    "provider_reference": event.provider_reference,
                }
            ),
        )
    sender = event.sender
    out = {
        "external_id": event.external_id,
        "sender": {name: getattr(sender, name) for name in ("provider", "issuer", "subject", "name", "language")},
        "parts": [_part_to_json(part) for part in event.parts],
        "key": event.key,
        "agent": event.agent,
        "recipient": event.recipient,
        "context": event.context,
    }
    return cast("dict[str, Any]", clean(out))


def message_from_json(raw: Mapping[str, Any]) -> InboundMessage:
    """The message in an inbox row."""
    return InboundMessage(
        external_id=raw["external_id"],
        sender=Sender(**raw["sender"]),
        parts=cast("tuple[Part, ...]", tuple(_part_from_json(part) for part in raw["parts"])),
        key=raw["key"],
        agent=raw["agent"],
        recipient=raw["recipient"],
        context=raw["context"],
    )


def payment_from_json(raw: Mapping[str, Any]) -> PaymentEvent:
    """The payment event in an inbox row."""
    occurred = raw["occurred_at"]
    names = ("external_id", "reference", "state", "key", "provider_reference")
    return PaymentEvent(
        **{name: raw[name] for name in names}, occurred_at=datetime.fromisoformat(occurred) if occurred else None
    )


def _part_to_json(part: InboundPart) -> dict[str, Any]:
    if isinstance(part, Attachment):
        return {"attachment": part.reference, "type": part.type, "size": part.size, "name": part.name}
    return part_to_json(part)


def _part_from_json(raw: Mapping[str, Any]) -> InboundPart:
    if "attachment" in raw:
        return Attachment(raw["attachment"], raw["type"], raw["size"], raw["name"])
    return part_from_json(dict(raw))
