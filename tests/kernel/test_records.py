"""Records: values for the type checker, plain objects for the interpreter."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tollhouse.records import record

MUTATION = """
from tollhouse.usage.counters import Standing

def spend(standing: Standing) -> None:
    standing.used += 1
"""


@record(frozen=True, slots=True)
class Place:
    """An example."""

    street: str
    number: int = 1


def test_a_record_is_its_value() -> None:
    here = Place("Market Street")
    assert here == Place("Market Street", 1)
    assert {here: "here"}[Place("Market Street")] == "here"
    assert replace(here, number=2) == Place("Market Street", 2)
    assert not hasattr(here, "__dict__")


def test_the_type_checker_keeps_it_from_changing(tmp_path: Path) -> None:
    file = tmp_path / "mutation.py"
    file.write_text(MUTATION)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 'Property "used" defined in "Standing" is read-only' in result.stdout, result.stdout + result.stderr
