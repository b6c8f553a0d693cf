"""Payments: the contract of a payment provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable
from uuid import UUID

from pydantic import BaseModel

from tollhouse.plugin.money import Money

if TYPE_CHECKING:
    from tollhouse.plugin.context import PluginContext

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


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


def short_reference(order_id: str) -> str:
    """An order's name for people, as ``7K3M-9QXF``: the random end of its id, in letters and digits that nobody mixes up.

    Not a key: it tells the orders of one tenant apart in practice, for whoever reads a bank statement.
    """
    try:
        bits = UUID(order_id).int & (1 << 40) - 1
    except ValueError:
        return order_id
    text = "".join(_DIGITS[bits >> shift & 31] for shift in range(35, -1, -5))
    return f"{text[:4]}-{text[4:]}"


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
        """Start the payment of ``order``, within 20 seconds. Called again with the same reference it gives the same payment.

        Raises:
            Unavailable: the provider cannot be reached.
        """
        ...

    async def fetch(self, ctx: PluginContext[Any], order: CheckoutOrder, provider_reference: str | None) -> PaymentState:
        """Ask the provider how things stand, within 20 seconds."""
        ...

    async def cancel(self, ctx: PluginContext[Any], provider_reference: str | None) -> None:
        """Stop what would be charged in future, within 20 seconds. Calling it twice is fine."""
        ...

    async def portal(self, ctx: PluginContext[Any], provider_reference: str | None) -> str | None:
        """A page of the provider where the user manages payment methods and invoices; None if there is none."""
        ...
