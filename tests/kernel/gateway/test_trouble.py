"""Pages without a session, and errors inside a page that is open."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PART = {"accept": "text/html", "hx-request": "true", "hx-current-url": "http://127.0.0.1:8000/chat/7?x=1"}
OWN = {"sec-fetch-site": "same-origin"}


@pytest.mark.parametrize(("path", "sign_in"), [("/home", "/login"), ("/t/other/home", "/t/other/login")])
async def test_a_deep_link_leads_through_the_sign_in_and_back(ask: Any, path: str, sign_in: str) -> None:
    answer = await ask("GET", f"{path}?tab=a b&n=1", headers=PAGE)
    assert (answer.status, answer.body) == (303, b"")
    where = urlsplit(answer.headers["location"])
    assert (where.scheme, where.netloc, where.path) == ("", "", sign_in)
    assert parse_qs(where.query) == {"next": ["/home?tab=a b&n=1"]}


async def test_only_who_opens_a_page_is_sent_to_the_sign_in(ask: Any) -> None:
    assert (await ask("GET", "/home")).status == 401  # a program
    assert (await ask("GET", "/home", headers={"accept": "image/avif,*/*"})).status == 401  # a picture
    assert (await ask("GET", "/home", headers={**PAGE, "authorization": "Bearer wrong"})).status == 401
    assert (await ask("POST", "/logout", headers={**PAGE, **OWN})).status == 401


async def test_a_part_of_a_page_gets_a_card_with_the_way_back(ask: Any) -> None:
    answer = await ask("POST", "/logout", headers={**PART, **OWN})
    assert answer.status == 401
    assert "<html" not in answer.text
    assert answer.text.startswith('<div id="trouble" hx-swap-oob="innerHTML">')
    assert "You are signed out" in answer.text
    assert 'href="/login?next=/chat/7%3Fx%3D1"' in answer.text
    polled = await ask("GET", "/home", headers=PART)
    assert (polled.status, "<html" in polled.text) == (401, False)


@pytest.mark.parametrize(
    ("current", "next_"),
    [("https://evil.example/x", "/x"), ("https://evil.example//evil.example", "/"), ("javascript:alert(1)", "/"), ("", "/")],
)
async def test_the_way_back_is_a_path_of_ours_whatever_is_said(ask: Any, current: str, next_: str) -> None:
    answer = await ask("POST", "/logout", headers={**PART, **OWN, "hx-current-url": current})
    assert f'href="/login?next={next_}"' in answer.text
    assert "evil.example" not in answer.text
    assert "javascript" not in answer.text


async def test_what_is_too_large_is_said_with_the_limit(ask: Any) -> None:
    sent = {**PART, **OWN, "content-type": "multipart/form-data; boundary=x", "content-length": str(2 * 1024 * 1024)}
    answer = await ask("POST", "/login", headers=sent)
    assert answer.status == 413
    assert "That is too large" in answer.text
    assert "at most 1 MB" in answer.text
    assert "<html" not in answer.text


async def test_who_is_too_fast_reads_when_to_try_again(build: Any, ask: Any) -> None:
    app = build(rate_limit_anonymous=1)
    assert (await ask("GET", "/login", app=app, headers=PART)).status == 200
    answer = await ask("GET", "/login", app=app, headers=PART)
    assert answer.status == 429
    assert f"Try again in {answer.headers['retry-after']} second" in answer.text
    assert '<button class="button" form="composer">Try again</button>' in answer.text
