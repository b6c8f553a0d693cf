"""Trying a connection for real."""

from __future__ import annotations

from tollhouse.border.calls import ask
from tollhouse.border.errors import PluginFault
from tollhouse.host.values import Bound
from tollhouse.plugin import Connectable, Health, TollhouseError


async def tried(bound: Bound, obj: Connectable) -> Health:
    """A failure of the plugin is an outcome here: the admin asked whether it works."""
    try:
        outcome: Health = await ask(bound.plugin_name, "test", obj, bound.ctx)
    except PluginFault as fault:
        return Health(False, f"The plugin failed: {fault.detail}.")
    except TollhouseError as error:
        return Health(False, error.detail)
    return outcome
