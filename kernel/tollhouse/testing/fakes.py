"""Fake plugins' objects: a backend that is told what to answer, a messenger, a payment and a sign-in provider.

They obey the contract like real ones (the conformance kits run on them) and talk to nobody. Messenger and providers keep what
they are told in ``ctx.state``, so the objects themselves hold nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tollhouse.plugin import (
    Answer,
    ChannelCapabilities,
    CheckoutOrder,
    Delivered,
    ExternalIdentity,
    Health,
    InboundMessage,
    InvalidInput,
    NextAction,
    Outgoing,
    PaymentCapabilities,
    PaymentEvent,
    PaymentState,
    PluginContext,
    RawRequest,
    Received,
    Sender,
    SignInRequest,
    Text,
    Unauthenticated,
)
from tollhouse.testing.fake_backend import FakeBackend

SIGNATURE = "x-fake-signature"
"""Header with the HMAC-SHA256 of the body in hex."""

__all__ = [
    "SIGNATURE",
    "FakeAuthProvider",
    "FakeBackend",
    "FakeConfig",
    "FakeMessenger",
    "FakePaymentProvider",
    "signed_request",
]


class FakeConfig(BaseModel):
    """The configuration of every fake."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    secret: SecretStr = Field(
        SecretStr("fake-webhook-secret"), title="Secret", description="Signs webhooks; whoever knows it can forge them."
    )


def signed_request(body: Mapping[str, Any] | bytes, secret: str = "fake-webhook-secret") -> RawRequest:
    """A webhook as the fake vendor sends it: JSON, signed."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {SIGNATURE: hmac.digest(secret.encode(), raw, "sha256").hex(), "content-type": "application/json"}
    return RawRequest("POST", {}, headers, raw, "203.0.113.7", datetime(2026, 1, 15, 12, 0, tzinfo=UTC))


def _verified(ctx: PluginContext[FakeConfig], request: RawRequest) -> Mapping[str, Any]:
    expected = hmac.digest(ctx.config.secret.get_secret_value().encode(), request.body, "sha256").hex()
    if not hmac.compare_digest(expected.encode(), request.headers.get(SIGNATURE, "").encode()):
        raise Unauthenticated("The signature is wrong")
    try:
        body = json.loads(request.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InvalidInput("The body is not a JSON object")
    return body


def _field(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput("A field is missing or not a text", field=name)
    return value


class FakeMessenger:
    """A messenger whose webhook is ``{"id", "chat", "user", "name"?, "text", "agent"?}``, and which delivers into its state."""

    name = "fakechat"
    title = "Fake messenger"
    capabilities = ChannelCapabilities(text_limit=200, buttons=True)
    Config: type[BaseModel] = FakeConfig

    async def receive(self, ctx: PluginContext[FakeConfig], request: RawRequest) -> Received:
        """One message per webhook."""
        body = _verified(ctx, request)
        name, agent = body.get("name"), body.get("agent")
        message = InboundMessage(
            external_id=_field(body, "id"),
            sender=Sender(self.name, str(ctx.connection_id), _field(body, "user"), name if isinstance(name, str) else None),
            parts=(Text(_field(body, "text")),),
            key=_field(body, "chat"),
            agent=agent if isinstance(agent, str) else None,
            recipient=_field(body, "chat"),
            context={"reply_to": _field(body, "id")},
        )
        return Received((message,))

    def render(self, ctx: PluginContext[FakeConfig], answer: Answer) -> Sequence[Outgoing]:
        """Texts of at most 200 UTF-16 units; the last one carries the button."""
        if answer.reply is not None:
            text, button = answer.reply.text, None
        elif answer.denial is not None:
            text, button = answer.denial.message, answer.denial.upgrade_url
        else:
            text, button = answer.error or "", None
        pieces = [piece for piece in split(text, self.capabilities.text_limit or 200) if piece.strip()]
        payloads: list[dict[str, Any]] = [{"text": piece, **answer.context} for piece in pieces]
        if payloads and button:
            payloads[-1]["button"] = button
        return [Outgoing(answer.recipient, payload) for payload in payloads]

    async def deliver(self, ctx: PluginContext[FakeConfig], outgoing: Outgoing) -> Delivered:
        """Append to the state's ``sent``: read it with :meth:`sent`."""
        while True:
            sent, revision = await ctx.state.get("sent")
            entry = {"recipient": outgoing.recipient, **outgoing.payload}
            if await ctx.state.put("sent", [*(sent or []), entry], revision=revision):
                return Delivered(f"sent-{revision + 1}")

    async def sent(self, ctx: PluginContext[FakeConfig]) -> list[dict[str, Any]]:
        """For tests: everything that was delivered on this connection."""
        return (await ctx.state.get("sent"))[0] or []

    async def test(self, ctx: PluginContext[FakeConfig]) -> Health:
        """Always well."""
        return Health(True, "The fake messenger is ready.")


def split(text: str, limit: int) -> list[str]:
    """``text`` in pieces of at most ``limit`` UTF-16 code units, never inside a character."""
    pieces, piece, used = [], "", 0
    for character in text:
        width = 2 if ord(character) > 0xFFFF else 1
        if used + width > limit:
            pieces.append(piece)
            piece, used = "", 0
        piece, used = piece + character, used + width
    return [*pieces, piece] if piece else pieces


_STATES: Mapping[str, Literal["paid", "failed", "refunded", "canceled"]] = {
    "paid": "paid",
    "failed": "failed",
    "refunded": "refunded",
    "canceled": "canceled",
}


class FakePaymentProvider:
    """A provider whose webhook is ``{"id", "reference", "state"}``; what it was told lies in ``ctx.state``."""

    name = "fakepay"
    title = "Fake payments"
    capabilities = PaymentCapabilities(renews="provider")
    Config: type[BaseModel] = FakeConfig

    async def receive(self, ctx: PluginContext[FakeConfig], request: RawRequest) -> Received:
        """One payment event per webhook."""
        body = _verified(ctx, request)
        state = _STATES.get(_field(body, "state"))
        if state is None:
            raise InvalidInput("That is no state of a payment", field="state")
        reference = _field(body, "reference")
        return Received((PaymentEvent(_field(body, "id"), reference, state, reference, None, f"fake-{reference}"),))

    async def checkout(self, ctx: PluginContext[FakeConfig], order: CheckoutOrder) -> NextAction:
        """A page that does not exist; the same for the same reference."""
        key = f"order:fake-{order.reference}"
        known, revision = await ctx.state.get(key)
        if known is None:
            row = {"state": "pending", "minor": order.amount.minor, "currency": order.amount.currency}
            await ctx.state.put(key, row, revision=revision)
        provider_reference = f"fake-{order.reference}"
        return NextAction("redirect", f"https://pay.example/{provider_reference}", None, provider_reference)

    async def fetch(self, ctx: PluginContext[FakeConfig], order: CheckoutOrder, provider_reference: str | None) -> PaymentState:
        """What :meth:`settle` made of it."""
        row, _ = await ctx.state.get(f"order:fake-{order.reference}")
        return PaymentState(row["state"], f"fake-{order.reference}") if row else PaymentState("pending")

    async def cancel(self, ctx: PluginContext[FakeConfig], provider_reference: str | None) -> None:
        """What is pending will not be paid any more."""
        row, _ = await ctx.state.get(f"order:{provider_reference}")
        if row and row["state"] == "pending":
            await self.settle(ctx, str(provider_reference), "canceled")

    async def portal(self, ctx: PluginContext[FakeConfig], provider_reference: str | None) -> str | None:
        """A page for a known payment."""
        return f"https://pay.example/portal/{provider_reference}" if provider_reference else None

    async def settle(self, ctx: PluginContext[FakeConfig], provider_reference: str, state: str = "paid") -> None:
        """For tests: what the provider's truth is from now on."""
        row, revision = await ctx.state.get(f"order:{provider_reference}")
        assert row is not None, "no such payment was started"
        await ctx.state.put(f"order:{provider_reference}", {**row, "state": state}, revision=revision)


class FakeAuthProvider:
    """A sign-in provider that believes every code of the form ``ok:<subject>:<e-mail>``."""

    name = "fakeid"
    title = "Fake sign-in"
    Config: type[BaseModel] = FakeConfig

    async def authorize_url(self, ctx: PluginContext[FakeConfig], request: SignInRequest) -> str:
        """A page that does not exist, with state and PKCE."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(request.code_verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "redirect_uri": request.redirect_uri,
            "state": request.state,
            "nonce": request.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"https://id.example/authorize?{urlencode(query)}"

    async def exchange(
        self, ctx: PluginContext[FakeConfig], request: SignInRequest, callback: Mapping[str, str]
    ) -> ExternalIdentity:
        """The identity that the code names."""
        word, _, rest = callback.get("code", "").partition(":")
        subject, _, email = rest.partition(":")
        if word != "ok" or not subject:
            raise Unauthenticated("The sign-in failed")
        return ExternalIdentity("https://id.example", subject, email or None, bool(email))
