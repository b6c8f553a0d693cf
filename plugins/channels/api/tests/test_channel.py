"""The conformance kit, and what the plugin declares."""

from datetime import UTC, datetime

import pytest
from tollhouse_api import ApiChannel, plugin
from tollhouse_api.answers import completion
from tollhouse_api.errors import TurnFailed

from tollhouse.plugin import Catalog, Reply, Text, TokenUsage, TurnResult, Turns
from tollhouse.testing.channel import ChannelSuite


class TestApiChannel(ChannelSuite):
    @pytest.fixture
    def channel(self):
        return ApiChannel()


def test_it_declares_what_it_uses():
    assert plugin.ports == (Turns, Catalog)
    assert [channel.name for channel in plugin.register_channels(None)] == ["api"]
    [mount] = plugin.register_routes(None)
    assert (mount.public, mount.errors) == (frozenset(), "openai")


def test_a_replayed_failure_is_an_error():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    failed = TurnResult("t", "failed", "helper", "api", now, error={"detail": "It was down"})
    with pytest.raises(TurnFailed, match="It was down"):
        completion(failed, "helper")
    unknown = TurnResult("t", "done", "helper", "api", now, reply=Reply((Text("x"),), "odd"), usage=TokenUsage(None, 0))
    answer = completion(unknown, "helper")
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == 0
