"""The channel ``web``: an interactive one, so it is a name and what it can carry."""

from __future__ import annotations

from tollhouse.plugin import MODALITIES, ChannelCapabilities


class WebChannel:
    """Talking in the browser."""

    name = "web"
    title = "Web"
    capabilities = ChannelCapabilities(media=frozenset(MODALITIES), buttons=True, markup="markdown")
