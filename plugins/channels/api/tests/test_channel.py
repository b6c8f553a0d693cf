"""The conformance kit, and what the plugin declares."""

import pytest
from tollhouse_api import ApiChannel, plugin

from tollhouse.plugin import Catalog, Turns
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
