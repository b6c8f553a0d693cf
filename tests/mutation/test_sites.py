"""The mistakes that are made, and those that are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.__main__ import Copies, Mutant, equivalent
from tests.mutation.reach import KERNEL
from tests.mutation.sites import sites


def mutants_of(source: str) -> set[str]:
    return {site.apply(source) for site in sites(source)}


@pytest.mark.parametrize(
    ("source", "mutant"),
    [
        ("a < b", "a <= b"),
        ("a >= b", "a > b"),
        ("x not in y", "x in y"),
        ("x is None", "x is not None"),
        ("a and b", "a or b"),
        ("if not done: pass", "if done: pass"),
        ("a + b", "a - b"),
        ("a // b", "a * b"),
        ("limit = 1", "limit = (1 + 1)"),
        ("hard = True", "hard = False"),
        ("min(a, b)", "max(a, b)"),
        ("def f():\n    return x", "def f():\n    return None"),
        ("async def f():\n    await lock()\n    go()", "async def f():\n    pass\n    go()"),
        ("used += 1", "pass"),
        ('Q = "SELECT 1 FROM t WHERE a = 1 AND b < 2"', 'Q = "SELECT 1 FROM t WHERE a = 1 OR b < 2"'),
        ('Q = "SELECT 1 FROM t WHERE b < 2"', 'Q = "SELECT 1 FROM t WHERE b <= 2"'),
        ('Q = f"SELECT {x} FROM t ORDER BY id FOR UPDATE"', 'Q = f"SELECT {x} FROM t ORDER BY id "'),
        ("Q = \"UPDATE t SET state = 'done' WHERE true\"", "Q = \"UPDATE t SET state = 'mutant' WHERE true\""),
        ("w(users.tenant_id == tenant_id)", "w(users.tenant_id == users.tenant_id)"),
        ('Q = "DELETE FROM t WHERE tenant_id = :tenant"', 'Q = "DELETE FROM t WHERE true"'),
        ("größe = 'ä' if a < b else 'ö'", "größe = 'ä' if a <= b else 'ö'"),
    ],
)
def test_a_mistake_that_is_made(source: str, mutant: str) -> None:
    assert mutant in mutants_of(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Only words: a < b, 1 and 2."""',
        "def f(a: int | None) -> int | None: ...",
        "log.info('%d', a + 1)",
        "assert a < b",
        "from a import b",
        "class A:\n    def __repr__(self):\n        return 'a' + 'b'",
        "cache = 1000",
    ],
)
def test_where_none_is_made(source: str) -> None:
    assert mutants_of(source) == set()


def test_every_mistake_compiles_and_changes_the_file() -> None:
    source = (KERNEL / "usage" / "holds.py").read_text(encoding="utf-8")
    found = mutants_of(source)
    assert len(found) > 10
    assert source not in found


def test_tests_import_the_copy_with_the_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.mutation.__main__.WORK", tmp_path)
    story = tmp_path / "test_story.py"
    story.write_text(
        "from tollhouse.usage.counters import Standing\n\n\ndef test_it():\n    assert Standing(1, 2).holding(3).held == 5\n",
        encoding="utf-8",
    )
    copies = Copies(1)
    source = (KERNEL / "usage" / "counters.py").read_text(encoding="utf-8")
    sum_up = next(site for site in sites(source) if site.kind == "arithmetic" and "held + amount" in line_of(source, site.line))
    assert "test_it" in str(copies.run(Mutant("usage/counters.py", sum_up), [str(story)]))
    harmless = next(site for site in sites(source) if site.line != sum_up.line)
    assert copies.run(Mutant("usage/counters.py", harmless), [str(story)]) is None


def line_of(source: str, number: int) -> str:
    return source.splitlines()[number - 1]


def test_what_is_said_to_be_no_mistake_has_a_reason() -> None:
    path = Path(__file__).with_name("equivalent.txt")
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert len(line.split(maxsplit=2)) == 3, line
    assert all(len(key) == 12 for key in equivalent())


def test_the_command_says_what_it_takes() -> None:
    command = [sys.executable, "-m", "tests.mutation", "--help"]
    said = subprocess.run(command, cwd=KERNEL.parents[1], env=os.environ, capture_output=True, text=True, check=True)
    assert "--seed" in said.stdout
