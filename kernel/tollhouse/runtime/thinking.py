"""What a model thinks aloud before it answers, which is not for the person who asked.

Models that reason write it between tags at the beginning of their text, wherever nothing before us takes it out; some servers
put the opening tag into the prompt, so that only the closing one comes back.
"""

from __future__ import annotations

from typing import Final

TAGS: Final = ("think", "thinking")


def without_thinking(text: str) -> str:
    """The answer alone. Thoughts that never end were cut off: then there is no answer. One look at each character."""
    if "<think" not in text and "</think" not in text:
        return text
    start = _skip_blank(text, 0)
    begun = start
    while (tag := _opens(text, start)) is not None:
        end = text.find(f"</{tag}>", start)
        if end < 0:
            return ""
        start = _skip_blank(text, end + len(tag) + 3)
    if start == begun:
        start = _after_a_bare_end(text)
    return text[start:] if start else text


def _opens(text: str, at: int) -> str | None:
    return next((tag for tag in TAGS if text.startswith(f"<{tag}>", at)), None)


def _after_a_bare_end(text: str) -> int:
    """Where the answer begins if thoughts end without having begun. What speaks of the tags, or quotes them, is left alone."""
    for tag in TAGS:
        end = text.find(f"</{tag}>")
        if end >= 0 and "`" not in text[:end] and f"<{tag}>" not in text[:end]:
            return _skip_blank(text, end + len(tag) + 3)
    return 0


def _skip_blank(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
