r"""What Markdown would spoil: formulas (``$…$``, ``$$…$$``, ``\(…\)``, ``\[…\]``) and footnotes. They are shown as written.

A formula is looked for within a bounded distance, so that no row of openers makes the search anything but linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from markdown_it import MarkdownIt

LONGEST = 2_000
"""Characters of a formula."""
_CLOSERS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_DOLLARS = re.compile(r"\$(?![\s$])[^$\n]{0,500}(?<![\s\\])\$(?!\d)")
"""A formula between dollars, as Pandoc has it: "$20 and $30" is money."""


def _inline(state: Any, silent: bool) -> bool:
    """A formula in a text; before escapes and emphasis are looked for."""
    start = state.pos
    if state.src[start] not in "\\$":
        return False
    end = -1
    if (closer := _CLOSERS.get(state.src[start : start + 2])) is not None:
        end = state.src.find(closer, start + 3, min(start + LONGEST, state.posMax))
    elif (found := _DOLLARS.match(state.src, start, state.posMax)) is not None:
        end = found.end() - 2
    if end < 0:
        return False
    if not silent:
        state.push("formula", "", 0).content = state.src[start : end + 2]
    state.pos = end + 2
    return True


def _block(state: Any, start: int, end: int, silent: bool) -> bool:
    """A formula on lines of its own, which may be empty ones too."""
    first = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    closer = _CLOSERS.get(first[:2])
    if first[1:2] == "(" or closer is None or state.is_code_block(start):
        return False
    at = state.src.find(closer, state.bMarks[start] + state.tShift[start] + 2, state.bMarks[start] + LONGEST)
    if at < 0:
        return False
    line, rest = start, first[2:]
    while closer not in rest:
        line += 1
        if line >= end or (state.sCount[line] < state.blkIndent and not state.isEmpty(line)):
            return False
        rest = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
    if rest.rpartition(closer)[2].strip(" .,;"):
        return False  # more is said behind it: then it stands within a text
    if not silent:
        state.line = line + 1
        token = state.push("formula_block", "", 0)
        token.content = state.getLines(start, line + 1, state.blkIndent, False)
        token.map = [start, line + 1]
    return True


def _no_footnotes(reference: Callable[..., bool]) -> Callable[..., bool]:
    """``[^1]: …`` explains a footnote; taken for the definition of a link it would be gone, and its first word an address."""

    def rule(state: Any, start: int, end: int, silent: bool) -> bool:
        at = state.bMarks[start] + state.tShift[start]
        return not state.src.startswith("[^", at) and reference(state, start, end, silent)

    return rule


def keep(parser: MarkdownIt) -> None:
    """Teach the parser to leave these alone."""
    reference = next(rule.fn for rule in parser.block.ruler.__rules__ if rule.name == "reference")
    parser.block.ruler.at("reference", _no_footnotes(reference))
    stops = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "formula_block", _block, stops)  # type: ignore[arg-type]
    parser.inline.ruler.before("escape", "formula", _inline)
