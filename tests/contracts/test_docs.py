"""The documentation is true: what is generated is fresh, what is linked exists, what can be set is explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from tollhouse.settings import Settings
from tollhouse.wiring import docs

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
OF_THE_WHOLE = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md")


def pages() -> list[Path]:
    """Every markdown page of the project."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        return [path for path in ROOT.rglob("*.md") if ".venv" not in path.parts]
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).exists()]


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings, as code hosts spell them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+\s+(.*?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("name", docs.PAGES)
def test_what_is_generated_is_fresh(name: str) -> None:
    stored = ROOT / docs.FOLDER / name
    assert stored.exists(), "run: make docs"
    assert stored.read_text(encoding="utf-8") == docs.PAGES[name](), "run: make docs"


def test_every_setting_is_explained() -> None:
    page = docs.render_settings()
    for name, field in Settings.model_fields.items():
        if name not in docs.IN_THE_FILE:
            assert field.description, name
            assert f"| `{docs.variable(name, field)}` |" in page


def test_every_package_explains_itself() -> None:
    kernel = ROOT / "kernel" / "tollhouse"
    folders = [path.parent for path in kernel.glob("*/__init__.py")] + [
        path.parent for path in ROOT.glob("plugins/*/*/pyproject.toml")
    ]
    assert [folder.relative_to(ROOT).as_posix() for folder in folders if not (folder / "README.md").exists()] == []


def test_every_page_is_found_from_the_first() -> None:
    docs_folder = ROOT / "docs"
    index = (docs_folder / "README.md").read_text(encoding="utf-8")
    pages = (page.relative_to(docs_folder).as_posix() for page in docs_folder.rglob("*.md"))
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


@pytest.mark.parametrize("name", OF_THE_WHOLE)
def test_the_pages_of_the_whole_exist(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_every_command_of_the_makefile_is_explained_by_itself() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (names,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(names.split()) == set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
