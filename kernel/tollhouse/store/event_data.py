"""What plugins are told of each event, and the one place where it becomes what the outbox holds.

Whatever tells plugins of something, in whichever transaction, comes through :func:`event_payload`: what is not an id, a number,
a word or nothing, and what an event does not have, gets no further than here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from tollhouse.plugin.events import EventName
from tollhouse.store.ids import new_id, parse_id
from tollhouse.store.json_text import clean

ID: Final = "id"
NUMBER: Final = "number"
WORD: Final = "word"

EVENTS: Final[Mapping[EventName, Mapping[str, str]]] = {
    "turn.finished": {
        "turn_id": ID,
        "user_id": ID,
        "agent_id": ID,
        "channel": WORD,
        "outcome": WORD,
        "input_tokens": NUMBER,
        "output_tokens": NUMBER,
        "cost": NUMBER,
        "cost_currency": WORD,
    },
    "turn.denied": {"user_id": ID, "agent": WORD, "channel": WORD, "reason": WORD},
    "user.registered": {"user_id": ID, "by": WORD},
    "subscription.changed": {"user_id": ID, "subscription_id": ID, "status": WORD},
    "order.paid": {"order_id": ID, "user_id": ID, "subscription_id": ID, "amount_minor": NUMBER, "currency": WORD},
}
"""The fields of each event's ``data``, and what they are. Any of them may be null."""

_TYPES: Final[Mapping[str, type]] = {ID: UUID, NUMBER: int, WORD: str}


def event_payload(
    name: EventName, data: Mapping[str, Any], at: datetime | None = None, event_id: UUID | None = None
) -> dict[str, Any]:
    """A row's payload: the event as JSON; a new one that happened now, if nothing else is given.

    Raises:
        TypeError: a bug of whoever tells of it: a field is missing, is too many, or is not what it should be.
    """
    shape = EVENTS[name]
    if shape.keys() != data.keys():
        raise TypeError(f"{name} has {', '.join(shape)}; it was told with {', '.join(data)}")
    return {
        "id": str(event_id or new_id()),
        "name": name,
        "occurred_at": (at or datetime.now(UTC)).isoformat(),
        "data": {field: _plain(name, field, shape[field], value) for field, value in data.items()},
    }


def _plain(name: str, field: str, kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == ID and isinstance(value, str) and (known := parse_id(value)) is not None:
        value = known
    if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):
        raise TypeError(f"{name}: {field} is to be a {kind}, and is a {type(value).__name__}")
    return str(value) if kind == ID else clean(value)
