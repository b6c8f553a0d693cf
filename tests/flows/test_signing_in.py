"""Signing in over HTTP: who guesses is slowed down, who is known is not, and what happened can be read afterwards."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Cluster
from tests.flows.driver import Answer, Client
from tests.flows.examples import PASSWORD
from tests.flows.furnished import Furnished, House, furnish, open_house
from tollhouse.auth.links import PAGES
from tollhouse.auth.tokens import new_token
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id

PROXY = "203.0.113.9"
"""Where the driver's requests come from; it says for whom."""


class Clock:
    """The machine's clock, which only a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@dataclass
class Town:
    house: House
    shop: Furnished
    clock: Clock

    def at(self, address: str, cookie: str = "", page: bool = False) -> Client:
        """Somebody at an address, with a browser's cookie or none."""
        headers = {"x-forwarded-for": address} | ({"cookie": cookie} if cookie else {})
        if page:
            headers |= {"sec-fetch-site": "same-origin", "accept": "text/html"}
        return Client(self.house.app, f"/t/{self.shop.slug}", headers)

    async def sign_in(self, address: str, password: str = PASSWORD, cookie: str = "") -> Answer:
        body = {"email": self.shop.ids["email"], "password": password}
        return await self.at(address, cookie).post("/api/v1/auth/login", body)


@pytest.fixture
async def town(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    rates = {"rate_limit_login": 10, "rate_limit_anonymous": 60, "rate_limit_registrations": 3}
    async with open_house(cluster.dsn, tmp_path, trusted_proxies=[PROXY], **rates) as house:
        yield Town(house, await furnish(house, "signing"), clock)


def known_by(answer: Answer, slug: str) -> str:
    """The cookie by which the browser is known from now on."""
    found = re.search(rf"(__Host-thd-{slug}=[^;]+); ([^,]*)", answer.headers["set-cookie"])
    assert found is not None
    assert {"HttpOnly", "SameSite=Lax", "Secure", "Path=/"} <= {*found[2].split("; ")}
    return found[1]


async def test_strangers_who_guess_keep_the_owner_of_an_account_out_of_nothing(town: Town) -> None:
    form = {"email": town.shop.ids["email"], "password": PASSWORD}
    signed_in = await town.at("198.51.100.1", page=True).fill("/login", **form)
    assert signed_in.status == 303
    cookie = known_by(signed_in, town.shop.slug)

    guesses = [await town.sign_in(f"192.0.2.{n}", "wrong") for n in range(40)]
    assert [one.status for one in guesses] == [401] * 10 + [429] * 30
    assert {1 <= int(one.headers["retry-after"]) <= 30 for one in guesses[10:]} == {True}
    assert {one.json["code"] for one in guesses[10:]} == {"rate_limited"}

    # The known browser, wherever it is: by the page, by the console's door, by a program that keeps cookies.
    assert (await town.at("192.0.2.1", cookie, page=True).fill("/login", **form)).status == 303
    assert (await town.at("192.0.2.1", cookie, page=True).fill("/console/sign-in", **form)).status == 303
    assert (await town.sign_in("192.0.2.1", cookie=cookie)).status == 200
    # At a new address without it: once more, when it is time, whatever strangers do meanwhile.
    wait = await town.sign_in("198.51.100.7")
    assert wait.status == 429
    for n in range(40):
        assert (await town.sign_in(f"192.0.2.{100 + n}", "wrong")).status == 429
    town.clock.now += int(wait.headers["retry-after"])
    assert (await town.sign_in("198.51.100.7")).status == 200


async def test_a_page_of_sign_in_says_when_to_come_back(town: Town) -> None:
    form = {"email": town.shop.ids["email"], "password": "wrong"}
    for n in range(11):
        last = await town.at(f"192.0.2.{n}", page=True).fill("/login", **form)
    assert (last.status, "wait a little" in last.text) == (429, True)
    assert int(last.headers["retry-after"]) == 2


async def test_who_is_blocked_is_told_so_at_each_door_and_only_by_the_right_password(town: Town) -> None:
    await town.house.container.users.block(town.shop.tenant_id, town.shop.plain_id, by=None, actor=CLI)
    right, wrong = await town.sign_in("192.0.2.1"), await town.sign_in("192.0.2.1", "wrong")
    assert (right.status, right.json["code"]) == (403, "user_blocked")
    nobody = await town.at("192.0.2.1").post("/api/v1/auth/login", {"email": "nobody@example.test", "password": "wrong"})
    assert {**wrong.json, "request_id": ""} == {**nobody.json, "request_id": ""}
    for door in ("/login", "/console/sign-in"):
        page = await town.at("192.0.2.2", page=True).fill(door, email=town.shop.ids["email"], password=PASSWORD)
        assert (page.status, "This account is blocked" in page.text) == (403, True), door
        assert "th-" not in page.headers.get("set-cookie", "")


async def test_what_failed_can_be_read_by_who_administers(town: Town) -> None:
    for _ in range(3):
        await town.sign_in("2001:db8:1:2::7", "wrong")
    owner = Client.program(town.house.app, town.shop.slug, town.shop.tokens["owner_key"])
    (found,) = (await owner.get(f"/api/v1/admin/sign-in-failures?user_id={town.shop.plain_id}&limit=1")).json["items"]
    assert (found["network"], found["reason"], found["count"]) == ("2001:db8:1:2::/64", "wrong_password", 3)
    desk = Client.browser(town.house.app, town.shop.slug, town.shop.tokens["owner"])
    for page in ("/console/audit/sign-ins", f"/console/users/{town.shop.plain_id}"):
        assert "2001:db8:1:2::/64" in (await desk.get(page)).text
    exported = (await owner.get(f"/api/v1/admin/users/{town.shop.plain_id}/export")).json
    assert [row["count"] for row in exported["sign_in_failures"] if row["network"] == "2001:db8:1:2::/64"] == [3]
    audit = (await owner.get("/api/v1/admin/audit?action=user.signed_in")).json["items"]
    assert audit == []
    assert (await town.sign_in("192.0.2.1")).status == 200
    (entry,) = (await owner.get("/api/v1/admin/audit?action=user.signed_in")).json["items"]
    assert (entry["target_id"], entry["address"]) == (str(town.shop.plain_id), "192.0.2.1")


async def test_links_are_guessed_ten_times_and_used_from_elsewhere(town: Town) -> None:
    container, guess = town.house.container, new_token("link", town.shop.tenant_id)
    for page in PAGES.values():
        assert (await town.at("192.0.2.1", page=True).get(page + guess)).status == 401
    for _ in range(6):
        assert (await town.at("192.0.2.1", page=True).fill("/link/" + guess)).status == 401
    token = await container.links.create(town.shop.tenant_id, "sign_in", town.shop.plain_id, by=None, actor=CLI)
    assert (await town.at("192.0.2.1", page=True).get("/link/" + token)).status == 429
    assert (await town.at("192.0.2.1", page=True).fill("/link/" + token)).status == 429
    assert (await town.at("192.0.2.2", page=True).fill("/link/" + token)).status == 303


async def test_accounts_are_made_at_a_rate_of_their_own(town: Town) -> None:
    async def register(address: str, cookie: str = "") -> Answer:
        body = {"email": f"{new_id().hex}@example.test", "password": PASSWORD}
        return await town.at(address, cookie).post("/api/v1/auth/register", body)

    made = [await register(f"2001:db8:5:6::{n}") for n in range(5)]
    assert [one.status for one in made] == [201] * 3 + [429] * 2
    assert (await register("2001:db8:5:7::1")).status == 201
    cookie = known_by(await register("192.0.2.1"), town.shop.slug)
    assert [(await register(f"192.0.2.{n}", cookie)).status for n in range(2, 7)] == [201] * 3 + [429] * 2
    assert (await town.sign_in("2001:db8:5:6::1")).status == 200, "signing in is counted elsewhere"
