"""What is done with a model's answer before anybody sees it: stop marks, redaction, JSON schema, length, footer."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tollhouse.agents.patterns import Budget, TooManySteps
from tollhouse.agents.versions import PromptVersion
from tollhouse.plugin.content import Part, Reply, Text
from tollhouse.plugin.errors import BadCompletion
from tollhouse.plugin.llm import Completion
from tollhouse.records import record

LONG_TEXT: Final = 512
"""Longer texts are searched in a thread, so that other turns go on meanwhile."""
_THREADS: Final = ThreadPoolExecutor(2, "polish")
"""Their own: whoever waits for a file or a password does not wait for somebody's patterns."""


@record(frozen=True, slots=True)
class Polished:
    """The reply; ``problem`` says why it does not follow the version's JSON schema (None: it does, or there is none)."""

    reply: Reply
    problem: str | None = None


async def polish(version: PromptVersion, completion: Completion) -> Polished:
    """Apply the version's post-processing.

    Raises:
        BadCompletion: redaction would take too long, so the reply is withheld.
    """
    post = version.spec.post
    finish: str = completion.finish
    if not (post.stop or post.redact or post.json_schema or post.footer or post.max_characters is not None):
        return Polished(Reply(completion.parts, finish))
    text = joined(completion.parts)
    if (cut := min((at for mark in post.stop if (at := text.find(mark)) >= 0), default=None)) is not None:
        text, finish = text[:cut].rstrip(), "stop"
    text = await _redacted(version, text)
    problem = None
    if version.schema is not None:
        text, problem = await asyncio.get_running_loop().run_in_executor(_THREADS, version.schema.check, text)
    if post.max_characters is not None and len(text) > post.max_characters:
        text, finish = text[: post.max_characters], "length"
    if post.footer:
        text = f"{text}\n\n{post.footer}"
    return Polished(Reply(with_text(completion.parts, text), finish), problem)


def joined(parts: tuple[Part, ...]) -> str:
    """All text as one, so that nothing hides on the border of two parts."""
    return "".join(part.text for part in parts if isinstance(part, Text))


def with_text(parts: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    """The same parts with ``text`` in the place of the first text, and no other."""
    others = [part for part in parts if not isinstance(part, Text)]
    place = next((at for at, part in enumerate(parts) if isinstance(part, Text)), 0)
    return (*others[:place], Text(text), *others[place:])


async def _redacted(version: PromptVersion, text: str) -> str:
    if not version.redactions:
        return text

    def search() -> str:
        budget = Budget(len(text), len(version.redactions))
        found = text
        for pattern, replacement in version.redactions:
            found = pattern.replace(found, replacement, budget)
        return found

    try:
        return search() if len(text) <= LONG_TEXT else await asyncio.get_running_loop().run_in_executor(_THREADS, search)
    except TooManySteps:
        raise BadCompletion(private=f"redaction of a reply of {len(text)} characters took too many steps") from None
