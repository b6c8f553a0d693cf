"""The kernel's own ports pass the suites that the shipped fakes pass, on a real database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from tests.kernel.ports.conftest import Market, open_market
from tests.kernel.testing import test_ports as fakes
from tests.world import World
from tollhouse.accounts.ports import AccountsPort
from tollhouse.auth.ports import KeysPort, SessionsPort
from tollhouse.billing.ports import SubscriptionsPort
from tollhouse.conversations.ports import ConversationsPort, FilesPort
from tollhouse.host.caller import Caller
from tollhouse.plugin import (
    PORTS,
    Accounts,
    Catalog,
    Conversations,
    Files,
    Keys,
    NotFound,
    Sessions,
    Subscriptions,
    Text,
    TurnRequest,
    Turns,
    Usage,
)
from tollhouse.testing import PASSWORD, port_suites
from tollhouse.testing.port_suites import PortSuite
from tollhouse.turns.ports import CatalogPort, TurnsPort, UsagePort
from tollhouse.wiring.container import Container


class Ports:
    """Fixtures for the port ``kind``. ``default_plan``: the users have a plan from the start."""

    kind: type[Any]
    default_plan = True

    @pytest.fixture
    async def port(self, market: Market, caller: Caller) -> Any:
        return market.port(self.kind, caller)

    @pytest.fixture
    async def other_port(self, market: Market) -> Any:
        return market.port(self.kind, await market.register(f"bob-{uuid4().hex[:12]}@example.com"))

    @pytest.fixture
    async def anonymous_port(self, market: Market) -> Any:
        return market.port(self.kind, await market.nobody())

    @pytest.fixture
    async def turns(self, market: Market, caller: Caller) -> Any:
        return market.port(Turns, caller)

    @pytest.fixture
    def agent(self) -> str:
        return "guide"

    @pytest.fixture
    def denied_agent(self) -> str:
        return "expert"


class TestAccounts(Ports, port_suites.AccountsSuite):
    kind = Accounts

    @pytest.fixture
    def password(self) -> str:
        return PASSWORD


class TestSessions(Ports, port_suites.SessionsSuite):
    kind = Sessions

    @pytest.fixture
    def credentials(self, caller: Caller, email: str) -> tuple[str, str]:
        return email, PASSWORD

    @pytest.fixture
    async def link(self, market: Market, caller: Caller) -> str:
        return await market.link(caller.user.user_id)


class TestCatalog(Ports, port_suites.CatalogSuite):
    kind = Catalog


class TestTurns(Ports, port_suites.TurnsSuite):
    kind = Turns


class TestConversations(Ports, port_suites.ConversationsSuite):
    kind = Conversations


class TestSubscriptions(Ports, port_suites.SubscriptionsSuite):
    kind = Subscriptions
    default_plan = False

    @pytest.fixture
    def free_plan(self) -> str:
        return "gratis"

    @pytest.fixture
    def paid_plan(self) -> str:
        return "pro"

    @pytest.fixture
    def provider(self) -> str:
        return "fakepay"


class TestUsage(Ports, port_suites.UsageSuite):
    kind = Usage


class TestKeys(Ports, port_suites.KeysSuite):
    kind = Keys

    @pytest.fixture
    def scope(self) -> str:
        return "write"

    @pytest.fixture
    async def narrow_port(self, market: Market, caller: Caller, scope: str) -> Any:
        _, secret = await market.port(Keys, caller).create("narrow", [scope])
        principal = await market.world.container.authenticator.authenticate(secret)
        assert principal.scopes == frozenset({scope})
        return market.port(Keys, Caller(caller.tenant, principal))


class TestFiles(Ports, port_suites.FilesSuite):
    kind = Files


async def test_what_one_tenants_ports_give_another_tenants_ports_do_not_find(world: World, market: Market) -> None:
    mine = await market.register("ada@example.com")
    stranger = await (theirs := await open_market(world, default=True)).register("ada@example.com")
    turn = await market.port(Turns, mine).run(TurnRequest("guide", (Text("Hello"),)))
    file = await market.port(Files, mine).put(port_suites.FilesSuite.png, "dot.png")
    key, _ = await market.port(Keys, mine).create("laptop")
    session = (await market.port(Sessions, mine).list())[0]
    subscription = (await market.port(Subscriptions, mine).list())[0]
    agent = await market.port(Catalog, mine).agent("guide")
    calls = (
        theirs.port(Turns, stranger).get(turn.id),
        theirs.port(Conversations, stranger).get(turn.conversation_id),
        theirs.port(Conversations, stranger).delete(turn.conversation_id),
        theirs.port(Files, stranger).open(file.id),
        theirs.port(Keys, stranger).revoke(key.id),
        theirs.port(Sessions, stranger).end(session.id),
        theirs.port(Subscriptions, stranger).cancel(subscription.id),
        theirs.port(Catalog, stranger).agent(agent.id),
    )
    for call in calls:
        with pytest.raises(NotFound):
            await call
    assert [limit.used for limit in await theirs.port(Usage, stranger).limits()] == [0, 0, 0]
    assert (await market.port(Accounts, mine).profile()).id != (await theirs.port(Accounts, stranger).profile()).id


def _uses(module: ModuleType) -> Iterator[type[PortSuite]]:
    """The uses of suites that a module's tests consist of."""
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, PortSuite) and value.__module__ == module.__name__:
            yield value


def test_every_port_is_covered_for_the_real_one_and_for_the_fake(world: World) -> None:
    exported = {getattr(port_suites, name) for name in port_suites.__all__}
    suites = {suite for suite in exported if any(name.startswith("test_") for name in vars(suite))}
    assert len(suites) == len(PORTS)
    for module in (sys.modules[__name__], fakes):
        used = list(_uses(module))
        assert {use.kind for use in used} == set(PORTS), module.__name__  # type: ignore[attr-defined]
        assert {suite for use in used for suite in use.__mro__} >= suites, module.__name__
    assert set(world.container.ports) == set(PORTS)


def typed(c: Container, caller: Caller, more: Any) -> None:
    """Never called: mypy compares every port with its Protocol here."""
    _: tuple[Accounts, Sessions, Catalog, Turns, Conversations, Subscriptions, Usage, Keys, Files] = (
        AccountsPort(c.accounts, caller),
        SessionsPort(c.sessions, caller),
        CatalogPort(c.catalog, more, caller),
        TurnsPort(c.turns, caller),
        ConversationsPort(c.conversations, more, caller),
        SubscriptionsPort(c.subscriptions, caller),
        UsagePort(c.policy, caller),
        KeysPort(c.keys, caller),
        FilesPort(c.files, caller),
    )
