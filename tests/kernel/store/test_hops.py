"""Marks of model calls: made, believed, passed on, and worthless when they were made up."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.store.hops import HEADER, MARK, MOST, Hops
from tollhouse.store.secrets import SecretBox

OURS, THEIRS = Hops(SecretBox([b"k" * 32])), Hops(SecretBox([b"t" * 32]))


def after(hops: Hops, header: str | None) -> tuple[int, str]:
    """How far a request with this header has come, and what its own model call carries."""

    def request() -> tuple[int, str]:
        return hops.arrived(None if header is None else header.encode()), hops.headers()[HEADER]

    return contextvars.copy_context().run(request)


def test_each_call_of_a_call_is_one_further() -> None:
    header, seen = None, []
    for _ in range(4):
        count, header = after(OURS, header)
        seen.append(count)
    assert seen == [0, 1, 2, 3]
    assert MOST == 1, "one tenant's agent may be another one's model, and no more"


def test_a_circle_through_another_installation_is_noticed_too() -> None:
    _, header = after(OURS, None)
    count, header = after(THEIRS, header)
    assert count == 0, "a mark of somebody else is not theirs"
    assert after(OURS, header)[0] == 1
    _, header = after(OURS, header)
    count, header = after(THEIRS, header)
    assert (count, after(OURS, header)[0]) == (1, 2)


def test_another_request_begins_anew() -> None:
    async def work() -> tuple[str, str]:
        OURS.arrived(OURS.headers()[HEADER].encode())
        inner = await asyncio.create_task(asyncio.sleep(0, OURS.headers()[HEADER]))
        OURS.arrived(None)
        return inner, OURS.headers()[HEADER]

    inner, later = asyncio.run(work())
    assert (after(OURS, inner)[0], after(OURS, later)[0]) == (2, 1)


@given(st.text(alphabet="0123456789abcdef-, ", max_size=200))
def test_what_was_made_up_counts_for_nothing(header: str) -> None:
    assert after(OURS, header)[0] == 0


@pytest.mark.parametrize("at", range(49))
def test_a_mark_that_was_changed_counts_for_nothing(at: int) -> None:
    mark = after(OURS, None)[1]
    assert MARK.fullmatch(mark)
    changed = mark[:at] + ("2" if mark[at] != "2" else "3") + mark[at + 1 :]
    count, onward = after(OURS, changed)
    assert count == 0
    assert after(OURS, onward)[0] == 1


def test_marks_outlive_the_change_of_the_key() -> None:
    before, during = SecretBox([b"k" * 32]), Hops(SecretBox([b"n" * 32, b"k" * 32]))
    assert after(during, after(Hops(before), None)[1])[0] == 1
    assert after(Hops(before), after(during, None)[1])[0] == 0


def test_the_header_does_not_grow_without_end() -> None:
    header = None
    for number in range(40):
        _, header = after(Hops(SecretBox([bytes([number]) * 32])), header)
        assert header is not None
        assert len(header) < 1024
    assert after(OURS, "x" * 100_000 + after(OURS, None)[1])[0] == 0, "and is not read without end"


def test_keys_for_signing_differ_by_purpose_and_from_each_other() -> None:
    box = SecretBox([b"k" * 32, b"o" * 32])
    assert len({*box.mac_keys("hops"), *box.mac_keys("other")}) == 4
    assert box.mac_keys("hops")[1:] == SecretBox([b"o" * 32]).mac_keys("hops")
