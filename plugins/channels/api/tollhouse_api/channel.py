"""The channel itself: it has no limits of its own."""

from __future__ import annotations

from tollhouse.plugin import ChannelCapabilities


class ApiChannel:
    """Programs, by API key or by a bearer token without a device."""

    name = "api"
    title = "API"
    capabilities = ChannelCapabilities(media=frozenset({"text", "image", "audio", "file"}), markup="markdown")
