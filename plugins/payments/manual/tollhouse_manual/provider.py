"""The provider: it tells how to pay, and knows nothing of whether somebody did."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tollhouse.plugin import (
    CheckoutOrder,
    Health,
    Money,
    NextAction,
    PaymentCapabilities,
    PaymentState,
    PluginContext,
    short_reference,
)

PLACEHOLDERS = ("reference", "amount", "description", "payee")
EXAMPLE = "Please transfer {amount} to IBAN … with the purpose {reference}. Your plan begins when it has arrived."
_SAMPLES = (
    "Please transfer {amount} and give {reference} as the purpose. Your plan begins as soon as the payment has arrived.",
    "This is the example text of the manual payment connection",
    EXAMPLE,
)
"""Texts that this plugin or a first start once came with: nobody can pay by them."""
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class ManualConfig(BaseModel):
    """How the tenant wants to be paid. Nothing here is secret: every user who orders reads it."""

    model_config = ConfigDict(extra="forbid")

    instructions: str = Field(
        min_length=1,
        max_length=4000,
        title="Instructions",
        description="What a user reads after ordering, in your own words, with where to pay. Filled in: {reference} (needed), "
        "{amount}, {description}, {payee}.",
    )
    payee: str = Field(
        "", max_length=500, title="Payee", description="Account holder, IBAN, bank: shown below the instructions."
    )

    @field_validator("instructions")
    @classmethod
    def _own_words(cls, value: str) -> str:
        said = " ".join(value.split())
        if any(sample in said for sample in _SAMPLES):
            raise ValueError("this is an example text: say in your own words how you want to be paid, and where")
        return value

    @field_validator("instructions")
    @classmethod
    def _known_placeholders(cls, value: str) -> str:
        names = _PLACEHOLDER.findall(value)
        unknown = sorted({name for name in names if name not in PLACEHOLDERS})
        if unknown:
            raise ValueError(f"unknown placeholder {{{unknown[0]}}}; there are {', '.join(PLACEHOLDERS)}")
        if "reference" not in names:
            raise ValueError("must contain {reference}, or no payment could be told from another")
        return value


class ManualProvider:
    """Offline and without state. The user starts each payment: there is nothing to renew, to stop or to look up."""

    name = "manual"
    title = "Manual payment"
    capabilities = PaymentCapabilities(renews="user")
    Config: type[BaseModel] = ManualConfig

    async def checkout(self, ctx: PluginContext[ManualConfig], order: CheckoutOrder) -> NextAction:
        """The instructions, with this order's facts filled in."""
        return NextAction("instructions", text=instructions(ctx.config, order))

    async def fetch(
        self, ctx: PluginContext[ManualConfig], order: CheckoutOrder, provider_reference: str | None
    ) -> PaymentState:
        """Only an admin knows."""
        return PaymentState("pending", provider_reference)

    async def cancel(self, ctx: PluginContext[ManualConfig], provider_reference: str | None) -> None:
        """Nothing is charged by itself."""

    async def portal(self, ctx: PluginContext[ManualConfig], provider_reference: str | None) -> str | None:
        """There is no such page."""
        return None

    async def test(self, ctx: PluginContext[ManualConfig]) -> Health:
        """The text itself is all there is to get wrong."""
        return Health(True, "Users will read: " + ctx.config.instructions[:200])


def instructions(config: ManualConfig, order: CheckoutOrder) -> str:
    """Fill in the placeholders, once and literally: what is filled in is never read as a placeholder again."""
    values = {
        "reference": short_reference(order.reference),
        "amount": amount_text(order.amount),
        "description": order.description,
        "payee": config.payee,
    }
    text = _PLACEHOLDER.sub(lambda match: values[match.group(1)], config.instructions)
    shown = "payee" in _PLACEHOLDER.findall(config.instructions)
    return f"{text}\n\n{config.payee}" if config.payee and not shown else text


def amount_text(money: Money) -> str:
    """An amount with its currency's own decimals: "19.99 EUR", "1,200 JPY"."""
    return f"{money.figure()} {money.currency}"
