"""Replies that were made to be hard to show, and plain long ones: time, memory and the page grow with what was written.

The loop is never held, and not a word is lost.
"""

from __future__ import annotations

import gc
import html
import re
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tollhouse_web import markdown
from tollhouse_web.formats import beginning
from tollhouse_web.prose import Prose

from tests.growth import HOLD_SECONDS, assert_linear, longest_hold

Make = Callable[[int], str]


def repeated(unit: str, start: str = "", end: str = "") -> Make:
    return lambda size: start + unit * (size // len(unit)) + end


def both(opens: str, closes: str) -> Make:
    return lambda size: opens * (size // 2 // len(opens)) + "a" + closes * (size // 2 // len(closes))


COLUMNS: Final = 255
ORDINARY: Final = (
    "# Title\n\nSome *text* with **bold**, `code` and a [link](https://example.com/a), https://example.com/b too.\n\n"
    "- one\n- two\n  - three\n\n```python\nprint('x')\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n> quoted\n\n\\(a_1\\)\n\n"
)
HOSTILE: Final[dict[str, Make]] = {
    "ordinary": repeated(ORDINARY),
    "one long line": repeated("The quick brown fox jumps over the lazy dog. "),
    "wide tables": repeated("|" + "a|" * COLUMNS + "\n|" + "-|" * COLUMNS + "\n" + "|\n" * 200 + "\n"),
    "one wide table": repeated("|\n", "|" + "a|" * 1_000 + "\n|" + "-|" * 1_000 + "\n"),
    "cells": repeated("|a" * 8 + "|\n", "|a" * 8 + "|\n" + "|-" * 8 + "|\n"),
    "an address in brackets": repeated(")", "http://a"),
    "addresses": repeated("http://a.b/) "),
    "addresses of punctuation": repeated("http://a.b.,;:!?*_~ "),
    "opening brackets": repeated("["),
    "brackets": both("[", "]"),
    "pictures": repeated("!["),
    "pictures in pictures": both("![a", "](b)"),
    "links": repeated("[a]("),
    "links in angles": repeated("[a](<b"),
    "titles": repeated('[a](b "'),
    "definitions": repeated("[a]: b\n"),
    "one definition, many uses": lambda size: f"[a]: http://x/{'y' * (size // 2)}\n\n" + "[a]" * (size // 6),
    "labels": repeated("[a\n"),
    "footnotes": repeated("[^1]: a\n"),
    "emphasis": repeated("*a "),
    "emphasis of both kinds": repeated("*a **b "),
    "emphasis in emphasis": both("**", "**"),
    "stars and underscores": repeated("a*b_"),
    "strokes": repeated("~~a "),
    "backticks": lambda size: "".join("`" * run + "e" for run in range(int((2 * size) ** 0.5))),
    "quotes": repeated("> ", end="a"),
    "lists": repeated("- ", end="a"),
    "deeper and deeper": lambda size: "".join("  " * depth + "- a\n" for depth in range(int(size**0.5))),
    "numbers": repeated("1. a\n"),
    "lazy lines": repeated("b\n", "> a\n"),
    "underlines": repeated("a\n", end="="),
    "entities": repeated("&amp;"),
    "ampersands": repeated("&"),
    "angles": repeated("<"),
    "tags": repeated("<a"),
    "autolinks": repeated("<http:"),
    "backslashes": repeated("\\"),
    "hard breaks": repeated("a  \n"),
    "empty lines": repeated("\n"),
    "blanks": repeated(" "),
    "tabs": repeated("\t"),
    "formulas": repeated("$a$ "),
    "dollars": repeated("$a "),
    "open formulas": repeated("\\("),
    "open displayed formulas": repeated("\\["),
    "displayed formulas": repeated("\n\n\\["),
    "fences": repeated("```\n"),
    "letters of four bytes": repeated("😀 "),
    "invisible letters": repeated("\u202e\u200b"),
    "links with invisible letters": repeated("[\u200ba\u202e](http://b.c) "),
}


HEAVIEST: Final = ("ordinary", "cells", "pictures", "stars and underscores", "numbers", "displayed formulas", "definitions")


@pytest.fixture
def settled() -> Iterator[None]:
    """What is there already is left alone by the collector, as in a process that has started."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_reply_is_rendered_in_time_by_its_length(settled: None, name: str) -> None:
    assert_linear(markdown.to_html, HOSTILE[name], start=2_000, end=32_000, memory=None)


@pytest.mark.parametrize("name", HEAVIEST)
def test_a_reply_is_rendered_in_memory_by_its_length(name: str) -> None:
    # The parser makes an object or two for each letter of the worst; the longest that is rendered takes 60 MB.
    assert_linear(markdown.to_html, HOSTILE[name], start=8_000, end=8_000, memory=950.0)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_grows_with_its_reply(name: str) -> None:
    for size in (1_000, 16_000, 2 * markdown.LONGEST):
        text = HOSTILE[name](size)
        assert len(markdown.to_html(text)) <= (markdown.GROWTH + 12) * len(text) + 3 * markdown.ALLOWANCE


@pytest.mark.parametrize("name", HEAVIEST)
async def test_the_loop_is_never_held(settled: None, name: str) -> None:
    text = HOSTILE[name](markdown.LONGEST - 2_000)
    assert await longest_hold(lambda: Prose().of([text])) < HOLD_SECONDS


@pytest.mark.parametrize("size", [300, 2_000_000])
async def test_neither_short_nor_endless_replies_hold_it(settled: None, size: int) -> None:
    text = ("[" * size)[:size]
    assert await longest_hold(lambda: Prose().of([text])) < HOLD_SECONDS


async def test_a_page_waits_for_its_replies_only_so_long() -> None:
    """What is not ready in time is shown as it was written, the newest last; the next look finds it rendered."""
    prose = Prose(patience=0.05)
    texts = [f"**{number}** " + ORDINARY * 40 for number in range(20)]
    first = await prose.of(texts)
    assert first[0].startswith("<pre"), "the oldest waits"
    assert first[-1].startswith("<p><strong>19"), "the newest is there"
    for _ in range(len(texts)):
        found = await prose.of(texts)
    assert all(text.startswith("<p><strong>") for text in found)
    assert found == await prose.of(texts)


async def test_what_is_remembered_has_a_bound() -> None:
    prose = Prose()
    for number in range(120):
        await prose.of([f"{number} " + "&" * 8_000])
    assert prose._size == sum(len(page) for page in prose._known.values()) <= 4 * 1024 * 1024
    assert prose._known


def words_of(page: str) -> str:
    """What a reader sees, without the addresses that are said beside links."""
    page = re.sub(r' <span class="host">.*?</span>', "", page, flags=re.DOTALL)
    page = re.sub(r"<figcaption>.*?</figcaption>", "", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "", page))


@given(
    st.text(alphabet=st.sampled_from("ab1 \n\t*_`~#>-+|[]()!<&;:\"'\\$^=./@é"), max_size=300),
    st.sampled_from(["", "> " * 30, "- " * 30, "1. " * 15, "[" * 40, "![" * 40, "\\[", "$$", "[^1]: "]),
)
def test_no_letter_and_no_digit_is_lost(text: str, start: str) -> None:
    marker = "Zweihundert"
    shown = words_of(str(markdown.to_html(f"{start}{marker}1\n\n{text}\n\n{marker}2")))
    assert f"{marker}1" in shown or "](" in text or "]:" in text, shown
    assert f"{marker}2" in shown or "```" in text or "~~~" in text or "](" in text or "]:" in text, shown


@pytest.mark.parametrize("start", ["> " * 40, "- " * 40, "1. " * 40, "> - " * 20])
def test_what_is_nested_too_deeply_is_shown_as_it_was_written(start: str) -> None:
    text = f"{start}the inmost words"
    assert html.unescape(str(markdown.to_html(text))) == f'<pre class="wrap">\n{text}</pre>\n'


def test_a_large_table_is_a_table() -> None:
    page = markdown.to_html("| a | b | c |\n|---|---|---|\n" + "| 1 | 2 | 3 |\n" * 2_000)
    assert page.count("<td>") == 6_000


def test_what_is_too_long_is_shown_as_it_was_written() -> None:
    text = "\n  **a** <b> &amp; " * (markdown.LONGEST // 10)
    page = str(markdown.to_html(text))
    assert html.unescape(page.removeprefix('<pre class="wrap">\n').removesuffix("</pre>\n")) == text
    assert "<b>" not in page


def test_the_first_words_of_a_text_are_found_whatever_follows() -> None:
    assert_linear(beginning, lambda size: "a " * (size // 2), memory=0.5)
    assert_linear(beginning, lambda size: " " * size, memory=2.0)
    assert beginning("## A **bold** [word](x)\nand more") == "A bold word (x) and more"
