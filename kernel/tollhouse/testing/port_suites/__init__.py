"""The conformance suites of the ports, run by the fakes here and by the kernel's own ports against a real database.

Every suite takes its ports from fixtures, each bound to another principal of one tenant:

- ``port``: a signed-in user;
- ``other_port``: another user of the same tenant;
- ``anonymous_port``: nobody.

What else a suite needs is said in its docstring. Suites assume nothing about what else the tenant contains.
"""

from __future__ import annotations

from tollhouse.testing.port_suites.base import AgentSuite, PortSuite
from tollhouse.testing.port_suites.files import FilesSuite
from tollhouse.testing.port_suites.money import SubscriptionsSuite, UsageSuite
from tollhouse.testing.port_suites.people import AccountsSuite, KeysSuite, SessionsSuite
from tollhouse.testing.port_suites.turns import CatalogSuite, ConversationsSuite, TurnsSuite

__all__ = [
    "AccountsSuite",
    "AgentSuite",
    "CatalogSuite",
    "ConversationsSuite",
    "FilesSuite",
    "KeysSuite",
    "PortSuite",
    "SessionsSuite",
    "SubscriptionsSuite",
    "TurnsSuite",
    "UsageSuite",
]
