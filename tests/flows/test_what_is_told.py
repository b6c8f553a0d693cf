"""What was not done as it was asked for is told: in a header, and in ``warnings``. And clients are told what helps them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cluster
from tests.flows.driver import Answer, Client
from tests.flows.furnished import Furnished, House, furnish, open_house
from tollhouse import plugin as th

WARNING = "x-turn-warning"


@pytest.fixture
async def house(cluster: Cluster, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(cluster.dsn, tmp_path) as house:
        yield house


@pytest.fixture
async def shop(house: House) -> Furnished:
    return await furnish(house, "told")


@pytest.fixture
def user(house: House, shop: Furnished) -> Client:
    return Client.program(house.app, shop.slug, shop.tokens["plain_key"], accept="application/json")


async def complete(user: Client, shop: Furnished, *messages: tuple[str, str], **more: Any) -> Answer:
    said = [{"role": role, "content": text} for role, text in messages or (("user", "Hello?"),)]
    return await user.post("/v1/chat/completions", {"model": shop.ids["agent"], "messages": said, **more})


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"temperature": 0.1, "seed": 1}, "seed, temperature"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"verbosity": "low", "web_search_options": {"a": 1}}, "web_search_options"),
        ({"max_tokens": 1_000_000}, "1024 tokens"),
    ],
)
async def test_a_wish_that_is_ignored_is_told(user: Client, shop: Furnished, wish: dict[str, Any], told: str) -> None:
    answer = await complete(user, shop, **wish)
    assert answer.status == 200
    assert told in answer.headers[WARNING]
    assert told in " ".join(answer.json["warnings"])
    streamed = await complete(user, shop, stream=True, **wish)
    last = [json.loads(line[6:]) for line in streamed.text.split("\n\n") if line.startswith("data: {")][-1]
    assert last["warnings"] == answer.json["warnings"]


async def test_nothing_is_told_where_all_was_done(user: Client, shop: Furnished) -> None:
    plain = {"store": False, "stream": False, "n": 1, "tools": None, "logit_bias": None, "max_tokens": 5}
    answer = await complete(user, shop, ("system", "Be kind."), ("user", "Hello?"), **plain)
    assert answer.status == 200
    assert WARNING not in answer.headers
    assert "warnings" not in answer.json


async def test_history_that_is_cut_and_instructions_that_move_are_told(user: Client, shop: Furnished) -> None:
    talk = [("user" if number % 2 == 0 else "assistant", f"Message {number}.") for number in range(60)]
    answer = await complete(user, shop, *talk, ("system", "From now on be brief."), ("user", "Hello?"))
    said = " ".join(answer.json["warnings"])
    assert "of 60 earlier messages were left out" in said
    assert "System messages were moved to the front" in said
    assert said == answer.headers[WARNING]


async def test_a_turn_tells_the_same_and_tells_it_again(user: Client, shop: Furnished) -> None:
    body = {"agent": shop.ids["agent"], "parts": [{"type": "text", "text": "Hello?"}], "parameters": {"seed": 1}}
    first = await user.post("/api/v1/turns", body, idempotency_key="told")
    assert first.status == 200, first.text
    assert first.json["warnings"] == ["Ignored, because this agent does not open it: seed."]
    assert first.headers[WARNING] == first.json["warnings"][0]
    again = await user.post("/api/v1/turns", body, idempotency_key="told")
    assert (again.body, again.headers[WARNING]) == (first.body, first.headers[WARNING])


async def test_a_name_that_a_client_made_up_is_not_repeated(user: Client, shop: Furnished) -> None:
    odd = {"a\r\nset-cookie: x=1": 1, "<script>": 1, "é" * 50: 1}
    answer = await complete(user, shop, **odd)
    assert answer.status == 200
    assert WARNING not in answer.headers
    turn = {"agent": shop.ids["agent"], "parts": [{"type": "text", "text": "Hello?"}], "parameters": odd}
    told = await user.post("/api/v1/turns", turn)
    assert "set-cookie" not in told.everything.partition("\n\n")[0].replace(WARNING, "")
    assert told.status in (200, 422)


# -- what a client does with an error -----------------------------------------------------------------------------------------


async def test_whatever_is_wrong_with_a_request_is_one_status(user: Client, shop: Furnished) -> None:
    """OpenAI's is 400, whoever finds it: the plugin, the kernel, or the model."""
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    wrong = [
        {"temperature": "warm"},
        {"messages": []},
        {"messages": [{"role": "user", "content": picture}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "no such file"}}]}]},
        {"tools": [{"type": "function"}]},
        {"channel": "web"},
    ]
    for change in wrong:
        answer = await user.post(
            "/v1/chat/completions",
            {"model": shop.ids["agent"], "messages": [{"role": "user", "content": "Hello?"}], **change},
        )
        assert answer.status == 400, (change, answer.text)
        assert answer.json["error"]["type"] == "invalid_request_error", answer.text
        assert answer.json["status"] == 400


async def test_what_the_model_refuses_is_the_requests_fault_too(house: House, user: Client, shop: Furnished) -> None:
    for error in (th.ContextTooLong, th.ContentFiltered):

        def refuse(request: th.CompletionRequest, error: type[Exception] = error) -> th.Completion:
            raise error()

        house.plugin.model.answer = refuse
        answer = await complete(user, shop)
        assert (answer.status, answer.headers["x-should-retry"]) == (400, "false"), answer.text


async def test_an_answer_that_cannot_be_used_is_not_asked_for_again_from_outside(
    house: House, user: Client, shop: Furnished
) -> None:
    house.plugin.model.answer = lambda request: th.Completion((), th.TokenUsage(10, 0))
    answer = await complete(user, shop)
    assert (answer.status, answer.json["code"], answer.headers["x-should-retry"]) == (502, "bad_completion", "false")
    assert len(house.plugin.model.calls) == 2


@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/models", "/embeddings", "/chat", "/nothing/here"])
async def test_who_accepts_json_gets_json(house: House, shop: Furnished, user: Client, path: str) -> None:
    for accept in ("application/json", "application/json, text/plain, */*"):
        answer = await user.send("POST", path, accept=accept)
        assert answer.status in (404, 405, 403, 422), answer.text[:300]
        assert answer.headers["content-type"] == "application/problem+json", (accept, answer.text[:200])
        assert answer.json["code"]


async def test_a_browser_still_gets_a_page(house: House, shop: Furnished) -> None:
    browser = Client.browser(house.app, shop.slug, None)
    for accept in ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html, application/json"):
        answer = await browser.send("POST", "/chat/completions", accept=accept)
        assert "text/html" in answer.headers["content-type"] or answer.status == 303
