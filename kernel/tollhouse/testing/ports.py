"""One fake of every port, in memory. They pass the same conformance suites as the kernel's own ports."""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from tollhouse.plugin import (
    PORTS,
    Accounts,
    AgentInfo,
    Catalog,
    ConfigError,
    Conflict,
    Conversations,
    FileRef,
    Files,
    Forbidden,
    InvalidInput,
    KeyInfo,
    Keys,
    LimitStatus,
    NotFound,
    PlanInfo,
    Principal,
    Profile,
    SessionInfo,
    Sessions,
    SignedIn,
    Subscriptions,
    TooLarge,
    Turns,
    Unauthenticated,
    Usage,
)
from tollhouse.testing.ports_turns import FakeConversations, FakeSubscriptions, FakeTurns
from tollhouse.testing.world import BoundFake, FakeUser, World

MAX_FILE = 20 * 1024 * 1024


class EmailTaken(Conflict):
    code = "email_taken"
    title = "There is an account with this e-mail address already"


class BadCredentials(Unauthenticated):
    code = "bad_credentials"
    title = "E-mail address or password is wrong"


class LinkInvalid(Unauthenticated):
    code = "link_invalid"
    title = "This link was used already, or is too old"


class FakeAccounts(BoundFake):
    """:class:`~tollhouse.plugin.Accounts` in memory."""

    async def register(self, email: str, password: str, name: str = "", language: str | None = None) -> Profile:
        email = email.strip().lower()
        if email.count("@") != 1 or email.startswith("@") or email.endswith("@") or " " in email:
            raise InvalidInput("That is not an e-mail address", field="email")
        self._check_password(password)
        if any(user.email == email for user in self.world.users.values()):
            raise EmailTaken()
        user = self.world.add_user(email, name, password=password)
        user.language = language
        return user.profile()

    async def profile(self) -> Profile:
        return self._user().profile()

    async def update(self, *, name: str | None = None, language: str | None = None) -> Profile:
        user = self._user()
        user.name = user.name if name is None else name
        user.language = user.language if language is None else language
        return user.profile()

    async def change_password(self, current: str, new: str) -> None:
        user = self._user()
        if current != user.password:
            raise InvalidInput("The current password is wrong", field="current")
        self._check_password(new)
        user.password = new
        own = {key: row for key, row in self.world.sessions.items() if row[0] == user.id and not row[1].current}
        for key in own:
            del self.world.sessions[key]

    def _user(self) -> FakeUser:
        user = self.world.users.get(self.me)
        if user is None:
            raise NotFound()
        return user

    @staticmethod
    def _check_password(password: str) -> None:
        if len(password) < 8:
            raise InvalidInput("At least 8 characters", field="password")


class FakeSessions(BoundFake):
    """:class:`~tollhouse.plugin.Sessions` in memory; the principal's own session exists from the start."""

    def __init__(self, world: World, principal: Principal | None) -> None:
        super().__init__(world, principal)
        self._own: str | None = None
        if principal is not None:
            self._own = self._start(str(principal.user_id), "cookie", current=True)

    async def login(self, email: str, password: str, kind: Literal["cookie", "bearer"]) -> SignedIn:
        email = email.strip().lower()
        for user in self.world.users.values():
            if user.email == email and user.password == password:
                return self._signed_in(user, kind)
        raise BadCredentials()

    async def redeem(self, token: str, kind: Literal["cookie", "bearer"]) -> SignedIn:
        user_id = self.world.links.pop(token, None)
        if user_id is None:
            raise LinkInvalid()
        return self._signed_in(self.world.users[user_id], kind)

    async def logout(self) -> None:
        self.me  # noqa: B018  raises for nobody
        if self._own is not None:
            self.world.sessions.pop(self._own, None)

    async def list(self) -> Sequence[SessionInfo]:
        me = self.me
        return [replace(info, current=key == self._own) for key, (owner, info) in _newest(self.world.sessions) if owner == me]

    async def end(self, session_id: str) -> None:
        if self.world.sessions.get(session_id, ("",))[0] != self.me:
            raise NotFound()
        del self.world.sessions[session_id]

    def _signed_in(self, user: FakeUser, kind: Literal["cookie", "bearer"]) -> SignedIn:
        session = self._start(user.id, kind)
        principal = replace(self.world.principal(user.email), credential_id=UUID(session))
        return SignedIn(f"fake_{secrets.token_urlsafe(16)}", self.world.sessions[session][1].expires_at, principal)

    def _start(self, user_id: str, kind: Literal["cookie", "bearer"], current: bool = False) -> str:
        key, now = self.world.new_id(), self.world.clock()
        info = SessionInfo(key, kind, "tollhouse.testing", now, now, now + timedelta(days=30), current)
        self.world.sessions[key] = (user_id, info)
        return key


class FakeCatalog(BoundFake):
    """:class:`~tollhouse.plugin.Catalog` in memory."""

    async def agents(self, channel: str | None = None) -> Sequence[AgentInfo]:
        marked = [self._marked(agent) for agent in self.world.agents.values()]
        return marked if self.principal is None else [agent for agent in marked if agent.allowed]

    async def agent(self, name: str) -> AgentInfo:
        for agent in self.world.agents.values():
            if name in (agent.slug, agent.id):
                return self._marked(agent)
        raise NotFound()

    async def plans(self) -> Sequence[PlanInfo]:
        return list(self.world.plans.values())

    def _marked(self, agent: AgentInfo) -> AgentInfo:
        decision = self.world.decide(str(self.principal.user_id) if self.principal else "", agent.slug)
        return replace(agent, allowed=decision.allowed, reason=decision.reason)


class FakeUsage(BoundFake):
    """:class:`~tollhouse.plugin.Usage` in memory."""

    async def limits(self) -> Sequence[LimitStatus]:
        return [self.world.limit_of(self.me)]


class FakeKeys(BoundFake):
    """:class:`~tollhouse.plugin.Keys` in memory."""

    async def list(self) -> Sequence[KeyInfo]:
        me = self.me
        return [info for _, (owner, info) in _newest(self.world.keys) if owner == me]

    async def create(self, name: str, scopes: Sequence[str] = (), expires_at: datetime | None = None) -> tuple[KeyInfo, str]:
        me = self.me
        narrowed = self.principal.scopes if self.principal else None
        if narrowed is not None and (not scopes or not narrowed.issuperset(scopes)):
            raise Forbidden("A key cannot make another one with more scopes than it has")
        secret = f"th_fake_{secrets.token_urlsafe(24)}"
        info = KeyInfo(self.world.new_id(), name, secret[:12], tuple(scopes), self.world.clock(), expires_at, None)
        self.world.keys[info.id] = (me, info)
        return info, secret

    async def revoke(self, key_id: str) -> None:
        if self.world.keys.get(key_id, ("",))[0] != self.me:
            raise NotFound()
        del self.world.keys[key_id]


class FakeFiles(BoundFake):
    """:class:`~tollhouse.plugin.Files` in memory: takes PNG, PDF, WAV and text, by content."""

    async def put(self, data: bytes, name: str) -> FileRef:
        me = self.me
        if len(data) > MAX_FILE:
            raise TooLarge()
        kind, media_type = _sniff(data)
        width, height = struct.unpack(">II", data[16:24]) if media_type == "image/png" else (None, None)
        ref = FileRef(self.world.new_id(), name, kind, media_type, len(data), hashlib.sha256(data).hexdigest(), width, height)
        self.world.files[ref.id] = (me, ref, data)
        return ref

    async def open(self, file_id: str) -> tuple[FileRef, bytes]:
        me = self.me
        owner, ref, data = self.world.files.get(file_id, ("", None, b""))
        if ref is None or owner != me:
            raise NotFound()
        return ref, data


def _sniff(data: bytes) -> tuple[Literal["image", "audio", "file"], str]:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return "image", "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio", "audio/wav"
    if data.startswith(b"%PDF-"):
        return "file", "application/pdf"
    try:
        if data and "\x00" not in data.decode():
            return "file", "text/plain"
    except UnicodeDecodeError:
        pass
    raise InvalidInput("This type of file is not supported", field="file")


def _newest(rows: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    return list(rows.items())[::-1]


FAKES: Mapping[type[Any], type[BoundFake]] = {
    Accounts: FakeAccounts,
    Sessions: FakeSessions,
    Catalog: FakeCatalog,
    Turns: FakeTurns,
    Conversations: FakeConversations,
    Subscriptions: FakeSubscriptions,
    Usage: FakeUsage,
    Keys: FakeKeys,
    Files: FakeFiles,
}
"""The fake of every port of :data:`tollhouse.plugin.PORTS`."""


class FakePorts:
    """``ctx.port``'s other end: every port of one world, bound to one principal.

    ``declared`` narrows it to what the plugin declares in ``ports``, so that a forgotten declaration fails in tests.
    """

    def __init__(
        self, world: World | None = None, principal: Principal | None = None, declared: Sequence[type[Any]] = PORTS
    ) -> None:
        self.world = world or World()
        self.principal = principal
        self._declared = tuple(declared)
        self._made: dict[type[Any], BoundFake] = {}

    def __call__(self, kind: type[Any]) -> Any:
        if kind not in self._declared or kind not in FAKES:
            raise ConfigError(f"the plugin did not declare the port {kind.__name__}")
        if kind not in self._made:
            self._made[kind] = FAKES[kind](self.world, self.principal)
        return self._made[kind]
