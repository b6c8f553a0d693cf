"""Errors of turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tollhouse.plugin.errors import BackendAuthFailed, Conflict, InvalidInput, TollhouseError, Unavailable

RETRY_AFTER = 2
"""Seconds: with the same key the answer is then there, or the turn is still running."""


class TurnRunning(Conflict):
    """The same turn is being worked on, by a process that is alive. Ask again, or read it by its id."""

    code = "turn_running"
    title = "This request is already being worked on"
    retryable = True

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        super().__init__(detail, retry_after=RETRY_AFTER, **extra)


class OtherBody(InvalidInput):
    """An idempotency key was used again for something else."""

    code = "idempotency_mismatch"
    title = "This idempotency key was used for another request; use a new one for a new request"


class AnswerDeleted(TollhouseError):
    """A request is repeated whose answer was deleted since, with its conversation or its person. It was charged once."""

    code = "answer_deleted"
    status = 410
    title = "This was answered before, and the answer has been deleted since"


class NoModel(BackendAuthFailed):
    """None of the agent's models can be asked. ``broken``: which of its connections cannot be used, and why."""

    def __init__(self, broken: Mapping[UUID, str]) -> None:
        super().__init__(private="; ".join(broken.values()) or "no active connection for this version")
        self.broken = broken


class TurnInterrupted(Unavailable):
    """Whoever asked for the turn cancelled it, or the server stopped: nothing was charged."""

    code = "interrupted"
    title = "The server stopped while working on this; nothing was charged."


class TakenOver(Exception):
    """Somebody else took this turn over a moment earlier: what became of it is to be read. Never leaves this package."""
