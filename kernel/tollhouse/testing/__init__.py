"""Conformance kits and fakes for plugin authors: what Tollhouse's own plugins are tested with. Needs pytest, no database.

See ``README.md`` beside this file. Kits are subclassed in a plugin's tests; fakes stand in for the kernel or for a plugin.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "tollhouse.testing.auth",
    "tollhouse.testing.channel",
    "tollhouse.testing.connection",
    "tollhouse.testing.guard",
    "tollhouse.testing.llm",
    "tollhouse.testing.payments",
    "tollhouse.testing.port_suites",
)

from tollhouse.testing.auth import SIGN_IN, AuthProviderSuite  # noqa: E402  after the rewriting is arranged
from tollhouse.testing.channel import ChannelSuite, MessengerSuite  # noqa: E402
from tollhouse.testing.connection import ConnectionSuite, Unchanged  # noqa: E402
from tollhouse.testing.context import TENANT, FixedClock, MemoryState, make_context, make_principal  # noqa: E402
from tollhouse.testing.fakes import FakeAuthProvider, FakeBackend, FakeMessenger, FakePaymentProvider  # noqa: E402
from tollhouse.testing.guard import Suite  # noqa: E402
from tollhouse.testing.llm import LLMBackendSuite  # noqa: E402
from tollhouse.testing.payments import PaymentProviderSuite  # noqa: E402
from tollhouse.testing.ports import FakePorts  # noqa: E402
from tollhouse.testing.world import PASSWORD, World  # noqa: E402

__all__ = [
    "PASSWORD",
    "SIGN_IN",
    "TENANT",
    "AuthProviderSuite",
    "ChannelSuite",
    "ConnectionSuite",
    "FakeAuthProvider",
    "FakeBackend",
    "FakeMessenger",
    "FakePaymentProvider",
    "FakePorts",
    "FixedClock",
    "LLMBackendSuite",
    "MemoryState",
    "MessengerSuite",
    "PaymentProviderSuite",
    "Suite",
    "Unchanged",
    "World",
    "make_context",
    "make_principal",
]
