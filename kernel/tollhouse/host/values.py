"""What the host hands out about connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from tollhouse.plugin import PluginContext

Kind = Literal["channel", "payment", "auth", "llm"]
KINDS: Final[tuple[Kind, ...]] = ("channel", "payment", "auth", "llm")


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as its admin sees it. ``secrets``: which secret fields are set; never their values.

    ``readable`` is False when the stored secrets do not decrypt, and have to be entered again.
    """

    id: UUID
    kind: Kind
    plugin: str
    name: str
    config: Mapping[str, Any]
    secrets: Mapping[str, bool]
    status: Literal["active", "disabled"]
    health: Mapping[str, Any] | None
    revision: int
    created_at: datetime
    updated_at: datetime
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Bound:
    """A connection ready to be used: call ``obj`` with ``ctx``. ``plugin_name`` is the plugin that registered ``obj``."""

    plugin_name: str
    obj: Any
    ctx: PluginContext[Any]
    revision: int

    @property
    def backend(self) -> Any:
        """``obj``, where it is known to be a model backend."""
        return self.obj


@dataclass(frozen=True, slots=True)
class Connector:
    """Something that a tenant can connect: ``plugin`` is the word that ``create`` takes."""

    kind: Kind
    plugin: str
    title: str
