"""Errors of the plugin host."""

from __future__ import annotations

from tollhouse.plugin.errors import Conflict, Unavailable


class PluginOff(Unavailable):
    """A connection's plugin is not enabled on this installation (any more)."""

    code = "plugin_not_enabled"
    title = "The plugin of this connection is not enabled on this installation"
    retryable = False


class ConnectionDisabled(Conflict):
    code = "connection_disabled"
    title = "This connection is switched off"


class ConnectionInUse(Conflict):
    code = "connection_in_use"
    title = "This connection is in use"


class NameTaken(Conflict):
    code = "name_taken"
    title = "There is already a connection of this name"


class Outdated(Conflict):
    code = "outdated"
    title = "Somebody else changed this in the meantime; load it again"


class ConnectionInvalid(Unavailable):
    """What is stored does not fit the plugin any more (after its upgrade, say)."""

    code = "connection_invalid"
    title = "The configuration of this connection is not valid any more; its owner has to renew it"
    retryable = False
