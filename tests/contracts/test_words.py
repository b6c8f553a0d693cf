"""What must not stand in a file of the project: addresses of package indexes, paths of somebody's machine, notes to oneself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = (".woff2", ".png", ".jpg", ".ico", ".min.js")

# Written in pieces, so that this file does not hold what it forbids.
FORBIDDEN = {
    "the address of a package index": re.compile("pypi" + r"\.org|python" + "hosted|--(extra-)?index" + "-url"),
    "a path of somebody's machine": re.compile(r"(?<![\w.~$}/])/(?:ho" + r"me|ro" + r"ot|wo" + r"rk|Us" + r"ers)/\w"),
    "a note to oneself": re.compile(r"\b(?:TO" + "DO|FIX" + "ME|X" + r"XX)\b"),
    "a conflict": re.compile("^(?:<{7}|>{7}) ", re.MULTILINE),
}
ALLOWED = {
    "a note to oneself": {"tests/kernel/tenants/test_tenants.py"},  # a currency's code
}


def tracked() -> list[Path]:
    """Every file of the project; without git (an unpacked archive) there is nothing to ask."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.splitlines() if not name.endswith(SKIPPED) and (ROOT / name).is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if name in ALLOWED.get(what, ()):
            continue
        text = path.read_text(encoding="utf-8")
        found += [f"{name}:{text.count(chr(10), 0, m.start()) + 1}: {m.group()}" for m in FORBIDDEN[what].finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("the address of a package index", "https://pypi" + ".org/simple"),
        ("the address of a package index", "--index" + "-url https://packages.example"),
        ("a path of somebody's machine", "cd /ho" + "me/ada/tollhouse"),
        ("a note to oneself", "# TO" + "DO: later"),
        ("a conflict", "x\n<<<<" + "<<< HEAD\n"),
    ],
)
def test_it_would_be_found(what: str, text: str) -> None:
    assert FORBIDDEN[what].search(text)


@pytest.mark.parametrize("text", ["GET /api/v1/work/items", "https://example.com/home/page", "${HOME}/work/x"])
def test_what_only_looks_so_is_not(text: str) -> None:
    assert not any(pattern.search(text) for pattern in FORBIDDEN.values())


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_locks_hold_versions_and_hashes_only(lock: Path) -> None:
    """Each line is a version (with its marker) or a hash of the version above it; and every version has one."""
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip())
    shape = re.compile(r"[a-z0-9-]+==[^\s;]+( ; [^\\]+)?( \\\n {4}--hash=sha256:[0-9a-f]{64})+")
    assert [entry.splitlines()[0] for entry in entries if not shape.fullmatch(entry)] == []
    assert not any(entry.startswith("tollhouse") for entry in entries)


def test_locks_stand_beside_each_other() -> None:
    """A user may install all of them into one environment."""
    versions: dict[str, set[str]] = {}
    for lock in ROOT.glob("requirements*.lock"):
        for line in re.findall(r"^[a-z0-9-]+==.*$", lock.read_text(encoding="utf-8"), re.MULTILINE):
            requirement, _, marker = line.removesuffix(" \\").partition(" ; ")
            name, _, version = requirement.partition("==")
            versions.setdefault(f"{name} {'python' in marker and marker}", set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
