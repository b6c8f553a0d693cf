"""The conformance kit for payment providers. Fixtures: ``provider``, ``config``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from tollhouse.plugin import (
    CheckoutOrder,
    Money,
    NextAction,
    PaymentCapabilities,
    PaymentEvent,
    PaymentProvider,
    PluginContext,
    RawRequest,
    Receives,
    Unauthenticated,
)
from tollhouse.testing.connection import ConnectionSuite, Unchanged
from tollhouse.testing.given import given


class PaymentProviderSuite(ConnectionSuite, kit=True):
    """Point ``config`` at a fake of the provider; ``webhook`` and ``forged`` are needed if it has webhooks."""

    currency: ClassVar[str] = "EUR"

    @pytest.fixture
    def provider(self) -> Any:
        """Your provider."""
        raise NotImplementedError("give a fixture `provider`")

    @pytest.fixture
    def subject(self, provider: Any) -> Any:
        """What the checks of every connection look at."""
        return provider

    @pytest.fixture
    def webhook(self, config: BaseModel) -> RawRequest | None:
        """A genuine webhook that tells of a payment; None if the provider has no webhooks."""
        return None

    @pytest.fixture
    def forged(self, webhook: RawRequest | None) -> RawRequest | None:
        """The same with a wrong signature; by default one byte is added to the body."""
        return replace(webhook, body=webhook.body + b" ") if webhook else None

    async def charged(self, ctx: PluginContext[Any], order: CheckoutOrder, action: NextAction) -> Money | None:
        """What the provider will really charge, asked from your fake; None if it cannot be asked."""
        return None

    def order(self, reference: str = "0199a0000000700080000000000000aa", minor: int = 1999) -> CheckoutOrder:
        """An order of 19.99 for a month."""
        return CheckoutOrder(
            reference, Money(minor, self.currency), "Plan Pro", "month", "https://acme.example/back", "a@example.com"
        )

    def test_it_is_a_provider(self, provider: Any) -> None:
        """To fix: give the object ``capabilities``, ``checkout``, ``fetch``, ``cancel`` and ``portal``."""
        assert isinstance(provider, PaymentProvider)
        assert isinstance(provider.capabilities, PaymentCapabilities)
        currencies = provider.capabilities.currencies
        assert currencies is None or self.currency in currencies, "set the attribute `currency`"

    async def test_checkout_says_what_to_do_next(self, provider: PaymentProvider, config: BaseModel) -> None:
        """To fix: ``redirect`` comes with a URL, ``instructions`` with a text."""
        async with self.context(config) as ctx:
            action = given("checkout", await provider.checkout(ctx, self.order()))
        assert action.kind in ("redirect", "instructions", "none")
        assert action.kind != "redirect" or (action.url or "").startswith(("https://", "http://localhost", "http://127.0.0.1"))
        assert action.kind != "instructions" or (action.text or "").strip()

    async def test_checkout_is_idempotent(self, provider: PaymentProvider, config: BaseModel) -> None:
        """To fix: pass the reference as the provider's idempotency key, or look the payment up before making one."""
        async with self.context(config) as ctx:
            first = given("checkout", await provider.checkout(ctx, self.order()))
            again = given("checkout", await provider.checkout(ctx, self.order()))
            other = given("checkout", await provider.checkout(ctx, self.order("0199a0000000700080000000000000bb")))
        assert again == first
        assert other.provider_reference is None or other.provider_reference != first.provider_reference

    async def test_amount_and_currency_are_kept(self, provider: PaymentProvider, config: BaseModel) -> None:
        """To fix: send minor units and the currency as they are; JPY has no decimals, so never divide by 100 blindly."""
        async with self.context(config) as ctx:
            for minor in (1, 1999, 100_000_000):
                order = self.order(f"0199a00000007000800000000{minor:08d}", minor)
                charged = await self.charged(ctx, order, given("checkout", await provider.checkout(ctx, order)))
                if charged is None:
                    pytest.skip("the suite has no `charged`")
                assert charged == order.amount

    async def test_an_unpaid_order_is_pending(self, provider: PaymentProvider, config: BaseModel) -> None:
        """To fix: ``fetch`` asks the provider; what has only been started is ``pending``, never ``paid``."""
        async with self.context(config) as ctx:
            action = given("checkout", await provider.checkout(ctx, self.order()))
            state = given("fetch", await provider.fetch(ctx, self.order(), action.provider_reference))
        assert state.state == "pending"

    async def test_canceling_twice_is_fine(self, provider: PaymentProvider, config: BaseModel) -> None:
        """To fix: treat "already canceled" and "unknown" of the provider as success; nothing will be charged either way."""
        async with self.context(config) as ctx:
            action = given("checkout", await provider.checkout(ctx, self.order()))
            await provider.cancel(ctx, action.provider_reference)
            await provider.cancel(ctx, action.provider_reference)
            await provider.cancel(ctx, None)

    async def test_the_portal_is_a_page_or_nothing(self, provider: PaymentProvider, config: BaseModel) -> None:
        """To fix: give a URL, or None if the provider has no such page (or does not know this customer)."""
        async with self.context(config) as ctx:
            page = given("portal", await provider.portal(ctx, None))
        assert page is None or page.startswith("http")

    async def test_webhooks_are_verified(
        self, provider: Any, config: BaseModel, webhook: RawRequest | None, forged: RawRequest | None
    ) -> None:
        """To fix: verify the signature over the bytes; the same bytes give the same ``external_id``, for they come again."""
        if not isinstance(provider, Receives):
            pytest.skip("the provider has no webhook")
        assert webhook is not None, "give a fixture `webhook`"
        assert forged is not None
        async with self.context(config) as ctx:
            first = [
                event
                for event in (given("receive", await provider.receive(ctx, webhook))).events
                if isinstance(event, PaymentEvent)
            ]
            again = [
                event
                for event in (given("receive", await provider.receive(ctx, webhook))).events
                if isinstance(event, PaymentEvent)
            ]
            with pytest.raises(Unauthenticated):
                given("receive", await provider.receive(ctx, forged))
        assert first
        assert [(event.external_id, event.key) for event in first] == [(event.external_id, event.key) for event in again]

    async def test_it_holds_no_state(self, provider: PaymentProvider, config: BaseModel) -> None:
        """To fix: keep what must last in ``ctx.state``, which is the connection's own."""
        with Unchanged(provider, config):
            async with self.context(config) as ctx:
                action = given("checkout", await provider.checkout(ctx, self.order()))
                given("fetch", await provider.fetch(ctx, self.order(), action.provider_reference))
                await provider.cancel(ctx, action.provider_reference)
