"""Optional abilities that any kind of plugin may have; found by ``isinstance``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from tollhouse.plugin.context import PluginContext


@dataclass(frozen=True, slots=True)
class Health:
    """How a connection is. ``detail`` is a sentence for the admin, free of secrets."""

    ok: bool
    detail: str


@runtime_checkable
class Connectable(Protocol):
    """A connection that can be tried from its page."""

    async def test(self, ctx: PluginContext[Any]) -> Health:
        """Try the configuration for real, cheaply, within 15 seconds. Failures are a Health, not an exception."""
        ...
