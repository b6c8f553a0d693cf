"""What stories about the runtime need: a version, its surroundings, and backends that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tollhouse.agents.versions import PromptVersion, compile_version
from tollhouse.plugin.content import Message, Text
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.llm import Completion, CompletionRequest, TokenUsage
from tollhouse.runtime.prepare import Candidate, Prepared, Surroundings, prepare
from tollhouse.runtime.run import Outcome, Runtime

PRIMARY, FALLBACK = UUID(int=1), UUID(int=2)
TENANT = TenantInfo(UUID(int=9), "acme", "Acme", "Europe/Berlin", "EUR", "en", "https://acme.test")


def make_version(**spec: Any) -> PromptVersion:
    """A compiled version; everything but the template and the model has its default."""
    spec = {"template": "You are {{ agent.name }}.", "primary": {"connection_id": str(PRIMARY), "model": "m1"}, **spec}
    row = {"tenant_id": TENANT.id, "id": UUID(int=3), "agent_id": UUID(int=4), "number": 1, "status": "active", "spec": spec}
    return compile_version(row)


def make_surroundings(**changes: Any) -> Surroundings:
    values: dict[str, Any] = {
        "tenant": TENANT,
        "agent_name": "Guide",
        "user_name": "Ann",
        "language": "de",
        "channel": "web",
        "now": datetime(2026, 3, 1, 23, 30, tzinfo=UTC),
        "zone": ZoneInfo("Europe/Berlin"),
    }
    return Surroundings(**{**values, **changes})


def user(text: str) -> Message:
    return Message("user", (Text(text),))


def assistant(text: str) -> Message:
    return Message("assistant", (Text(text),))


def make_prepared(version: PromptVersion | None = None, text: str = "Hello", **changes: Any) -> Prepared:
    """A prepared call of one candidate for each model of the version."""
    version = version or make_version()
    candidates = [Candidate(choice.connection_id, "fake", choice.model, **changes) for choice in version.spec.choices]
    return prepare(version, make_surroundings(), user(text), (), (), {}, candidates)


def completion(text: str, finish: Any = "stop", **usage: int) -> Completion:
    return Completion((Text(text),), TokenUsage(**usage) if usage else TokenUsage(10, 5), finish, "m-real", "req-1")


Step = Completion | BaseException | Callable[[CompletionRequest], Any] | object


@dataclass
class Scripted:
    """A backend that takes its next step from a list, and fails the test if it is asked more often."""

    steps: list[Step]
    requests: list[CompletionRequest] = field(default_factory=list)
    name: str = "scripted"

    async def complete(self, ctx: Any, request: CompletionRequest) -> Any:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return await step(request) if callable(step) else step


@dataclass
class BoundTo:
    obj: Any
    ctx: Any = None


class World:
    """Two connections with scripted backends, and a clock for pauses that does not wait."""

    def __init__(self) -> None:
        self.primary = Scripted([])
        self.fallback = Scripted([])
        self.pauses: list[float] = []
        self.refused: dict[UUID, BaseException] = {}
        self.connected: list[tuple[UUID, int | None]] = []
        self.runtime = Runtime(self._connect, sleep=self._sleep)

    async def _connect(self, tenant: TenantInfo, connection_id: UUID, revision: int | None) -> Any:
        assert tenant is TENANT
        self.connected.append((connection_id, revision))
        if connection_id in self.refused:
            raise self.refused[connection_id]
        return BoundTo({PRIMARY: self.primary, FALLBACK: self.fallback}[connection_id])

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def run(self, version: PromptVersion | None = None, *, granted: int = 500, **changes: Any) -> Outcome:
        return await self.runtime.run(make_prepared(version, **changes), granted, "attempt")


@pytest.fixture
def world() -> World:
    return World()


class Make:
    """The makers above, for tests (test modules cannot import each other)."""

    version = staticmethod(make_version)
    surroundings = staticmethod(make_surroundings)
    prepared = staticmethod(make_prepared)
    completion = staticmethod(completion)
    user = staticmethod(user)
    assistant = staticmethod(assistant)
    fallback_choice: Any = {"connection_id": str(FALLBACK), "model": "m2"}  # noqa: RUF012 - never changed


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
