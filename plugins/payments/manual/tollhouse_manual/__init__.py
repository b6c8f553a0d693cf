"""Manual payment as a Tollhouse plugin: the user reads how to pay, an admin confirms that the money has arrived."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tollhouse import plugin as th
from tollhouse_manual.provider import ManualConfig, ManualProvider


class Plugin:
    """What ``plugins.toml`` calls ``manual``."""

    contract = (1, 0)

    @th.impl
    def register_payment_providers(self, settings: Any) -> Iterable[th.PaymentProvider]:
        """The one provider, ``manual``."""
        return [ManualProvider()]


plugin = Plugin()

__all__ = ["ManualConfig", "ManualProvider", "Plugin", "plugin"]
