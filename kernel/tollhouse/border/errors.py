"""Errors of the border."""

from __future__ import annotations

from tollhouse.plugin.errors import TollhouseError


class PluginFault(TollhouseError):
    """A plugin did what its contract does not know. The cause is chained; the text names only the plugin and its method.

    ``returned``: it ran to its end and gave something wrong, so what it does was done. ``timed_out``: nobody knows how far it
    came.
    """

    code = "plugin_failed"
    status = 502
    title = "A plugin failed"

    def __init__(self, plugin: str, method: str, fault: str, *, returned: bool = False, timed_out: bool = False) -> None:
        super().__init__(f"plugin {plugin!r}: {method} {fault}")
        self.plugin = plugin
        self.method = method
        self.returned = returned
        self.timed_out = timed_out
