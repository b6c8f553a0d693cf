"""The plugin as the host sees it, and the forms at the door."""

from __future__ import annotations

from typing import Any

import pytest
from tollhouse_web import Settings, WebChannel, mount, plugin
from tollhouse_web.formats import browser, money, size

from tollhouse.plugin import Money
from tollhouse.testing.channel import ChannelSuite


class TestWebChannel(ChannelSuite):
    @pytest.fixture
    def channel(self) -> Any:
        return WebChannel()


def test_one_mount_at_the_root() -> None:
    (found,) = plugin.register_routes(Settings())
    assert (found.prefix, found.errors) == ("", "page")
    routes = {f"{method} {route.path}" for route in mount().router.routes for method in route.methods}
    assert found.public < routes, "what is public exists"
    assert found.large_bodies < routes
    assert not any("/chat" in route for route in found.public)


def test_the_page_of_sign_in_says_when_cookies_cannot_work(stranger, gateway) -> None:
    assert "Signing in does not work" not in stranger.get("/login").text
    gateway.cookies.work = False
    for path in ("/login", "/register"):
        assert "Signing in does not work at this address" in stranger.get(path).text


def test_what_is_wrong_stands_next_to_its_field(stranger) -> None:
    data = {"email": "ada@example.com", "password": "a good password", "name": "Ada", "next": ""}
    taken = stranger.post("/register", data=data)
    assert taken.status_code == 409
    assert 'id="email-error"' in taken.text
    assert 'value="Ada"' in taken.text
    short = stranger.post("/register", data={**data, "email": "new@example.com", "password": "short"})
    assert short.status_code == 422
    assert 'id="password-error"' in short.text
    assert "short" not in short.text.split('id="password"')[1].split(">")[0]
    empty = stranger.post("/register")
    assert empty.status_code == 422


def test_sign_up_can_be_closed(stranger, gateway) -> None:
    gateway.settings = Settings(signup=False)
    assert "/register" not in stranger.get("/").text
    answer = stranger.post("/register", data={"email": "x@example.com", "password": "a good password"})
    assert answer.status_code == 403
    assert all(user.email != "x@example.com" for user in gateway.world.users.values())


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1999, "EUR", "€19.99"),
        (1900, "EUR", "€19"),
        (5, "USD", "$0.05"),
        (120000, "JPY", "¥120,000"),
        (1250, "KWD", "KWD 1.250"),
        (49, "XTR", "49 Stars"),
        (-150, "GBP", "−£1.50"),
        (0, "EUR", "€0"),
    ],
)
def test_money(minor: int, currency: str, text: str) -> None:
    assert money(Money(minor, currency)) == text


@pytest.mark.parametrize(
    ("count", "text"), [(3, "1 kB"), (5_002, "5 kB"), (82_500, "83 kB"), (999_499, "999 kB"), (999_500, "1.0 MB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_browsers_are_recognised() -> None:
    chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
    assert browser(chrome) == "Chrome on Linux"
    assert browser("curl/8.5.0") == "curl/8.5.0"
