"""Every fake of a port passes the suite that the kernel's own port has to pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tollhouse.plugin import (
    PORTS,
    Accounts,
    Catalog,
    ConfigError,
    Conversations,
    Files,
    Keys,
    Sessions,
    Subscriptions,
    Turns,
    Usage,
)
from tollhouse.testing import PASSWORD, FakePorts, World
from tollhouse.testing.port_suites import (
    AccountsSuite,
    CatalogSuite,
    ConversationsSuite,
    FilesSuite,
    KeysSuite,
    SessionsSuite,
    SubscriptionsSuite,
    TurnsSuite,
    UsageSuite,
)
from tollhouse.testing.ports import (
    FAKES,
    FakeAccounts,
    FakeCatalog,
    FakeFiles,
    FakeKeys,
    FakeSessions,
    FakeUsage,
)
from tollhouse.testing.ports_turns import FakeConversations, FakeSubscriptions, FakeTurns


class Ports:
    """Fixtures for the port ``kind``, in a fresh world."""

    kind: type[Any]

    @pytest.fixture
    def world(self) -> World:
        return World()

    @pytest.fixture
    def ports(self, world: World) -> FakePorts:
        return FakePorts(world, world.principal())

    @pytest.fixture
    def port(self, ports: FakePorts) -> Any:
        return ports(self.kind)

    @pytest.fixture
    def other_port(self, world: World) -> Any:
        return FakePorts(world, world.principal("bob@example.com"))(self.kind)

    @pytest.fixture
    def anonymous_port(self, world: World) -> Any:
        return FakePorts(world)(self.kind)

    @pytest.fixture
    def turns(self, ports: FakePorts) -> Any:
        return ports(Turns)

    @pytest.fixture
    def agent(self) -> str:
        return "helper"

    @pytest.fixture
    def denied_agent(self) -> str:
        return "expert"


class TestAccounts(Ports, AccountsSuite):
    kind = Accounts

    @pytest.fixture
    def password(self) -> str:
        return PASSWORD


class TestSessions(Ports, SessionsSuite):
    kind = Sessions

    @pytest.fixture
    def credentials(self) -> tuple[str, str]:
        return "ada@example.com", PASSWORD

    @pytest.fixture
    def link(self, world: World) -> str:
        world.links["one-time"] = next(iter(world.users))
        return "one-time"


class TestCatalog(Ports, CatalogSuite):
    kind = Catalog


class TestTurns(Ports, TurnsSuite):
    kind = Turns

    async def test_the_limit_holds(self, world: World, port: Any) -> None:
        world.calls_per_day = 2
        await port.run(self.ask("helper"))
        await port.run(self.ask("helper"))
        assert not (await port.check("helper")).allowed


class TestConversations(Ports, ConversationsSuite):
    kind = Conversations


class TestSubscriptions(Ports, SubscriptionsSuite):
    kind = Subscriptions

    @pytest.fixture
    def free_plan(self) -> str:
        return "free"

    @pytest.fixture
    def paid_plan(self) -> str:
        return "pro"

    @pytest.fixture
    def provider(self) -> str:
        return "manual"

    async def test_a_paid_order_becomes_a_subscription(self, port: Any) -> None:
        order = (await port.subscribe("pro")).order
        paid = port.pay(order.id)
        assert (await port.cancel(paid.id)).cancel_at_period_end
        assert not (await port.resume(paid.id)).cancel_at_period_end


class TestUsage(Ports, UsageSuite):
    kind = Usage


class TestKeys(Ports, KeysSuite):
    kind = Keys

    @pytest.fixture
    def scope(self) -> str:
        return "turns"

    @pytest.fixture
    def narrow_port(self, world: World, scope: str) -> Any:
        return FakePorts(world, replace(world.principal(), scopes=frozenset({scope})))(Keys)


class TestFiles(Ports, FilesSuite):
    kind = Files


def test_every_port_has_a_fake() -> None:
    assert set(FAKES) == set(PORTS)


def test_ports_must_be_declared() -> None:
    with pytest.raises(ConfigError):
        FakePorts(declared=(Turns,))(Keys)


def typed(world: World) -> None:
    """Never called: mypy compares every fake with its Protocol here."""
    _: tuple[Accounts, Sessions, Catalog, Turns, Conversations, Subscriptions, Usage, Keys, Files] = (
        FakeAccounts(world, None),
        FakeSessions(world, None),
        FakeCatalog(world, None),
        FakeTurns(world, None),
        FakeConversations(world, None),
        FakeSubscriptions(world, None),
        FakeUsage(world, None),
        FakeKeys(world, None),
        FakeFiles(world, None),
    )
