"""Where a small mistake can be made, and what it would be: edits of the text, found by the syntax tree.

Python's own operators, constants and statements, and the words of SQL inside of strings, because half of what the kernel
promises stands there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

COMPARE: Final = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "is": "is not",
    "is not": "is",
    "in": "not in",
    "not in": "in",
}
BOOL: Final = {"and": "or", "or": "and"}
ARITHMETIC: Final = {"+": "-", "-": "+", "*": "+", "//": "*", "%": "+", "|": "&", "&": "|"}
CALLS: Final = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}

LOOKS_LIKE_SQL: Final = re.compile(r"\b(SELECT|UPDATE|INSERT INTO|DELETE FROM|WHERE|ON CONFLICT|RETURNING|FILTER)\b")
SQL: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\btenant_id = :tenant(_id)?\b", "true"),
        (r"(?<=\s)<=(?=\s)", "<"),
        (r"(?<=\s)<(?=\s)", "<="),
        (r"(?<=\s)>=(?=\s)", ">"),
        (r"(?<=\s)>(?=\s)", ">="),
        (r"(?<=[\w)\"]\s)=(?=\s)", "<>"),
        (r"(?<=\s)<>(?=\s)", "="),
        (r"(?<=\s)\+(?=\s)", "-"),
        (r"(?<=\s)-(?=\s)", "+"),
        (r"\bAND\b", "OR"),
        (r"\bNOT (?=IN|EXISTS|\w+\.)", ""),
        (r"\bIS NOT NULL\b", "IS NULL"),
        (r"\bIS NULL\b", "IS NOT NULL"),
        (r"\bgreatest\b", "least"),
        (r"\bleast\b", "greatest"),
        (r"\bFOR UPDATE( OF \w+)?( SKIP LOCKED)?", ""),
        (r"\bSKIP LOCKED\b", ""),
        (r"\bDESC\b", ""),
        (r"\bDISTINCT\b", ""),
        (r"\bUNION ALL\b", "UNION"),
        (r"\bLEFT JOIN\b", "JOIN"),
        (r"'(open|settled|released|expired|running|done|failed|active|paid|pending|new|quarantined)'", "'mutant'"),
    )
)
"""What a careless hand does to a statement."""

SKIPPED_CALLS: Final = frozenset({"log", "logger"})


@dataclass(frozen=True, slots=True)
class Site:
    """One mistake: the characters from ``start`` to ``end`` of the file become ``text``."""

    start: int
    end: int
    text: str
    line: int
    kind: str

    def apply(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]


class _Offsets:
    """From the syntax tree's lines and columns, which count bytes, to places in the text."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        text = self._lines[line - 1]
        return self._starts[line - 1] + len(text.encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)


def sites(source: str) -> list[Site]:
    """Every mistake that can be made in this file, each of which still compiles."""
    tree = ast.parse(source)
    found = {site for site in _Finder(source, tree).all() if _compiles(site.apply(source))}
    return sorted(found, key=lambda site: (site.start, site.end, site.text))


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class _Finder:
    def __init__(self, source: str, tree: ast.Module) -> None:
        self._source = source
        self._tree = tree
        self._offsets = _Offsets(source)
        self._skipped = self._without_meaning()

    def all(self) -> Iterator[Site]:
        yield from self._walk(self._tree)

    def _without_meaning(self) -> set[ast.AST]:
        """Docstrings, annotations, what is for type checkers, and what is only logged."""
        skipped: set[ast.AST] = set()
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                skipped.update(one for one in node.body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                skipped.update(one for one in (node.returns, *node.decorator_list) if one is not None)
                if node.name in ("__repr__", "__str__"):
                    skipped.add(node)
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
                skipped.add(node.annotation)
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                skipped.add(node)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id in SKIPPED_CALLS:
                    skipped.add(node)
            if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
                skipped.add(node)
        return skipped

    def _walk(self, node: ast.AST) -> Iterator[Site]:
        if node in self._skipped:
            return
        yield from self._here(node)
        for child in ast.iter_child_nodes(node):
            yield from self._walk(child)

    def _here(self, node: ast.AST) -> Iterator[Site]:
        match node:
            case ast.Compare():
                yield from self._tenant(node)
                for left, right in pairwise([node.left, *node.comparators]):
                    yield from self._between(left, right, COMPARE, "comparison")
            case ast.BoolOp():
                for left, right in pairwise(node.values):
                    yield from self._between(left, right, BOOL, "condition")
            case ast.BinOp():
                yield from self._between(node.left, node.right, ARITHMETIC, "arithmetic")
            case ast.UnaryOp(op=ast.Not()):
                start, end = self._offsets.span(node.operand)
                yield self._site(self._offsets.span(node)[0], end, self._source[start:end], node.lineno, "negation dropped")
            case ast.Constant() | ast.JoinedStr():
                yield from self._constant(node)
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                start, end = self._offsets.span(node.func)
                yield self._site(start, end, CALLS[name], node.lineno, "function")
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                start, end = self._offsets.span(value)
                yield self._site(start, end, "None", node.lineno, "answer dropped")
            case ast.Expr(value=ast.Await() | ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete():
                if not (isinstance(node, ast.Expr) and node.value in self._skipped):
                    start, end = self._offsets.span(node)
                    yield self._site(start, end, "pass", node.lineno, "statement dropped")

    def _site(self, start: int, end: int, text: str, line: int, kind: str) -> Site:
        return Site(start, end, text, line, kind)

    def _between(self, left: ast.expr, right: ast.expr, words: dict[str, str], kind: str) -> Iterator[Site]:
        start, end = self._offsets.span(left)[1], self._offsets.span(right)[0]
        gap = self._source[start:end]
        for word in sorted(words, key=len, reverse=True):
            pattern = rf"\b{word}\b" if word[0].isalpha() else rf"(?<![<>=!*/]){re.escape(word)}(?![<>=*/])"
            if match := re.search(pattern, gap):
                line = self._source.count("\n", 0, start + match.start()) + 1
                yield self._site(start + match.start(), start + match.end(), words[word], line, kind)
                return

    def _tenant(self, node: ast.Compare) -> Iterator[Site]:
        """A filter by tenant that is forgotten: row-level security would hide it."""
        match node:
            case ast.Compare(left=ast.Attribute(attr="tenant_id") as column, ops=[ast.Eq()], comparators=[other]):
                start, end = self._offsets.span(column)
                yield self._site(*self._offsets.span(other), self._source[start:end], node.lineno, "tenant forgotten")

    def _constant(self, node: ast.Constant | ast.JoinedStr) -> Iterator[Site]:
        start, end = self._offsets.span(node)
        text = self._source[start:end]
        if isinstance(node, ast.JoinedStr) or isinstance(node.value, str):
            if LOOKS_LIKE_SQL.search(text):
                yield from self._sql(start, text)
        elif isinstance(node.value, bool):
            yield self._site(start, end, str(not node.value), node.lineno, "constant")
        elif isinstance(node.value, int) and abs(node.value) <= 2:  # a cache of 1,001 instead of 1,000 is no mistake
            yield self._site(start, end, f"({text} + 1)", node.lineno, "constant")

    def _sql(self, start: int, text: str) -> Iterator[Site]:
        for pattern, replacement in SQL:
            for match in pattern.finditer(text):
                line = self._source.count("\n", 0, start + match.start()) + 1
                kind = "tenant forgotten" if "tenant" in pattern.pattern else "SQL"
                yield self._site(start + match.start(), start + match.end(), replacement, line, kind)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
