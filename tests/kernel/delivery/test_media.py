"""Pictures on their way through the inbox: bytes lie in blobs, once, and are gone when the message is answered."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tollhouse.plugin.channels import Attachment, RawRequest, Received
from tollhouse.plugin.content import Media, Text
from tollhouse.plugin.events import InboundMessage, Sender
from tollhouse.store.blobs import blob_key
from tollhouse.store.ids import new_id
from tollhouse.testing.fakes import FakeMessenger, signed_request


class Pictures(FakeMessenger):
    """A messenger whose webhooks bring what the test says."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    async def receive(self, ctx: Any, request: RawRequest) -> Received:
        sender = Sender("fakechat", "x", "ada")
        return Received((InboundMessage("m1", sender, self.parts, "chat", recipient="chat", context={"odd": "a\x00\ud800b"}),))


def files_in(stage: Any) -> int:
    return sum(path.is_file() for path in stage.blobs.root.rglob("*"))


@pytest.fixture
def webhook() -> RawRequest:
    return signed_request(b"{}")


async def test_bytes_come_to_the_turn_and_leave_nothing(stage: Any, tenant_id: UUID, webhook: RawRequest) -> None:
    picture = Media("image", "image/png", data=b"\x89PNG", name="cat.png", size=4)
    bot = await stage.add_connection(tenant_id, Pictures(Text("look"), picture))
    await asyncio.gather(*(stage.intake.accept(str(tenant_id), str(bot), webhook) for _ in range(5)))
    (row,) = await stage.inbox(tenant_id)
    assert files_in(stage) == 1
    assert row["payload"]["parts"][1]["url"].startswith("blob:")
    assert row["payload"]["context"] == {"odd": "a\ufffd\ufffdb"}  # what the database cannot hold does not lose the message
    await stage.job(tenant_id, bot, "chat")
    assert stage.asked[0][1].parts == (Text("look"), picture)
    assert files_in(stage) == 0


async def test_a_plugin_cannot_point_into_the_blobs(stage: Any, tenant_id: UUID, webhook: RawRequest) -> None:
    secret = new_id()
    await stage.blobs.put(blob_key(tenant_id, secret), b"somebody's file")
    bot = await stage.add_connection(tenant_id, Pictures(Text("x"), Media("image", "image/png", url=f"blob:{secret}")))
    await stage.intake.accept(str(tenant_id), str(bot), webhook)
    await stage.job(tenant_id, bot, "chat")
    assert stage.asked[0][1].parts[1] == Media("image", "image/png")
    assert await stage.blobs.exists(blob_key(tenant_id, secret))


async def test_attachments_that_cannot_be_fetched_are_answered(stage: Any, tenant_id: UUID, webhook: RawRequest) -> None:
    bot = await stage.add_connection(tenant_id, Pictures(Attachment("vendor-1", "image", 10)))
    await stage.intake.accept(str(tenant_id), str(bot), webhook)
    await stage.job(tenant_id, bot, "chat")
    await stage.relay.drain()
    assert stage.asked == []
    assert "cannot be read" in (await stage.sent(bot))[0]
