"""``make mutate``: draw mistakes, run for each the tests that touch it, name those that nobody noticed.

    python -m tests.mutation [--draw 200] [--seed N] [--only policy] [--seconds 60]

Resumable: the same seed on the same tree goes on where it was stopped. Ends with 1 where fewer than 90 % were noticed.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Literal

from tests.mutation.reach import KERNEL, ROOT, WORK, Reach, fingerprint, reach
from tests.mutation.sites import Site, sites

PACKAGES: Final = ("policy", "usage", "turns", "billing", "auth", "store", "host", "delivery")
GATE: Final = 0.9
EQUIVALENT: Final = Path(__file__).with_name("equivalent.txt")
SLOWEST: Final = 300.0
"""Seconds for the tests of one mutant: what runs over hangs, and somebody notices that."""


@dataclass(frozen=True)
class Mutant:
    """One mistake in one file."""

    path: str
    site: Site

    @property
    def package(self) -> str:
        return Path(self.path).parts[0]

    @property
    def key(self) -> str:
        """The same mistake in the same words, wherever it has moved to."""
        source = (KERNEL / self.path).read_text(encoding="utf-8")
        line = source.splitlines()[self.site.line - 1].strip()
        said = f"{self.path}|{line}|{source[self.site.start : self.site.end].strip()}|{self.site.text}"
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def diff(self) -> str:
        source = (KERNEL / self.path).read_text(encoding="utf-8")
        changed = self.site.apply(source)
        lines = difflib.unified_diff(source.splitlines(), changed.splitlines(), lineterm="", n=0)
        return "\n".join(f"    {line}" for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


@dataclass(frozen=True)
class Result:
    key: str
    path: str
    line: int
    kind: str
    outcome: Literal["noticed", "survived", "untested"]
    by: str
    diff: str


def draw(number: int, rng: random.Random, only: Sequence[str], kind: str = "") -> list[Mutant]:
    """Of all that can be made in these packages, without those that are none."""
    known = equivalent()
    found: dict[str, list[Mutant]] = {package: [] for package in only}
    for package, mutants in found.items():
        for path in sorted((KERNEL / package).rglob("*.py")):
            if "migrations" not in path.parts:
                where = str(path.relative_to(KERNEL))
                mutants += [Mutant(where, site) for site in sites(path.read_text(encoding="utf-8")) if kind in site.kind]
    everything = [one for mutants in found.values() for one in mutants]
    return [one for one in rng.sample(everything, min(len(everything), number + len(known))) if one.key not in known][:number]


def equivalent() -> set[str]:
    """Mistakes that are none, by their key; each line of the file says why."""
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    return {line.split()[0] for line in lines if line and not line.startswith("#")}


class Copies:
    """Copies of the kernel, one for each mutant at a time; tests import them in the place of the real one."""

    def __init__(self, number: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for place in range(number):
            folder = WORK / f"copy-{place}"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(KERNEL, folder / "tollhouse", ignore=shutil.ignore_patterns("__pycache__"))
            self._free.put(folder)

    def run(self, mutant: Mutant, tests: Sequence[str]) -> str | None:
        """What the tests say of it: the first that fails, or None."""
        folder = self._free.get()
        target = folder / "tollhouse" / mutant.path
        original = (KERNEL / mutant.path).read_text(encoding="utf-8")
        try:
            target.write_text(mutant.site.apply(original), encoding="utf-8")
            return _run(folder, tests)
        finally:
            target.write_text(original, encoding="utf-8")
            self._free.put(folder)


def _run(folder: Path, tests: Sequence[str]) -> str | None:
    named = folder / "tests.txt"
    named.write_text("\n".join(tests), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", f"@{named}"]
    environ = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=SLOWEST, check=False)
    except subprocess.TimeoutExpired:
        return "it hung"
    if done.returncode == 0:
        return None
    failed = [
        line.split(" ", 1)[1].split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))
    ]
    return failed[0] if failed else f"pytest ended with {done.returncode}"


def within(tests: Sequence[str], found: Reach, seconds: float) -> list[str]:
    """The quickest of them that fit into this time; one at least."""
    taken, left = [], seconds
    for test in tests:
        left -= found.seconds(test)
        if taken and left < 0:
            break
        taken.append(test)
    return taken


def judge(mutant: Mutant, found: Reach, copies: Copies, seconds: float) -> Result:
    tests = found.tests_of(KERNEL / mutant.path, mutant.site.line)
    said = copies.run(mutant, within(tests, found, seconds)) if tests else None
    outcome: Literal["noticed", "survived", "untested"] = "noticed" if said else "survived" if tests else "untested"
    return Result(mutant.key, mutant.path, mutant.site.line, mutant.site.kind, outcome, said or "", mutant.diff())


def results(mutants: Sequence[Mutant], done: Path, seconds: float, jobs: int) -> Iterator[Result]:
    """One for each, as they come; those of an earlier run first."""
    before = {}
    if done.exists():
        before = {row["key"]: Result(**row) for row in map(json.loads, done.read_text(encoding="utf-8").splitlines())}
    waiting = [one for one in mutants if one.key not in before]
    yield from (before[one.key] for one in mutants if one.key in before)
    if not waiting:
        return
    found, copies = reach(), Copies(jobs)
    with ThreadPoolExecutor(jobs) as pool, done.open("a", encoding="utf-8") as log:
        for result in pool.map(lambda one: judge(one, found, copies, seconds), waiting):
            log.write(json.dumps(asdict(result)) + "\n")
            log.flush()
            yield result


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draw", type=int, default=200, help="how many mistakes (200)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="draw the same ones again")
    parser.add_argument("--only", action="append", choices=PACKAGES, help="one package, or several")
    parser.add_argument("--kind", default="", help="only mistakes of this kind, such as SQL or tenant")
    parser.add_argument("--seconds", type=float, default=60, help="of tests for each, by their usual time (60)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    mutants = draw(given.draw, random.Random(given.seed), given.only or PACKAGES, given.kind)
    print(f"{len(mutants)} mistakes, drawn with --seed {given.seed}", flush=True)
    counted: Counter[str] = Counter()
    by_package: dict[str, Counter[str]] = {package: Counter() for package in PACKAGES}
    unnoticed = []
    for place, result in enumerate(
        results(mutants, WORK / f"{fingerprint()}-{given.seed}.jsonl", given.seconds, given.jobs), 1
    ):
        counted[result.outcome] += 1
        by_package[Path(result.path).parts[0]][result.outcome] += 1
        if result.outcome != "noticed":
            unnoticed.append(result)
        print(
            f"[{place}/{len(mutants)}] {result.outcome:<8} {result.path}:{result.line} ({result.kind}) {result.by}", flush=True
        )
    print()
    for result in unnoticed:
        print(f"{result.outcome}: {result.path}:{result.line} ({result.kind}, {result.key})\n{result.diff}\n")
    for package, counts in by_package.items():
        if counts:
            print(f"{package:<10}{counts['noticed']:>4} of {counts.total()}")
    share = counted["noticed"] / len(mutants)
    print(f"{counted['noticed']} of {len(mutants)} noticed: {share:.0%}; asked for are {GATE:.0%}")
    return 0 if share >= GATE else 1


if __name__ == "__main__":
    raise SystemExit(main())
