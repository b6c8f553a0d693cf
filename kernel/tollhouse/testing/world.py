"""What the fakes of the ports share: one small tenant in memory, with an agent, two plans and two users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from tollhouse.plugin import (
    AgentInfo,
    ConversationInfo,
    Decision,
    FileRef,
    KeyInfo,
    LimitInfo,
    LimitStatus,
    Money,
    OrderInfo,
    PlanInfo,
    Principal,
    Profile,
    SessionInfo,
    StoredMessage,
    SubscriptionInfo,
    TurnRequest,
    TurnResult,
    Unauthenticated,
)
from tollhouse.testing.context import USER, FixedClock, make_principal

PASSWORD = "correct horse battery staple 9"
"""The password of the users that a new world has."""


@dataclass
class FakeUser:
    """A user, with the password in the clear: it is a fake."""

    id: str
    email: str
    password: str
    name: str
    language: str | None
    created_at: datetime
    email_verified: bool = False

    def profile(self) -> Profile:
        """As its owner sees it."""
        return Profile(self.id, self.email, self.email_verified, self.name, self.language, self.created_at)


@dataclass
class World:
    """A tenant's data. Change it freely in a test: ``world.denials["helper"] = Decision(...)`` makes the agent refuse.

    ``calls_per_day`` is the one limit; ``turn_count`` what each user used of it. ``reply`` answers a turn. Lists of things
    are kept by owner in the order they were made.
    """

    clock: FixedClock = field(default_factory=FixedClock)
    calls_per_day: int = 100
    reply: Callable[[TurnRequest], str] = lambda request: (
        "You said: " + "\n".join(part.text for part in request.parts if part.type == "text")
    )
    users: dict[str, FakeUser] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    agents: dict[str, AgentInfo] = field(default_factory=dict)
    plans: dict[str, PlanInfo] = field(default_factory=dict)
    denials: dict[str, Decision] = field(default_factory=dict)
    providers: set[str] = field(default_factory=lambda: {"manual"})
    sessions: dict[str, tuple[str, SessionInfo]] = field(default_factory=dict)
    keys: dict[str, tuple[str, KeyInfo]] = field(default_factory=dict)
    files: dict[str, tuple[str, FileRef, bytes]] = field(default_factory=dict)
    turns: dict[str, tuple[str, TurnResult]] = field(default_factory=dict)
    external_ids: dict[tuple[str, str], tuple[str, TurnRequest]] = field(default_factory=dict)
    turn_count: dict[str, int] = field(default_factory=dict)
    conversations: dict[str, tuple[str, ConversationInfo]] = field(default_factory=dict)
    messages: dict[str, list[StoredMessage]] = field(default_factory=dict)
    subscriptions: dict[str, tuple[str, SubscriptionInfo]] = field(default_factory=dict)
    orders: dict[str, tuple[str, OrderInfo]] = field(default_factory=dict)
    _ids: int = 0

    def __post_init__(self) -> None:
        if not self.agents:
            self.add_agent("helper", "Helper")
            self.add_agent("expert", "Expert")
            self.denials["expert"] = Decision(False, "agent_not_in_plan", "Your plan does not include this agent.", 403)
        if not self.plans:
            self.add_plan("free", "Free", 0)
            self.add_plan("pro", "Pro", 1999)
        if not self.users:
            self.add_user("ada@example.com", "Ada", str(USER))
            self.add_user("bob@example.com", "Bob")

    def new_id(self) -> str:
        """A new id; the clock moves on by a millisecond, so that no two things are equally old."""
        self._ids += 1
        self.clock.forward(0.001)
        return str(UUID(int=0x0199A000_0000_7000_8000_0000_0001_0000 + self._ids))

    def add_user(self, email: str, name: str, user_id: str | None = None, password: str = PASSWORD) -> FakeUser:
        """A user who can sign in."""
        user = FakeUser(user_id or self.new_id(), email, password, name, None, self.clock())
        self.users[user.id] = user
        return user

    def add_agent(self, slug: str, name: str) -> AgentInfo:
        """A published agent that everybody may use."""
        agent = AgentInfo(
            self.new_id(), slug, name, f"{name} answers.", f"I am {name}.", frozenset({"text", "image"}), self.clock()
        )
        self.agents[slug] = agent
        return agent

    def add_plan(self, slug: str, name: str, minor: int) -> PlanInfo:
        """A public plan in EUR per month."""
        limit = LimitInfo("calls", "day", self.calls_per_day, f"{self.calls_per_day} messages a day")
        plan = PlanInfo(
            self.new_id(), slug, name, f"The plan {name}.", Money(minor, "EUR"), "month", list(self.agents), None, [limit], 1
        )
        self.plans[slug] = plan
        return plan

    def principal(self, email: str = "ada@example.com") -> Principal:
        """The user with this e-mail address, signed in on the web."""
        user = next(user for user in self.users.values() if user.email == email)
        return make_principal(user_id=UUID(user.id), email=user.email, name=user.name)

    def limit_of(self, user_id: str) -> LimitStatus:
        """The one limit, as it is now."""
        used = self.turn_count.get(user_id, 0)
        midnight = self.clock().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return LimitStatus("calls", "day", self.calls_per_day, used, 0, max(self.calls_per_day - used, 0), midnight)

    def decide(self, user_id: str, agent: str) -> Decision:
        """Whether a turn would be let through now."""
        if (denial := self.denials.get(agent)) is not None:
            return denial
        limit = self.limit_of(user_id)
        if limit.remaining == 0:
            return Decision(False, "limit_reached", "You have used all messages of today.", 402, limit=limit, limits=(limit,))
        return Decision(True, "ok", limits=(limit,), plan="free")


class BoundFake:
    """A port's fake: a world, seen by one principal."""

    def __init__(self, world: World, principal: Principal | None) -> None:
        self.world = world
        self.principal = principal

    @property
    def me(self) -> str:
        """The principal's user id; raises ``Unauthenticated`` for nobody."""
        if self.principal is None:
            raise Unauthenticated()
        return str(self.principal.user_id)
