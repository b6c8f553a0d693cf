"""Pages without a session, and errors inside a page that is open."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tollhouse.gateway.trouble import wait_text
from tollhouse.host.host import Registered
from tollhouse.plugin import Mount

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
    app = build(rate_limit_pages=1)
    assert (await ask("GET", "/login", app=app, headers=PART)).status == 200
    answer = await ask("GET", "/login", app=app, headers=PART)
    assert answer.status == 429
    assert f"Try again in {answer.headers['retry-after']} second" in answer.text
    assert '<button class="button" form="composer">Try again</button>' in answer.text


FORM = {**PAGE, **OWN}


async def test_who_was_signed_out_while_writing_signs_in_and_comes_back_to_the_form(ask: Any) -> None:
    answer = await ask("POST", "/logout", headers={**FORM, "referer": "http://127.0.0.1:8000/home?tab=1"})
    assert answer.status == 401
    assert answer.text.count("You were signed out") == 2, "in the title and as the headline"
    assert "What you wrote was not saved. Sign in and try again." in answer.text
    assert 'href="/login?next=/home%3Ftab%3D1"' in answer.text
    assert "credential" not in answer.text


@pytest.mark.parametrize(
    "referer", ["", "https://evil.example/home", "http://127.0.0.1:8000//evil.example", "http://127.0.0.1:8000@evil.example/x"]
)
async def test_without_our_own_referer_the_way_back_is_the_page_that_the_form_lies_under(ask: Any, referer: str) -> None:
    answer = await ask("POST", "/t/other/logout", headers={**FORM, "referer": referer})
    assert 'href="/t/other/login?next=/"' in answer.text
    assert "evil.example" not in answer.text


async def test_each_door_has_its_own_sign_in(build: Any, ask: Any) -> None:
    app = build(doors={"/home": "/door"})
    answer = await ask("GET", "/home?x=1", app=app, headers=PAGE)
    assert answer.headers["location"] == "/door?next=/home%3Fx%3D1"
    posted = await ask("POST", "/logout", app=app, headers={**FORM, "referer": "http://127.0.0.1:8000/home"})
    assert 'href="/door?next=/home"' in posted.text
    assert (
        'href="/login?next=/homely"'
        in (await ask("POST", "/logout", app=app, headers={**FORM, "referer": "http://127.0.0.1:8000/homely"})).text
    )


async def test_an_error_page_says_it_once_and_whose_it_is(ask: Any) -> None:
    answer = await ask("GET", "/t/other/nowhere", headers=PAGE)
    assert answer.status == 404
    assert answer.text.count("There is nothing here") == 2, "in the title and as the headline"
    assert "<span>Other</span>" in answer.text
    assert "<span>Tollhouse</span>" in (await ask("GET", "/t/nobody/nowhere", headers=PAGE)).text


async def test_a_guess_at_a_tenant_is_counted_once_though_an_error_page_names_one(ask: Any, town: Any) -> None:
    assert (await ask("GET", "/t/nobody/login", headers=PAGE)).status == 404
    assert town.looked_up == ["nobody"]


@pytest.mark.parametrize(("path", "page"), [("/logout", "/"), ("/t/other/home/7/drop", "/t/other/home")])
async def test_the_address_of_a_form_leads_to_its_page(build: Any, ask: Any, path: str, page: str) -> None:
    async def drop(request: Request) -> Response:
        return Response(status_code=204)

    more = Mount("/home", APIRouter(routes=[Route("/{n}/drop", drop, methods=["POST"])]), errors="page")
    app = build(plugin_mounts=[Registered("more", more)])
    answer = await ask("GET", path, app=app, headers=PAGE)
    assert (answer.status, answer.headers.get("location")) == (303, page)
    assert (await ask("GET", path, app=app)).status == 405, "a program reads that it asked wrongly"


async def test_a_page_about_too_many_requests_says_how_long(build: Any, ask: Any) -> None:
    app = build(rate_limit_pages=1)
    assert (await ask("GET", "/login", app=app, headers=PAGE)).status == 200
    answer = await ask("GET", "/login", app=app, headers=PAGE)
    assert answer.status == 429
    assert f"Try again in {wait_text(int(answer.headers['retry-after']))}." in answer.text
    assert "slow down" not in answer.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (181, "4 minutes"), (7200, "2 hours"), (172800, "2 days")],
)
def test_waits_are_rounded_up(seconds: int, text: str) -> None:
    assert wait_text(seconds) == text


async def test_a_page_about_what_is_too_large_says_the_limit_and_leads_back(ask: Any) -> None:
    sent = {**FORM, "content-type": "multipart/form-data; boundary=x", "content-length": str(2 * 1024 * 1024)}
    answer = await ask("POST", "/login", headers={**sent, "referer": "http://127.0.0.1:8000/login?next=/home"})
    assert answer.status == 413
    assert "at most 1 MB" in answer.text
    assert "1048576" not in answer.text
    assert '<a class="button" href="/login?next=/home">Go back</a>' in answer.text
