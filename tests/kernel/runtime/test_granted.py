"""A reply is held against what it was granted: whatever a provider or a plugin sends, nothing larger is searched or kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.growth import HOLD_SECONDS, longest_hold
from tollhouse.plugin.content import Media, Text
from tollhouse.plugin.errors import BadCompletion
from tollhouse.plugin.llm import Completion, TokenUsage
from tollhouse.runtime.call import CHARACTERS_PER_TOKEN, MAX_PARTS, granted
from tollhouse.runtime.errors import RunFailed

PICTURE = Media("image", "image/png", b"x", size=1)


async def test_a_reply_of_fifty_megabytes_for_a_hundred_tokens_is_cut(world: Any, make: Any) -> None:
    world.primary.steps = [make.completion("x" * 50_000_000, input=10, output=100)]
    outcome = await world.run(make.version(), granted=100)
    assert (outcome.reply.text, outcome.reply.finish) == ("x" * 100 * CHARACTERS_PER_TOKEN, "length")
    (call,) = outcome.calls
    assert call.cut
    assert call.outcome == "ok"


async def test_what_was_granted_is_not_cut(world: Any, make: Any) -> None:
    text = "\n".join(" " * 12 + "x = 1" for _ in range(100))
    world.primary.steps = [make.completion(text, input=10, output=500)]
    outcome = await world.run(make.version(), granted=500)
    assert (outcome.reply.text, outcome.reply.finish) == (text, "stop")
    assert not outcome.calls[0].cut


async def test_the_whole_of_it_counts_however_many_parts_it_comes_in(world: Any, make: Any) -> None:
    world.primary.steps = [Completion((Text("a" * 100), PICTURE, *[Text("b" * 100)] * 1_000), TokenUsage(1, 1))]
    outcome = await world.run(make.version(), granted=10)
    assert outcome.reply.parts[:3] == (Text("a" * 100), PICTURE, Text("b" * 60))
    assert outcome.reply.text.replace("\n", "") == "a" * 100 + "b" * 60
    assert outcome.reply.finish == "length"
    assert len(outcome.reply.parts) <= MAX_PARTS


async def test_pictures_and_names_have_a_size_too(world: Any, make: Any) -> None:
    large = Media("image", "image/png", b"x" * (21 * 1024 * 1024))
    address = Media("image", "image/png", url="https://a.example/" + "x" * 1_000_000)
    world.primary.steps = [
        Completion((Text("Here."), large, address, PICTURE), TokenUsage(1, 1), "stop", "m" * 10**6, "r" * 10**6)
    ]
    outcome = await world.run(make.version(), granted=10)
    assert outcome.reply.parts == (Text("Here."), PICTURE)
    assert outcome.reply.finish == "length"
    (call,) = outcome.calls
    assert len(call.reported_model or "") <= 200
    assert len(call.request_id or "") <= 200


async def test_the_repair_of_a_reply_is_bounded_as_well(world: Any, make: Any) -> None:
    world.primary.steps = [make.completion("no json", output=5), make.completion('{"a": "' + "x" * 10**6 + '"}', output=5)]
    with pytest.raises(RunFailed) as failed:
        await world.run(make.version(post={"json_schema": {"type": "object"}}), granted=200)
    assert isinstance(failed.value.error, BadCompletion)
    assert [call.cut for call in failed.value.calls] == [False, True]


@given(st.lists(st.one_of(st.text(max_size=80).map(Text), st.just(PICTURE)), max_size=50), st.integers(1, 20))
def test_what_is_kept_is_a_beginning_and_never_more_than_granted(parts: list[Any], tokens: int) -> None:
    kept, cut = granted(parts, tokens)
    before, after = ("".join(one.text for one in some if isinstance(one, Text)) for some in (parts, kept))
    assert before.startswith(after)
    assert len(after) <= tokens * CHARACTERS_PER_TOKEN
    assert cut == (len(kept) < len(parts) or len(after) < len(before))


@pytest.mark.parametrize(
    "post",
    [
        {},
        {"stop": ["END"], "footer": "Bye."},
        {"redact": [{"pattern": r"[\w.]+@[\w.]+"}, {"pattern": "(x+x+)+y", "replacement": "y" * 200}]},
        {"json_schema": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}},
    ],
)
@pytest.mark.parametrize("text", ["x" * 200_000, "[" + "1," * 700_000 + "1]", "a b.c@d " * 50_000])
async def test_no_reply_holds_the_loop(world: Any, make: Any, post: dict[str, Any], text: str) -> None:
    version = make.version(post=post, max_output_tokens=100_000)

    async def run() -> None:
        world.primary.steps = [make.completion(text, output=10), make.completion(text, output=10)]
        await world.run(version, granted=100_000)

    assert await longest_hold(run, refusal=RunFailed) < HOLD_SECONDS
