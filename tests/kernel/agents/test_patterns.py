"""Redaction patterns: the usual syntax, in bounded time whatever the pattern and the text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.agents.patterns import Budget, Pattern, PatternError, TooManySteps


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        (r"[\w.+-]+@[\w-]+\.[\w.]+", "write to a.b+c@example.test now", "write to # now"),
        (r"\b\d{4}([ -]?\d{4}){3}\b", "card 4242 4242 4242 4242, not 42424242424242424242", "card #, not 42424242424242424242"),
        (r"(?i)secret", "Secret SECRET secret", "# # #"),
        (r"(?i)[a-c]x", "AX bX Cx dx", "# # # dx"),
        (r"sk-[A-Za-z0-9]{5,}", "key sk-abcde12 and sk-ab", "key # and sk-ab"),
        (r"^a", "aa\na", "#a\na"),
        (r"(?m)^a$", "a\nab\na", "#\nab\n#"),
        (r"a|ab|abc", "abcd", "#d"),
        (r"(?s)BEGIN.*?END", "x BEGIN 1\n2 END y", "x # y"),
        (r"x{2,3}", "xxxxx x", "## x"),
        (r"[^\d\s]+", "ab 12 c", "# 12 #"),
        (r"(?:ab)+c?", "ababc ab", "# #"),
        (r"ß", "groß", "gro#"),
    ],
)
def test_what_is_replaced(source: str, text: str, expected: str) -> None:
    assert Pattern(source).replace(text, "#") == expected


def test_a_replacement_is_literal() -> None:
    assert Pattern("(a)").replace("cat", r"\1\g<0>$&") == r"c\1\g<0>$&t"


@pytest.mark.parametrize(
    "source", ["(", "[", "a{2,1}", "*", "a*", "(a?)", "", "x|", "^", r"(a)\1", "(?=a)b", "(?<!a)b", "(?>a+)b", "a++"]
)
def test_what_cannot_be_used_is_refused(source: str) -> None:
    with pytest.raises(PatternError):
        Pattern(source)


@pytest.mark.parametrize(
    "source", ["(a{1,100}){1,100}b", "a{100000}", "(((a{50}){50}){50}){50}", "a" * 301, "(" * 149 + "a" + ")" * 149]
)
def test_a_pattern_that_is_too_large_is_refused_at_once(source: str) -> None:
    started = time.perf_counter()
    if source.startswith("(((((("):
        Pattern(source)  # deep, but small
    else:
        with pytest.raises(PatternError):
            Pattern(source)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("source", ["a(?:){20000000}", "a(?:(?:b{0}){65000}){65000}", "(?:(?:(?:){9999}){9999}){9999}a"])
def test_nothing_repeated_is_nothing(source: str) -> None:
    started = time.perf_counter()
    assert Pattern(source).replace("cat", "#") == "c#t"
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "source", ["(a+)+$", "(a|a)+b", "(a|aa)+$", "a+a+a+a+a+b", "(.*a){12}$", "([a-z]+)*x[0-9]", "(a|b)*a(a|b){14}c", "a+b"]
)
def test_patterns_that_hang_a_backtracking_engine_are_bounded(source: str) -> None:
    try:
        pattern = Pattern(source)
    except PatternError:
        return
    started = time.perf_counter()
    for text in ("a" * 30_000 + "!", "ab" * 1_000):
        try:
            pattern.replace(text, "#")
        except TooManySteps:
            continue
    assert time.perf_counter() - started < 15


def test_one_budget_is_for_all_patterns_of_a_reply() -> None:
    budget = Budget(0)
    budget.left = 2_000
    Pattern("ab").replace("a" * 600, "#", budget)
    with pytest.raises(TooManySteps):
        Pattern("cd").replace("c" * 600, "#", budget)  # as much again


_ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\d", "1", "(a|b)", "(ab|1)", r"\b"])
_PATTERNS = st.lists(st.tuples(_ATOMS, st.sampled_from(["", "", "+", "{1,2}", "{2}"])), min_size=1, max_size=5).map(
    lambda parts: "".join(atom + ("" if atom == r"\b" else times) for atom, times in parts)
)


@given(_PATTERNS, st.text(alphabet="ab1 \n", max_size=24))
def test_it_finds_a_match_exactly_where_re_does(source: str, text: str) -> None:
    try:
        pattern = Pattern(source)
    except PatternError:
        return
    expected = re.compile(source)
    found = list(pattern.matches(text, Budget(len(text))))
    assert all(expected.fullmatch(text, start, end) or r"\b" in source for start, end in found)
    first = expected.search(text)
    assert (found[0][0] if found else None) == (first.start() if first else None)
    if first:
        assert found[0][1] >= first.end()
