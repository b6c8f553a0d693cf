"""Ports: the kernel's use cases, as plugins see them.

Each port is a small Protocol, got by ``ctx.port(Turns)`` and bound to the context's tenant and principal. The kernel's own
services satisfy them; ``tollhouse.testing`` ships a fake of each, which passes the same conformance suite. All ids are strings
(UUIDs). Every method may raise ``Unauthenticated`` (the port needs a principal and there is none), ``NotFound`` and
``Unavailable``; what else it raises is said with the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar

from tollhouse.plugin.access import Decision, LimitStatus, Metric, Principal, Window
from tollhouse.plugin.content import FileRef, Message, Modality, Part, Reply
from tollhouse.plugin.llm import TokenUsage
from tollhouse.plugin.payments import Money, NextAction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list. Give ``next_cursor`` back as ``cursor`` for what follows; None at the end."""

    items: Sequence[T]
    next_cursor: str | None = None


# -- Accounts and sessions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Profile:
    """The signed-in person, as they may see themselves."""

    id: str
    email: str | None
    email_verified: bool
    name: str
    language: str | None
    created_at: datetime


class Accounts(Protocol):
    """A user's account: made, shown, changed."""

    async def register(self, email: str, password: str, name: str = "", language: str | None = None) -> Profile:
        """Make an account with the tenant's default plan.

        Raises:
            InvalidInput: the e-mail is malformed, or the password too short or too common.
            Conflict: ``email_taken``.
        """
        ...

    async def profile(self) -> Profile:
        """The principal's own profile."""
        ...

    async def update(self, *, name: str | None = None, language: str | None = None) -> Profile:
        """Change what is given; None leaves a field as it is."""
        ...

    async def change_password(self, current: str, new: str) -> None:
        """Change the password; every other session ends.

        Raises:
            InvalidInput: the current password is wrong, or the new one is not acceptable.
        """
        ...


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session. ``token`` is shown once: a cookie's value for a browser, a bearer token for a program."""

    token: str
    expires_at: datetime
    principal: Principal


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of the user's sessions. ``current`` is the one that asks."""

    id: str
    kind: Literal["cookie", "bearer"]
    user_agent: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool


class Sessions(Protocol):
    """Signing in and out."""

    async def login(self, email: str, password: str, kind: Literal["cookie", "bearer"]) -> SignedIn:
        """Start a session.

        Raises:
            Unauthenticated: ``bad_credentials``; the same answer in the same time for an unknown e-mail.
            RateLimited: too many tries on this account or from this address.
        """
        ...

    async def redeem(self, token: str, kind: Literal["cookie", "bearer"]) -> SignedIn:
        """Start a session by a one-time link.

        Raises:
            Unauthenticated: ``link_invalid``: used, expired or unknown.
        """
        ...

    async def logout(self) -> None:
        """End the session that asks."""
        ...

    async def list(self) -> Sequence[SessionInfo]:
        """The principal's live sessions, newest first."""
        ...

    async def end(self, session_id: str) -> None:
        """End one of the principal's sessions."""
        ...


# -- What is sold ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent as users see it."""

    id: str
    slug: str
    name: str
    description: str
    welcome: str
    modalities: frozenset[Modality]
    created_at: datetime
    allowed: bool = True
    reason: str = "ok"


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """One limit of a plan, and ``text``: the same in the reader's words."""

    metric: Metric
    window: Window
    amount: int
    text: str
    agent: str | None = None
    channel: str | None = None
    hard: bool = True


@dataclass(frozen=True, slots=True)
class PlanInfo:
    """A plan on offer, in its current version. ``channels`` None means every channel."""

    id: str
    slug: str
    name: str
    description: str
    price: Money
    interval: str
    agents: Sequence[str]
    channels: Sequence[str] | None
    limits: Sequence[LimitInfo]
    version: int
    current: bool = False


class Catalog(Protocol):
    """What this tenant offers to this principal. Usable without a principal."""

    async def agents(self, channel: str | None = None) -> Sequence[AgentInfo]:
        """Published agents that the policy engine lets this principal use; all of them, marked, for nobody in particular."""
        ...

    async def agent(self, name: str) -> AgentInfo:
        """One published agent by slug or id."""
        ...

    async def plans(self) -> Sequence[PlanInfo]:
        """Public plans in the tenant's order."""
        ...


# -- Turns and conversations ----------------------------------------------------------------------------------------------


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
    """A turn and what came of it. ``replayed``: it had run before, and nothing was charged now."""

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


class Turns(Protocol):
    """Talking to agents: admitted, run, metered and answered."""

    async def run(self, request: TurnRequest) -> TurnResult:
        """Run a turn to its end; a client that goes away does not cancel it.

        Raises:
            AccessDenied: the policy engine's decision, with the limit that said no.
            InvalidInput: the parts are not what the agent takes, or ``idempotency_mismatch``: same id, other body.
            Conflict: ``turn_running``: the same id is being worked on.
            BackendError: the model failed; nothing was charged.
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


# -- Money and usage -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """A subscription of the principal. ``status``: pending, active, past_due, canceled, ended."""

    id: str
    plan: str
    plan_name: str
    status: str
    price: Money
    interval: str
    period_start: datetime
    period_end: datetime | None
    cancel_at_period_end: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OrderInfo:
    """An order: what is to be paid before a subscription begins. ``state``: pending, paid, canceled."""

    id: str
    plan: str
    plan_name: str
    amount: Money
    state: str
    provider: str
    created_at: datetime
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What subscribing led to: a subscription at once, or an order and what the user does next."""

    subscription: SubscriptionInfo | None = None
    order: OrderInfo | None = None
    next_action: NextAction | None = None


class Subscriptions(Protocol):
    """Plans bought."""

    async def list(self) -> Sequence[SubscriptionInfo]:
        """Newest first, ended ones too."""
        ...

    async def orders(self) -> Sequence[OrderInfo]:
        """The principal's orders, newest first."""
        ...

    async def subscribe(self, plan: str, provider: str | None = None, return_url: str = "") -> Subscribed:
        """Subscribe to a plan: at once if it is free, else through a payment provider.

        Raises:
            Conflict: ``already_subscribed``.
            InvalidInput: the provider is not one the tenant has connected.
        """
        ...

    async def cancel(self, subscription_id: str) -> SubscriptionInfo:
        """Do not renew: it runs to the end of its period. A free plan ends at once."""
        ...

    async def resume(self, subscription_id: str) -> SubscriptionInfo:
        """Take a cancellation back before the period ends."""
        ...

    async def cancel_order(self, order_id: str) -> OrderInfo:
        """Withdraw an order that is not paid yet."""
        ...


class Usage(Protocol):
    """What the principal used and has left."""

    async def limits(self) -> Sequence[LimitStatus]:
        """Every limit that applies now."""
        ...


# -- Keys and files --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """An API key without its secret. ``prefix`` is enough to recognise it."""

    id: str
    name: str
    prefix: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class Keys(Protocol):
    """The principal's API keys."""

    async def list(self) -> Sequence[KeyInfo]:
        """Live keys, newest first."""
        ...

    async def create(self, name: str, scopes: Sequence[str] = (), expires_at: datetime | None = None) -> tuple[KeyInfo, str]:
        """A new key and its secret, which is shown this once. No scopes means everything its owner may.

        Raises:
            Forbidden: an API key cannot make another one with more scopes than it has.
        """
        ...

    async def revoke(self, key_id: str) -> None:
        """End a key, effective at once."""
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


PORTS: tuple[type[Any], ...] = (
    Accounts,
    Sessions,
    Catalog,
    Turns,
    Conversations,
    Subscriptions,
    Usage,
    Keys,
    Files,
)
