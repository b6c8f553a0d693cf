"""Small is a promise: the packages that everybody has to trust stay readable in a sitting.

What counts is code: lines that are not empty, and neither comment nor docstring. An explanation makes nothing longer to check.
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

KERNEL = Path(__file__).parents[2] / "kernel" / "tollhouse"
TRUSTED = ("plugin", "host", "policy", "usage", "runtime")
PROMISE = 6_000
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    """How many lines hold code. Other texts of several lines, such as SQL, are code."""
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            text = node.body[0]
            held -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(held)


def test_the_packages_that_are_trusted_stay_small() -> None:
    sizes = {
        package: sum(lines_of_code(path.read_text(encoding="utf-8")) for path in (KERNEL / package).rglob("*.py"))
        for package in TRUSTED
    }
    assert all(sizes.values()), sizes
    assert sum(sizes.values()) < PROMISE, f"{sum(sizes.values())} lines: {sizes}"


def test_code_is_counted_and_what_explains_it_is_not() -> None:
    source = '''"""A module.

On several lines.
"""

# A comment.
SQL = """
    SELECT 1
"""


def f(x):  # why
    """What it does."""
    return (
        x,
    )
'''
    assert lines_of_code(source) == 7
