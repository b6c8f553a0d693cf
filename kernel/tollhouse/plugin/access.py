"""Who asks, and what the policy engine answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Role = Literal["owner", "admin", "support", "analyst"]
Metric = Literal["calls", "input_tokens", "output_tokens", "total_tokens", "cost", "concurrent"]
Window = Literal["minute", "hour", "day", "month", "period", "lifetime", "now"]

METRICS: tuple[Metric, ...] = ("calls", "input_tokens", "output_tokens", "total_tokens", "cost", "concurrent")
WINDOWS: tuple[Window, ...] = ("minute", "hour", "day", "month", "period", "lifetime", "now")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, proved by a credential. Says who it is, never what it may: that is the policy engine's.

    ``auth_provider``: how the person proved who they are (``password``, ``api_key``, ``link``, a provider's name).
    ``channel``: derived from the credential, never sent by the client. ``role``: set for staff. ``operator``: runs the
    installation. ``scopes``: what an API key is narrowed to; ``None`` for everything its owner may.
    """

    tenant_id: UUID
    user_id: UUID
    auth_provider: str
    channel: str
    email: str | None = None
    name: str | None = None
    role: Role | None = None
    operator: bool = False
    scopes: frozenset[str] | None = None
    credential_id: UUID | None = None
    language: str | None = None
    credential_kind: Literal["session", "api_key", "identity"] = "session"

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role as words, for ``GET me``."""
        own = (self.role,) if self.role else ()
        return (*own, "operator") if self.operator else own


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit and how much of it is left. ``unit``: ``count`` for calls and tokens. What models cost is the seller's
    business: customers see a cost limit in ``percent`` of its amount, staff in nano-units of the currency that is named.

    ``scope`` says what it counts: ``{}`` for everything, or ``{"agent": …}`` / ``{"channel": …}``.
    ``resets_at`` is None for a limit that does not come back by itself (lifetime, concurrent).
    """

    metric: Metric
    window: Window
    amount: int
    used: int
    held: int
    remaining: int
    resets_at: datetime | None = None
    scope: Mapping[str, str] = field(default_factory=dict)
    hard: bool = True
    unit: str = "count"


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed or not, why, which limits apply, how much is left, when it comes back.

    ``reason``: ``ok`` or a stable code (``docs/reference/reasons.md`` lists them all). ``limit`` is the one that said no.
    ``status``: the HTTP status a denial is answered with. ``retryable``: whether the same request can succeed later by
    itself, within the hour. ``message``: a sentence for the person.
    """

    allowed: bool
    reason: str
    message: str = ""
    status: int = 200
    retryable: bool = False
    retry_after: int | None = None
    limit: LimitStatus | None = None
    limits: tuple[LimitStatus, ...] = ()
    plan: str | None = None
    upgrade_url: str | None = None
    warnings: tuple[str, ...] = ()

    def problem_members(self) -> dict[str, Any]:
        """The members a denial adds to its problem document."""
        out: dict[str, Any] = {"retryable": self.retryable, "plan": self.plan, "upgrade_url": self.upgrade_url}
        if self.limit is not None:
            resets = self.limit.resets_at
            out |= {
                "limit": self.limit.amount,
                "used": self.limit.used,
                "held": self.limit.held,
                "remaining": self.limit.remaining,
                "metric": self.limit.metric,
                "window": self.limit.window,
                "unit": self.limit.unit,
                "resets_at": resets.isoformat().replace("+00:00", "Z") if resets else None,
            }
        return out
