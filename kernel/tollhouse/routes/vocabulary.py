"""The one story that all examples of the interface tell: Acme sells its agent ``guide`` to Ada; Grace owns the shop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from pydantic import BaseModel, ConfigDict

from tollhouse.gateway.examples import keep_nulls


def _id(number: int) -> str:
    return f"0199a000-0000-7000-8000-{number:012x}"


TENANT, ADA, GRACE, AGENT, VERSION, DRAFT, PLAN, PLAN_VERSION = (_id(number) for number in range(1, 9))
SUBSCRIPTION, ORDER, CONNECTION, CONVERSATION, TURN, MESSAGE, FILE, KEY = (_id(number) for number in range(9, 17))
SESSION, LIMIT, AUDIT, ALARM, DENIAL = (_id(number) for number in range(17, 22))

BEGAN, NOW, LATER = "2026-01-02T09:00:00Z", "2026-01-15T12:00:00Z", "2026-02-02T09:00:00Z"
MIDNIGHT: Final = "2026-01-16T00:00:00Z"

WORDS: Final[Mapping[str, Any]] = {
    "tenant_id": TENANT,
    "user_id": ADA,
    "agent_id": AGENT,
    "version_id": PLAN_VERSION,
    "subscription_id": SUBSCRIPTION,
    "conversation_id": CONVERSATION,
    "turn_id": TURN,
    "connection_id": CONNECTION,
    "created_by": GRACE,
    "activated_by": GRACE,
    "confirmed_by": GRACE,
    "actor_id": GRACE,
    "created_by_email": "grace@example.com",
    "created_at": BEGAN,
    "updated_at": NOW,
    "activated_at": BEGAN,
    "last_seen_at": NOW,
    "last_used_at": NOW,
    "expires_at": "2026-04-15T12:00:00Z",
    "period_start": BEGAN,
    "period_end": LATER,
    "until": LATER,
    "paid_at": NOW,
    "at": NOW,
    "first_at": NOW,
    "last_at": NOW,
    "valid_from": BEGAN,
    "resets_at": MIDNIGHT,
    "email": "ada@example.com",
    "language": "en",
    "timezone": "Europe/Berlin",
    "next_timezone": None,
    "currency": "EUR",
    "cost_currency": "USD",
    "status": "active",
    "agent": "guide",
    "agent_name": "Guide",
    "channel": "api",
    "model": "gpt-4.1-mini",
    "plan": "free",
    "plan_name": "Free",
    "interval": "month",
    "metric": "calls",
    "window": "day",
    "amount": 20,
    "hard": True,
    "reason": "ok",
    "retry_after": None,
    "upgrade_url": None,
    "warnings": [],
    "next_cursor": None,
    "address": "203.0.113.9",
    "config": {},
    "description": "Answers questions about Acme.",
    "welcome": "Hello! What would you like to know?",
    "position": 0,
    "count": 1,
}
"""What a field of this name holds in an example, where its model says nothing else."""


def example(**values: Any) -> ConfigDict:
    """A model's configuration: its example, or the part of it that differs from :data:`WORDS`."""
    return ConfigDict(json_schema_extra={"example": keep_nulls(values)})


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """What the model says of its own fields, for one that has more of them."""
    return dict(cast(dict[str, Any], model.model_config.get("json_schema_extra", {})).get("example", {}))
