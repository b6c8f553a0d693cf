"""Fixtures that all suites of ports share."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tollhouse.testing.guard import Suite


class PortSuite(Suite, kit=True):
    """What all port suites share: their fixtures."""

    @pytest.fixture
    def port(self) -> Any:
        """The port, bound to a signed-in user."""
        raise NotImplementedError("give a fixture `port`")

    @pytest.fixture
    def other_port(self) -> Any:
        """The port, bound to another user of the same tenant."""
        raise NotImplementedError("give a fixture `other_port`")

    @pytest.fixture
    def anonymous_port(self) -> Any:
        """The port, bound to nobody."""
        raise NotImplementedError("give a fixture `anonymous_port`")


class AgentSuite(PortSuite, kit=True):
    """Suites that need an agent: ``agent``, the slug of one that ``port`` and ``other_port`` may use."""

    @pytest.fixture
    def agent(self) -> str:
        """The slug of a published agent that the users may talk to."""
        raise NotImplementedError("give a fixture `agent`")

    @pytest.fixture
    def denied_agent(self) -> str:
        """The slug of a published agent that their plan does not include."""
        raise NotImplementedError("give a fixture `denied_agent`")


def nowhere() -> list[str]:
    """Ids of nothing: one that could exist, and some that could not."""
    return [str(uuid4()), "no-such-id", "", "'; --", "x" * 300]
