"""A turn as a program asks for it, and a refusal as it reads it."""

from __future__ import annotations

from typing import Any

from tests.flows.driver import Answer
from tests.flows.furnished import Furnished

TURNS = "/api/v1/turns"
HELLO = {"agent": "guide", "parts": [{"type": "text", "text": "Hello?"}]}


def hello(shop: Furnished, **more: Any) -> dict[str, Any]:
    return {**HELLO, "agent": shop.ids["agent"], **more}


def problem(answer: Answer) -> tuple[int, str]:
    """Status and code of a problem document that says what a program and a person need."""
    assert answer.headers["content-type"] == "application/problem+json", answer.everything
    document = answer.json
    assert document["status"] == answer.status
    assert {"type", "title", "detail", "code", "request_id", "retryable"} <= document.keys()
    assert "Traceback" not in answer.text
    return answer.status, document["code"]
