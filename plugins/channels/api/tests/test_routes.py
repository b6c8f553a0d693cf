"""What is sent is JSON, whatever a model said."""

from __future__ import annotations

import json

import pytest
from tollhouse_api.routes import _json


@pytest.mark.parametrize("said", ["plain", "ünïcödé \U0001f600 \u2028", "half a pair \ud83d", "NUL \0 and \x1f"])
def test_an_answer_can_be_read_as_it_was_said(said: str) -> None:
    sent = _json({"content": said}, {"x-request-id": "req_1"})
    assert json.loads(sent.body) == {"content": said}
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["x-request-id"] == "req_1"
