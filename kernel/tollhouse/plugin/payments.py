"""Payments: the contract of a payment provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

if TYPE_CHECKING:
    from tollhouse.plugin.context import PluginContext


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units with the currency's own exponent (ISO 4217: EUR 2, JPY 0; XTR 0)."""

    minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class PaymentCapabilities:
    """``renews``: who starts the next payment: the provider, the kernel (off-session), or the user (a new order)."""

    renews: Literal["provider", "kernel", "user"] = "user"
    currencies: frozenset[str] | None = None
    intervals: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class CheckoutOrder:
    """What is to be paid. ``reference`` is our opaque id of the order, at most 64 characters."""

    reference: str
    amount: Money
    description: str
    interval: str
    return_url: str
    customer_email: str | None = None


@dataclass(frozen=True, slots=True)
class NextAction:
    """What the user does next: go to ``url``, read ``text``, or nothing. A return from ``url`` proves nothing."""

    kind: Literal["redirect", "instructions", "none"]
    url: str | None = None
    text: str | None = None
    provider_reference: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentState:
    """The provider's truth about one order, read again from the provider."""

    state: Literal["pending", "paid", "failed", "refunded", "canceled"]
    provider_reference: str | None = None


@runtime_checkable
class PaymentProvider(Protocol):
    """A way to be paid. The kernel keeps orders and subscriptions; a provider reports states, and never grants rights."""

    name: str
    title: str
    capabilities: PaymentCapabilities
    Config: type[BaseModel]

    async def checkout(self, ctx: PluginContext[Any], order: CheckoutOrder) -> NextAction:
        """Start the payment of ``order``. Called again with the same reference it gives the same payment.

        Raises:
            Unavailable: the provider cannot be reached.
        """
        ...

    async def fetch(self, ctx: PluginContext[Any], order: CheckoutOrder, provider_reference: str | None) -> PaymentState:
        """Ask the provider how things stand."""
        ...

    async def cancel(self, ctx: PluginContext[Any], provider_reference: str | None) -> None:
        """Stop what would be charged in future. Calling it twice is fine."""
        ...

    async def portal(self, ctx: PluginContext[Any], provider_reference: str | None) -> str | None:
        """A page of the provider where the user manages payment methods and invoices; None if there is none."""
        ...
