"""Which tests touch which line: one run of the suite under coverage, kept for as long as kernel and tests stay as they are.

A line of a function is touched by the tests that ran it. A line that runs at import, such as a statement's SQL, is touched by
the tests that ran a function which names what it defines, directly or by way of other names.
"""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Final

from coverage import CoverageData

ROOT: Final = Path(__file__).parents[2]
KERNEL: Final = ROOT / "kernel" / "tollhouse"
WORK: Final = ROOT / ".mutation"
UNDER: Final = ("tests/kernel", "tests/flows", "plugins")
WITHOUT: Final = ("tests/flows/test_browser.py", "tests/kernel/starts", "tests/kernel/store/embedded")
"""They drive other processes, in which nobody counts lines."""


class Reach:
    """The map from lines to tests, and how long each test takes."""

    def __init__(self, data: CoverageData, seconds: dict[str, float]) -> None:
        self._data = data
        self._seconds = seconds

    def tests_of(self, path: Path, line: int) -> list[str]:
        """Those that passed and touch this line, the quick ones first."""
        found: set[str] = set()
        for where, number in [(path, line), *self._by_name(path, line)]:
            found |= self._contexts(where).get(number, frozenset())
        return sorted((one for one in found if one in self._seconds), key=lambda one: (self._seconds[one], one))

    def seconds(self, test: str) -> float:
        return self._seconds[test]

    def _contexts(self, path: Path) -> dict[int, frozenset[str]]:
        if path not in self._known:
            by_line = self._data.contexts_by_lineno(str(path))
            self._known[path] = {
                number: frozenset(one.rpartition("|")[0] for one in contexts if one) for number, contexts in by_line.items()
            }
        return self._known[path]

    @cached_property
    def _known(self) -> dict[Path, dict[int, frozenset[str]]]:
        return {}

    def _by_name(self, path: Path, line: int) -> list[tuple[Path, int]]:
        name = _defined_at(path, line)
        if name is None:
            return []
        names, lines = {name}, []
        while True:
            pattern = re.compile(r"\b(" + "|".join(map(re.escape, sorted(names))) + r")\b")
            found = {other for other in self._definitions if other not in names and pattern.search(self._definitions[other])}
            if not found:
                break
            names |= found
        for where, text in self._sources.items():
            lines += [(where, number) for number, row in enumerate(text.splitlines(), 1) if pattern.search(row)]
        return lines

    @cached_property
    def _sources(self) -> dict[Path, str]:
        return {path: path.read_text(encoding="utf-8") for path in KERNEL.rglob("*.py") if "migrations" not in path.parts}

    @cached_property
    def _definitions(self) -> dict[str, str]:
        """What every name of a module stands for, as text; names are unique enough for finding tests."""
        found: dict[str, str] = defaultdict(str)
        for text in self._sources.values():
            for node in ast.parse(text).body:
                for name in _names(node):
                    found[name] += ast.get_source_segment(text, node) or ""
        return found


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _defined_at(path: Path, line: int) -> str | None:
    """The name whose definition this line of a module belongs to; a class gives its own name for its fields."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if node.lineno <= line <= (node.end_lineno or node.lineno):
            if isinstance(node, ast.ClassDef):
                inside = any(
                    one.lineno <= line <= (one.end_lineno or 0)
                    for one in ast.walk(node)
                    if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
                )
                return None if inside else node.name
            return next(iter(_names(node)), None)
    return None


def fingerprint() -> str:
    """Of kernel, plugins and tests as they are."""
    digest = hashlib.sha256()
    for folder in (KERNEL, ROOT / "tests", ROOT / "plugins"):
        for path in sorted(folder.rglob("*.py")):
            if "node_modules" not in path.parts and "mutation" not in path.parts:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def reach() -> Reach:
    """The map of today's tree; made by a run of the suite where there is none."""
    WORK.mkdir(exist_ok=True)
    stem = WORK / fingerprint()
    data_file, times_file = stem.with_suffix(".coverage"), stem.with_suffix(".xml")
    if not times_file.exists():
        print("running the suite once, to learn which tests touch which line …", flush=True)
        setup = WORK / "coverage.ini"
        setup.write_text(f"[run]\ndata_file = {data_file}\ndynamic_context = none\nsource = {KERNEL}\n", encoding="utf-8")
        skip = [f"--ignore={one}" for one in WITHOUT]
        cov = [f"--cov={KERNEL}", f"--cov-config={setup}", "--cov-context=test", "--cov-report="]
        command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", *cov, *skip, *UNDER]
        done = subprocess.run([*command, f"--junitxml={times_file}.part"], cwd=ROOT, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit("the suite did not run")
        Path(f"{times_file}.part").rename(times_file)
    data = CoverageData(str(data_file))
    data.read()
    return Reach(data, _times(times_file))


def _times(path: Path) -> dict[str, float]:
    """The tests that passed, by their address, with their seconds."""
    found = {}
    for case in ET.parse(path).iter("testcase"):
        if not list(case):  # neither failed nor skipped
            found[_address(case.attrib["classname"], case.attrib["name"])] = float(case.attrib["time"])
    return found


def _address(classname: str, name: str) -> str:
    parts = classname.split(".")
    for length in range(len(parts), 0, -1):
        file = "/".join(parts[:length]) + ".py"
        if (ROOT / file).exists():
            return "::".join([file, *parts[length:], name])
    return f"{classname}::{name}"
