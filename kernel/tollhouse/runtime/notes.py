"""What of a request was not done as it was asked for, in sentences for whoever asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tollhouse.plugin.content import Message

MAX_NAMED: Final = 20
LONGEST_NAME: Final = 80
MOST_OUTPUT: Final = ("max_tokens", "max_completion_tokens")


def notes_of(
    ignored: Sequence[str],
    wishes: Mapping[str, Any],
    output: int,
    history: Sequence[Message],
    past: Sequence[Message],
    messages: Sequence[Message],
) -> tuple[str, ...]:
    """What was not done as it was asked for. ``past``: what of the history may be sent; ``messages``: what is sent."""
    notes = []
    if ignored:
        notes.append(f"Ignored, because this agent does not open it: {', '.join(map(_shown, sorted(ignored)[:MAX_NAMED]))}.")
    if any(name in MOST_OUTPUT and value is not None and value > output for name, value in wishes.items()):
        notes.append(f"A reply of this agent has at most {output} tokens; more was asked for.")
    said = [one for one in history if one.role != "system"]
    sent = [one for one in messages if one.role != "system"][:-1]
    if len(sent) < len(said):
        notes.append(f"{len(said) - len(sent)} of {len(said)} earlier messages were left out: more than this agent reads.")
    if sent and sent != list(past[-len(sent) :]):
        notes.append("Earlier pictures, sounds or files were named and not sent: the model cannot read them.")
    if any(one.role == "system" for one in history[_first_said(history) :]):
        notes.append("System messages were moved to the front, below the agent's own instructions.")
    return tuple(notes)


def _shown(name: str) -> str:
    """A parameter's name as it may be repeated: a client can call one whatever it likes."""
    return name if name.isascii() and name.isidentifier() and len(name) <= LONGEST_NAME else "…"


def _first_said(history: Sequence[Message]) -> int:
    return next((place for place, one in enumerate(history) if one.role != "system"), len(history))
