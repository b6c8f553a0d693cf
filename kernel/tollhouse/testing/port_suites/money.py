"""Suites of the ports about plans and what they give."""

from __future__ import annotations

from typing import Any

import pytest

from tollhouse.plugin import METRICS, WINDOWS, Conflict, InvalidInput, NotFound, Text, TurnRequest, Unauthenticated
from tollhouse.testing.port_suites.base import AgentSuite, PortSuite, nowhere


class SubscriptionsSuite(PortSuite, kit=True):
    """Also: ``free_plan``, ``paid_plan`` (slugs), ``provider`` (a connected one). ``port``'s user has neither plan."""

    @pytest.fixture
    def free_plan(self) -> str:
        """The slug of a public plan that costs nothing."""
        raise NotImplementedError("give a fixture `free_plan`")

    @pytest.fixture
    def paid_plan(self) -> str:
        """The slug of a public plan that costs something."""
        raise NotImplementedError("give a fixture `paid_plan`")

    @pytest.fixture
    def provider(self) -> str:
        """The name of a payment provider that the tenant has connected."""
        raise NotImplementedError("give a fixture `provider`")

    async def test_a_free_plan_begins_at_once(self, port: Any, free_plan: str) -> None:
        """To fix: price 0 needs no order; the subscription is active and listed."""
        subscribed = await port.subscribe(free_plan)
        assert subscribed.subscription is not None
        assert (subscribed.subscription.plan, subscribed.subscription.status) == (free_plan, "active")
        assert subscribed.subscription.id in {info.id for info in await port.list()}

    async def test_a_plan_is_had_once(self, port: Any, free_plan: str) -> None:
        """To fix: subscribing to a plan one has is a Conflict ``already_subscribed``."""
        await port.subscribe(free_plan)
        with pytest.raises(Conflict) as error:
            await port.subscribe(free_plan)
        assert error.value.http_code == "already_subscribed"

    async def test_a_paid_plan_waits_for_its_order(self, port: Any, paid_plan: str, provider: str) -> None:
        """To fix: until it is paid there is an order and a next action, but no right to anything."""
        subscribed = await port.subscribe(paid_plan, provider, "/back")
        assert subscribed.subscription is None or subscribed.subscription.status == "pending"
        assert subscribed.order is not None
        assert subscribed.next_action is not None
        assert (subscribed.order.plan, subscribed.order.state, subscribed.order.provider) == (paid_plan, "pending", provider)
        assert subscribed.order.amount.minor > 0
        assert subscribed.order.id in {order.id for order in await port.orders()}
        assert (await port.cancel_order(subscribed.order.id)).state == "canceled"

    async def test_canceling_a_free_plan_ends_it(self, port: Any, free_plan: str) -> None:
        """To fix: there is no paid period to run out, so it ends at once and may be taken again."""
        subscription = (await port.subscribe(free_plan)).subscription
        assert (await port.cancel(subscription.id)).status in ("ended", "canceled")
        assert (await port.subscribe(free_plan)).subscription is not None

    async def test_unknown_names_are_refused(self, port: Any, paid_plan: str) -> None:
        """To fix: an unknown plan is ``NotFound``, a provider that is not connected ``InvalidInput``."""
        with pytest.raises(NotFound):
            await port.subscribe("no-such-plan")
        with pytest.raises(InvalidInput):
            await port.subscribe(paid_plan, "no_such_provider")

    async def test_subscriptions_belong_to_their_user(self, port: Any, other_port: Any, free_plan: str) -> None:
        """To fix: unknown, malformed and somebody else's ids are all ``NotFound``."""
        subscription = (await port.subscribe(free_plan)).subscription
        for who, key in [(other_port, subscription.id), *((port, unknown) for unknown in nowhere())]:
            for call in (who.cancel(key), who.resume(key), who.cancel_order(key)):
                with pytest.raises(NotFound):
                    await call

    async def test_nobody_subscribes_to_nothing(self, anonymous_port: Any, free_plan: str) -> None:
        """To fix: every method raises ``Unauthenticated`` without a principal."""
        for call in (anonymous_port.list(), anonymous_port.orders(), anonymous_port.subscribe(free_plan)):
            with pytest.raises(Unauthenticated):
                await call


class UsageSuite(AgentSuite, kit=True):
    """Also: ``turns``, the Turns port of ``port``'s user, whose plan has at least one limit."""

    @pytest.fixture
    def turns(self) -> Any:
        """The Turns port, bound to the same user as ``port``."""
        raise NotImplementedError("give a fixture `turns`")

    async def test_limits_add_up(self, port: Any) -> None:
        """To fix: what remains is the amount less used and held, never below zero; times have a zone."""
        limits = await port.limits()
        assert limits
        for limit in limits:
            assert limit.remaining == max(limit.amount - limit.used - limit.held, 0)
            assert limit.metric in METRICS
            assert limit.window in WINDOWS
            assert limit.resets_at is None or limit.resets_at.tzinfo is not None

    async def test_looking_uses_nothing(self, port: Any) -> None:
        """To fix: asking twice gives the same numbers."""
        assert [limit.used for limit in await port.limits()] == [limit.used for limit in await port.limits()]

    async def test_a_turn_is_counted_once(self, port: Any, turns: Any, agent: str) -> None:
        """To fix: after a finished turn a limit on calls has one more used and nothing held."""
        before = [limit for limit in await port.limits() if limit.metric == "calls" and not limit.scope]
        await turns.run(TurnRequest(agent, (Text("Hello"),)))
        after = [limit for limit in await port.limits() if limit.metric == "calls" and not limit.scope]
        assert [limit.used for limit in after] == [limit.used + 1 for limit in before]
        assert all(limit.held == 0 for limit in after)

    async def test_users_have_their_own_numbers(self, port: Any, other_port: Any, turns: Any, agent: str) -> None:
        """To fix: counters belong to one user; another's are not touched."""
        before = [limit.used for limit in await other_port.limits()]
        await turns.run(TurnRequest(agent, (Text("Hello"),)))
        assert [limit.used for limit in await other_port.limits()] == before

    async def test_nobody_has_no_limits(self, anonymous_port: Any) -> None:
        """To fix: ``limits`` raises ``Unauthenticated`` without a principal."""
        with pytest.raises(Unauthenticated):
            await anonymous_port.limits()
