"""Manual payment passes the conformance suite, and its instructions say exactly what they should."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from tollhouse_manual import ManualConfig, ManualProvider, plugin
from tollhouse_manual.provider import amount_text, instructions

from tollhouse.plugin import CheckoutOrder, Money, short_reference
from tollhouse.testing.payments import PaymentProviderSuite


class TestManualProvider(PaymentProviderSuite):
    @pytest.fixture
    def provider(self) -> Any:
        return ManualProvider()

    @pytest.fixture
    def config(self) -> BaseModel:
        return ManualConfig(instructions="Pay {amount}, purpose {reference}.", payee="Acme, DE00 1234")


def order(description: str = "Acme: Pro", minor: int = 1999, currency: str = "EUR", reference: str = "ref-1") -> CheckoutOrder:
    return CheckoutOrder(reference, Money(minor, currency), description, "month", "https://acme.example/back")


def test_the_plugin_registers_one_provider() -> None:
    assert [provider.name for provider in plugin.register_payment_providers(None)] == ["manual"]


def test_the_facts_of_the_order_are_filled_in_and_the_payee_is_shown() -> None:
    config = ManualConfig(instructions="Pay {amount} for {description}: {reference}", payee="Acme, DE00 1234")
    assert instructions(config, order()) == "Pay 19.99 EUR for Acme: Pro: ref-1\n\nAcme, DE00 1234"
    placed = ManualConfig(instructions="{reference} to {payee}", payee="Acme")
    assert instructions(placed, order()) == "ref-1 to Acme"


def test_people_read_the_short_name_of_an_order() -> None:
    config = ManualConfig(instructions="Purpose: {reference}")
    long = "01a214e1-e18b-717a-8322-30707c0ff1d9"
    assert instructions(config, order(reference=long)) == f"Purpose: {short_reference(long)}"
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", short_reference(long))
    assert short_reference("01a214e1-e18b-717a-8322-30707c0ff1da") != short_reference(long)
    assert short_reference("ref-1") == "ref-1"


def test_what_is_filled_in_is_never_interpreted_again() -> None:
    config = ManualConfig(instructions="{description} {reference}", payee="{reference} {0.__class__}")
    assert instructions(config, order(description="{payee} {amount}")).startswith("{payee} {amount} ref-1")


@pytest.mark.parametrize(
    "text", ["Pay {amount}", "", "{reference} {name}", "{reference.__class__}", "{reference} {0}", "{reference} {}"]
)
def test_instructions_that_cannot_work_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ManualConfig(instructions=text)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError):
        ManualConfig.model_validate({"iban": "DE00"})


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [(1999, "EUR", "19.99 EUR"), (5, "USD", "0.05 USD"), (1200, "JPY", "1,200 JPY"), (1234567, "KWD", "1,234.567 KWD")],
)
def test_amounts_have_their_currencys_decimals(minor: int, currency: str, text: str) -> None:
    assert amount_text(Money(minor, currency)) == text


@pytest.mark.parametrize(
    "text",
    [
        "Please transfer {amount} and give {reference} as the purpose. Your plan begins as soon as the payment has arrived.",
        "Please transfer {amount} with the reference {reference}.\n\n"
        "This is the example text of the manual payment connection: put your bank details here, on the page of connections.",
    ],
)
def test_nobody_can_pay_by_an_example(text: str) -> None:
    with pytest.raises(ValidationError, match="example text"):
        ManualConfig(instructions=text)
    with pytest.raises(ValidationError, match="instructions"):
        ManualConfig.model_validate({})
