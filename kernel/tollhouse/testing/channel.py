"""The conformance kits for channels.

class TestMyMessenger(MessengerSuite):
    @pytest.fixture
    def channel(self):
        return MyMessenger()

    @pytest.fixture
    def config(self):
        return MyMessenger.Config(token="…", webhook_secret="…")

    @pytest.fixture
    def message(self, config):          # a webhook as the vendor sends it
        return RawRequest("POST", {}, {"x-signature": sign(config, BODY)}, BODY, "203.0.113.7", datetime.now(UTC))

    # … and `forged`, `garbage`
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from tollhouse.plugin import (
    MODALITIES,
    Answer,
    Channel,
    ChannelCapabilities,
    Decision,
    InboundMessage,
    InvalidInput,
    Messenger,
    Outgoing,
    RawRequest,
    Reply,
    Text,
    Unauthenticated,
)
from tollhouse.testing.connection import ConnectionSuite, Unchanged
from tollhouse.testing.given import given
from tollhouse.testing.guard import Suite

DENIAL = Decision(
    allowed=False,
    reason="limit_reached",
    message="You have used all 20 messages of today.",
    status=402,
    upgrade_url="https://acme.example/plans",
)


class ChannelSuite(Suite, kit=True):
    """For every channel. Fixture: ``channel``."""

    @pytest.fixture
    def channel(self) -> Any:
        """Your channel."""
        raise NotImplementedError("give a fixture `channel`")

    def test_it_is_a_channel(self, channel: Any) -> None:
        """To fix: give the object ``name``, ``title`` and ``capabilities`` as in ``Channel``."""
        assert isinstance(channel, Channel)
        assert channel.name.isidentifier()
        assert channel.title.strip()

    def test_capabilities_are_possible(self, channel: Any) -> None:
        """To fix: ``text_limit`` is positive or None, ``media`` names kinds of parts and contains ``text``."""
        capabilities = channel.capabilities
        assert isinstance(capabilities, ChannelCapabilities)
        assert capabilities.text_limit is None or capabilities.text_limit > 0
        assert "text" in capabilities.media
        assert capabilities.media <= set(MODALITIES)


class MessengerSuite(ChannelSuite, ConnectionSuite, kit=True):
    """For channels with a webhook. Fixtures: ``channel``, ``config``, ``message``, ``forged``, ``garbage``."""

    can_deliver: ClassVar[bool] = False
    """Whether ``config`` points to a (fake) server that takes messages; if so ``deliver`` is checked too."""

    @pytest.fixture
    def subject(self, channel: Any) -> Any:
        """What the checks of every connection look at."""
        return channel

    @pytest.fixture
    def message(self, config: BaseModel) -> RawRequest:
        """A genuine webhook with one text message of a person."""
        raise NotImplementedError("give a fixture `message`")

    @pytest.fixture
    def forged(self, message: RawRequest) -> RawRequest:
        """The same with a wrong signature or secret; by default one byte is added to the body."""
        return replace(message, body=message.body + b" ")

    @pytest.fixture
    def garbage(self, config: BaseModel) -> RawRequest:
        """A webhook with a right signature whose body is not what the vendor sends."""
        raise NotImplementedError("give a fixture `garbage`")

    def another(self, channel: Messenger) -> Messenger:
        """The same channel as another process would have made it."""
        return type(channel)()

    def text_of(self, outgoing: Outgoing) -> str:
        """The text that the person will read, without markup."""
        text = outgoing.payload["text"]
        assert isinstance(text, str)
        return text

    async def receive(self, channel: Messenger, config: BaseModel, request: RawRequest) -> Sequence[InboundMessage]:
        """The messages in a webhook."""
        async with self.context(config) as ctx:
            received = given("receive", await channel.receive(ctx, request))
        return [event for event in received.events if isinstance(event, InboundMessage)]

    async def render(self, channel: Messenger, config: BaseModel, answer: Answer) -> Sequence[Outgoing]:
        """Vendor messages for an answer."""
        async with self.context(config) as ctx:
            rendered: Sequence[Outgoing] = given("render", channel.render(ctx, answer))
            return rendered

    def test_it_is_a_messenger(self, channel: Any) -> None:
        """To fix: add ``Config``, ``receive``, ``render`` and ``deliver`` as in ``Messenger``."""
        assert isinstance(channel, Messenger)

    async def test_a_message_is_understood(self, channel: Messenger, config: BaseModel, message: RawRequest) -> None:
        """To fix: the event names sender, key and the vendor's id of the message (at most 255 characters), and has parts."""
        events = await self.receive(channel, config, message)
        assert events
        for event in events:
            assert 0 < len(event.external_id) <= 255
            assert event.key
            assert event.parts
            assert event.sender.provider == channel.name
            assert event.sender.issuer
            assert event.sender.subject

    async def test_the_same_bytes_give_the_same_ids(self, channel: Messenger, config: BaseModel, message: RawRequest) -> None:
        """To fix: take ``external_id`` and ``key`` from the vendor's message, never from a clock, a counter or chance."""
        first = await self.receive(channel, config, message)
        again = await self.receive(self.another(channel), config, message)
        assert [(event.external_id, event.key, event.sender) for event in first] == [
            (event.external_id, event.key, event.sender) for event in again
        ]

    async def test_a_forged_webhook_is_refused(self, channel: Messenger, config: BaseModel, forged: RawRequest) -> None:
        """To fix: compare the signature over the exact bytes with ``hmac.compare_digest`` before parsing anything."""
        with pytest.raises(Unauthenticated):
            await self.receive(channel, config, forged)
        with pytest.raises(Unauthenticated):
            await self.receive(channel, config, replace(forged, headers={}, query={}))

    async def test_garbage_is_refused(self, channel: Messenger, config: BaseModel, garbage: RawRequest) -> None:
        """To fix: answer a body that makes no sense with ``InvalidInput``; a KeyError would be a bug report every time."""
        with pytest.raises(InvalidInput):
            await self.receive(channel, config, garbage)

    async def test_an_answer_crosses_processes(self, channel: Messenger, config: BaseModel, message: RawRequest) -> None:
        """To fix: what ``render`` needs from ``receive`` is JSON inside ``context``; payloads are JSON too."""
        event = (await self.receive(channel, config, message))[0]
        answer = Answer(
            recipient=event.recipient, reply=Reply((Text("Good morning"),)), context=json.loads(json.dumps(dict(event.context)))
        )
        outgoing = await self.render(self.another(channel), config, answer)
        assert "Good morning" in "".join(self.text_of(item) for item in outgoing)
        for item in outgoing:
            assert item.recipient
            assert json.loads(json.dumps(dict(item.payload), allow_nan=False)) == dict(item.payload)

    async def test_long_texts_are_split_without_loss(self, channel: Messenger, config: BaseModel) -> None:
        """To fix: count UTF-16 code units (an emoji is two), split between characters, send no empty message, lose nothing."""
        limit = channel.capabilities.text_limit
        for text in texts(limit or 500):
            outgoing = await self.render(channel, config, Answer("recipient", Reply((Text(text),))))
            pieces = [self.text_of(item) for item in outgoing]
            assert all(piece.strip() for piece in pieces), "an empty message"
            if limit is not None:
                assert max((units(piece) for piece in pieces), default=0) <= limit
            assert "".join("".join(pieces).split()) == "".join(text.split()), "text was lost, added or reordered"

    async def test_a_denial_is_said(self, channel: Messenger, config: BaseModel) -> None:
        """To fix: render ``denial.message`` (and ``upgrade_url``, as a button or a line); silence is no answer."""
        outgoing = await self.render(channel, config, Answer("recipient", denial=DENIAL))
        assert DENIAL.message in "".join(self.text_of(item) for item in outgoing)
        assert DENIAL.upgrade_url is not None
        assert DENIAL.upgrade_url in json.dumps([dict(item.payload) for item in outgoing])

    async def test_an_error_is_said(self, channel: Messenger, config: BaseModel) -> None:
        """To fix: render ``answer.error`` as it is; it is written for the person."""
        outgoing = await self.render(channel, config, Answer("recipient", error="The model is busy."))
        assert "The model is busy." in "".join(self.text_of(item) for item in outgoing)

    async def test_messages_are_delivered(self, channel: Messenger, config: BaseModel) -> None:
        """To fix: ``deliver`` sends one message that came back from the outbox as JSON, and gives the vendor's id."""
        if not self.can_deliver:
            pytest.skip("can_deliver is not set")
        async with self.context(config) as ctx:
            for item in channel.render(ctx, Answer("recipient", Reply((Text("Hello"),)))):
                stored = Outgoing(item.recipient, json.loads(json.dumps(dict(item.payload))))
                given("deliver", await channel.deliver(ctx, stored))

    async def test_it_holds_no_state(self, channel: Messenger, config: BaseModel, message: RawRequest) -> None:
        """To fix: receive runs in a server and deliver in a worker, perhaps on another machine: keep nothing on the object."""
        with Unchanged(channel, config):
            await self.receive(channel, config, message)
            await self.render(channel, config, Answer("recipient", Reply((Text("Hello"),))))


def units(text: str) -> int:
    """UTF-16 code units of ``text``, as most messengers count."""
    return len(text.encode("utf-16-le")) // 2


def texts(limit: int) -> list[str]:
    """Texts that are hard to split at ``limit``."""
    return [
        "Hello",
        "x" * limit,
        "x" * (limit + 1),
        "word " * limit,
        "x" + "😀" * limit,
        "漢字" * limit,
        "A paragraph.\n\n" * (limit // 5),
        "a" * (limit - 1) + "😀" + "b" * limit,
        "  \n leading and trailing \n ",
        "<b>not & bold</b> *not* _it_ [x](y) `z`",
    ]
