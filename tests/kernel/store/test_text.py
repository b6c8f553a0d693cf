"""Names are one line in which everything can be seen; whoever reads them cannot be led astray by them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.plugin.errors import InvalidInput
from tollhouse.store.text import lines, one_line, shown

FINE = [
    "Ada Lovelace",
    "Zoë O’Neill-Müller",
    "株式会社\u3000例",
    "نرم\u200cافزار",  # Persian: what joins no letters
    "क्\u200dष",  # Devanagari: what joins them
    "👩\u200d👩\u200d👧 Family",
    "❤\ufe0f",
    "עברית",
    "€ & < > \" '",
    "a\u0301",
]
UNSEEN = [
    "\n", "\r", "\r\n", "\t", "\x00", "\x07", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\u2029",
    "\u202e", "\u202a", "\u202b", "\u202c", "\u202d", "\u2066", "\u2067", "\u2068", "\u2069", "\u200e", "\u200f", "\u061c",
    "\u200b", "\u2060", "\u2061", "\ufeff", "\u00ad", "\u180e", "\u3164", "\u115f", "\uffa0", "\u034f", "\ufff9", "\uffff",
    "\U000e0001", "\U000e0041", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_names_of_all_peoples_are_names(name: str) -> None:
    assert one_line(f"  {name} ", field="name", longest=100) == name
    assert shown(name, 100) == " ".join(name.split())


@pytest.mark.parametrize("char", UNSEEN, ids=lambda char: ascii(char))
@pytest.mark.parametrize("place", ["A{}da", "{}Ada", "Ada{}", "{}"])
def test_what_cannot_be_seen_is_in_no_name(char: str, place: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        one_line(place.format(char), field="terms.name", longest=100, required=True)
    assert [fault.pointer for fault in refused.value.errors] == ["#/terms/name"]
    assert char not in shown(place.format(char), 100)


@pytest.mark.parametrize("name", ["Ad\u200da", "Ada\u200c", "\u200dAda", "👩\u200d", "\u200d", "é\u200c\u200cé", "a\u200dé"])
def test_what_joins_letters_stands_between_letters(name: str) -> None:
    with pytest.raises(InvalidInput):
        one_line(name, field="name", longest=100)


def test_lengths_and_emptiness() -> None:
    assert one_line("", field="name", longest=3) == ""
    for value in ("", " ", "\u3000"):
        with pytest.raises(InvalidInput):
            one_line(value, field="name", longest=3, required=True)
    with pytest.raises(InvalidInput):
        one_line("abcd", field="name", longest=3)


def test_a_text_of_several_lines_keeps_them_and_nothing_else() -> None:
    assert lines(" a\r\nb\rc\td ", field="text", longest=100) == "a\nb\nc\td"
    assert lines("שלום \u200f(world)", field="text", longest=100) == "שלום \u200f(world)"
    for char in ("\x00", "\x1b", "\x7f", "\x85", "\u202e", "\u2066", "\ud800"):
        with pytest.raises(InvalidInput):
            lines(f"a{char}b", field="text", longest=100)


@given(st.text(max_size=80))
def test_what_is_shown_is_a_name(text: str) -> None:
    clean = shown(text, 60)
    assert len(clean) <= 60
    assert shown(clean, 60) == clean
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in clean)
    assert one_line(clean, field="name", longest=60) == clean
