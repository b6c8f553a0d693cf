"""Titles are made of the beginning of what was said, however much that is."""

from __future__ import annotations

import pytest

from tests.growth import assert_linear
from tollhouse.conversations.repository import TITLE_LENGTH, title_of
from tollhouse.plugin.content import Media, Text


@pytest.mark.parametrize("unit", ["a ", "\n", " ", "a\n", "word", "😀"])
def test_the_title_of_an_endless_message(unit: str) -> None:
    assert_linear(
        lambda text: title_of((Text(text),)), lambda size: unit * (size // len(unit)), end=4 * 1024 * 1024, memory=0.1
    )
    assert len(title_of((Text(unit * 1_000_000),))) <= TITLE_LENGTH


def test_the_first_words_are_the_title() -> None:
    picture = Media("image", "image/png", b"x")
    assert title_of((picture, Text("  \n"), Text("\n Two   words\nand more"))) == "Two words"
    assert title_of((picture,)) == ""
