"""Regular expressions of tenants, matched in bounded time.

Python's ``re`` backtracks: one bad pattern, or one bad reply, holds the whole process for minutes, and no timeout can stop it.
Here a pattern is parsed by ``re``'s own parser and run as an automaton whose states are made as they are met, so a step is a
dictionary look-up; the steps are counted, and a reply that would take too many is withheld instead of slipping through.

Matches are the leftmost-longest ones. Left out, and refused on save: look-around, back-references, atomic and possessive forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

MAX_PATTERN = 300
MAX_NODES = 3_000
MAX_STATES = 2_000
STEPS: Final = 200_000
STEPS_PER_CHARACTER: Final = 30
MOST_STEPS: Final = 20_000_000
"""Three seconds in a thread, however long the reply."""
SKIPPED: Final = 8
"""Characters with which no match begins, and that take as long as one step."""

_EDGE, _NEWLINE, _WORD, _OTHER = range(4)
Test = Callable[[str], bool]


class PatternError(ValueError):
    """A pattern that cannot be used, and why."""


class TooManySteps(Exception):
    """The text would take too long to search."""


class Budget:
    """Steps that are left for one reply, over all of its patterns (or for its schema): in proportion to both."""

    __slots__ = ("left",)

    def __init__(self, characters: int, patterns: int = 1, *, steps: int = STEPS) -> None:
        self.left = min(steps + STEPS_PER_CHARACTER * characters * patterns, MOST_STEPS)

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooManySteps()


class _State:
    """A closed set of nodes: whether it ends a match, and where each character leads (None: nowhere)."""

    __slots__ = ("accepting", "consuming", "steps")

    def __init__(self, accepting: bool, consuming: frozenset[int]) -> None:
        self.accepting = accepting
        self.consuming = consuming
        self.steps: dict[str, frozenset[int] | None] = {}


class Pattern:
    """A compiled pattern. Safe to use from several threads: caches are only ever added to or replaced."""

    def __init__(self, source: str) -> None:
        """Raises:
        PatternError: malformed, too large, able to match nothing, or using what is left out here.
        """
        if len(source) > MAX_PATTERN:
            raise PatternError(f"a pattern has at most {MAX_PATTERN} characters")
        self._nodes = _Builder()
        try:
            parsed = _parser.parse(source)
            if parsed.getwidth()[0] == 0:
                raise PatternError("this pattern matches an empty text, so it would match everywhere")
            self._first = frozenset({self._nodes.sequence(parsed, parsed.state.flags, _Builder.MATCH)})
        except (re.error, OverflowError) as error:
            raise PatternError(f"not a regular expression: {error}") from None
        except RecursionError:
            raise PatternError("this pattern is nested too deeply") from None
        self._states: dict[tuple[frozenset[int], int], _State] = {}

    def replace(self, text: str, replacement: str, budget: Budget | None = None) -> str:
        """``text`` with each match replaced by ``replacement``, which is taken literally.

        Raises:
            TooManySteps: the budget is spent.
        """
        out: list[str] = []
        end, budget = 0, budget or Budget(len(text))
        for start, stop in self.matches(text, budget):
            budget.spend(len(replacement))  # what comes of it is in proportion, too
            out += (text[end:start], replacement)
            end = stop
        return "".join(out) + text[end:] if out else text

    def matches(self, text: str, budget: Budget) -> Iterator[tuple[int, int]]:
        """Start and end of each match, left to right, not overlapping."""
        start, size, skipped = 0, len(text), 0
        begins = {} if self._nodes.anchored else self._state(self._first, 0, budget).steps
        while start < size:
            if begins.get(text[start], self._first) is None:
                start, skipped = start + 1, skipped + 1
                continue
            end = self._longest(text, start, budget)
            if end > start:
                yield start, end
            start = end if end > start else start + 1
            if skipped >= SKIPPED:
                budget.spend(skipped // SKIPPED)
                skipped = 0

    def _longest(self, text: str, start: int, budget: Budget) -> int:
        """Where the longest match from ``start`` ends; ``start`` if there is none."""
        found, place, size = start, start, len(text)
        pending: frozenset[int] | None = self._first
        while pending is not None:
            around = _surroundings(text, place) if self._nodes.anchored else 0
            state = self._state(pending, around, budget)
            if state.accepting:
                found = place
            if place == size:
                break
            char = text[place]
            pending = state.steps[char] if char in state.steps else self._step(state, char, budget)
            place += 1
        budget.spend(place - start)
        return found

    def _state(self, pending: frozenset[int], around: int, budget: Budget) -> _State:
        return self._states.get((pending, around)) or self._close(pending, around, budget)

    def _step(self, state: _State, char: str, budget: Budget) -> frozenset[int] | None:
        budget.spend(len(state.consuming))
        tests, following = self._nodes.tests, self._nodes.following
        reached = frozenset(following[node][0] for node in state.consuming if tests[node](char))  # type: ignore[misc]
        state.steps[char] = reached or None
        return reached or None

    def _close(self, pending: frozenset[int], around: int, budget: Budget) -> _State:
        """Follow everything that consumes no character."""
        seen = set(pending)
        stack = list(pending)
        while stack:
            node = stack.pop()
            guard = self._nodes.guards[node]
            if self._nodes.tests[node] is not None or (guard is not None and not guard(around)):
                continue
            fresh = [target for target in self._nodes.following[node] if target not in seen]
            seen.update(fresh)
            stack += fresh
        budget.spend(len(seen))
        state = _State(_Builder.MATCH in seen, frozenset(node for node in seen if self._nodes.tests[node] is not None))
        if len(self._states) >= MAX_STATES:
            self._states = {}
        self._states[pending, around] = state
        return state


class _Builder:
    """Thompson's construction, from the end to the beginning. A node tests a character, or guards, or only leads on."""

    MATCH = 0

    def __init__(self) -> None:
        self.tests: list[Test | None] = [None]
        self.guards: list[Callable[[int], bool] | None] = [None]
        self.following: list[list[int]] = [[]]
        self.anchored = False

    def _add(self, following: list[int], test: Test | None = None, guard: Callable[[int], bool] | None = None) -> int:
        if len(self.tests) >= MAX_NODES:
            raise PatternError("this pattern is too large; use smaller repetitions")
        self.tests.append(test)
        self.guards.append(guard)
        self.following.append(following)
        return len(self.tests) - 1

    def sequence(self, items: Iterable[Any], flags: int, then: int) -> int:
        for code, value in reversed(list(items)):
            then = self._item(code, value, flags, then)
        return then

    def _item(self, code: Any, value: Any, flags: int, then: int) -> int:
        if code in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            return self._add([then], test=_test(code, value, flags))
        if code is op.BRANCH:
            return self._add([self.sequence(choice, flags, then) for choice in value[1]])
        if code is op.SUBPATTERN:
            _, added, removed, items = value
            return self.sequence(items, (flags | added) & ~removed, then)
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            low, high, items = value
            return self._repeat(low, high, items, flags, then)
        if code is op.AT:
            self.anchored = True
            return self._add([then], guard=_guard(value, flags))
        raise PatternError(f"{str(code).lower().replace('_', ' ')} is not supported here")

    def _repeat(self, low: Any, high: Any, items: Any, flags: int, then: int) -> int:
        if high is op.MAXREPEAT:
            loop = self._add([then])
            self.following[loop].append(self.sequence(items, flags, loop))
            then = loop
        else:
            leave = then
            for _ in range(int(high) - int(low)):
                then = self._add([leave, self.sequence(items, flags, then)])
        for _ in range(int(low)):
            before, then = then, self.sequence(items, flags, then)
            if then == before:  # nothing, twenty million times, is nothing
                break
        return then


def _surroundings(text: str, place: int) -> int:
    """What stands before and after a place, as far as an anchor can ask."""
    before = _kind(text[place - 1]) if place > 0 else _EDGE
    after = _kind(text[place]) if place < len(text) else _EDGE
    return before * 4 + after


def _kind(char: str) -> int:
    if char == "\n":
        return _NEWLINE
    return _WORD if char.isalnum() or char == "_" else _OTHER


def _guard(value: Any, flags: int) -> Callable[[int], bool]:
    line = bool(flags & re.MULTILINE)
    edges = (_EDGE, _NEWLINE) if line else (_EDGE,)
    if value is op.AT_BEGINNING:
        return lambda around: around // 4 in edges
    if value is op.AT_BEGINNING_STRING:
        return lambda around: around // 4 == _EDGE
    if value is op.AT_END:
        return lambda around: around % 4 in edges
    if value is op.AT_END_STRING:
        return lambda around: around % 4 == _EDGE
    if value in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
        wanted = value is op.AT_BOUNDARY
        return lambda around: ((around // 4 == _WORD) != (around % 4 == _WORD)) is wanted
    raise PatternError(f"{str(value).lower().replace('_', ' ')} is not supported here")


def _test(code: Any, value: Any, flags: int) -> Test:
    if code is op.ANY:
        return (lambda char: True) if flags & re.DOTALL else (lambda char: char != "\n")
    if code is op.LITERAL:
        parts, negated = [(op.LITERAL, value)], False
    elif code is op.NOT_LITERAL:
        parts, negated = [(op.LITERAL, value)], True
    else:
        negated = value[0][0] is op.NEGATE
        parts = value[1:] if negated else value
    members = [_member(*part) for part in parts]

    def plain(char: str) -> bool:
        return any(member(char) for member in members) is not negated

    def caseless(char: str) -> bool:
        forms = {form for form in (char, char.lower(), char.upper()) if len(form) == 1}
        return any(member(form) for member in members for form in forms) is not negated

    return caseless if flags & re.IGNORECASE else plain


def _member(code: Any, value: Any) -> Test:
    if code is op.LITERAL:
        wanted = chr(value)
        return lambda char: char == wanted
    if code is op.RANGE:
        low, high = chr(value[0]), chr(value[1])
        return lambda char: low <= char <= high
    if code is op.CATEGORY:
        return _CATEGORIES[value]
    raise PatternError(f"{str(code).lower().replace('_', ' ')} is not supported here")


_CATEGORIES: Final[dict[Any, Test]] = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_NOT_DIGIT: lambda char: not char.isdecimal(),
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    op.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
    op.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
}
