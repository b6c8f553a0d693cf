"""The commands of a page of the docs, as they stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A piece of code, and the heading that it stands under."""

    heading: str
    language: str
    code: str


def blocks(page: str) -> list[Block]:
    """Every piece of code of a page, in its order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    headings = [(found.start(), found[1]) for found in HEADING.finditer(text)]
    made = []
    for found in BLOCK.finditer(text):
        heading = next((name for start, name in reversed(headings) if start < found.start()), "")
        code = re.sub(rf"^{found['indent']}", "", found["code"], flags=re.MULTILINE)
        made.append(Block(heading, found["language"], code))
    return made
