"""The brake: guessing is slow from wherever one guesses, and no stranger keeps anybody out.

The storage in memory reads the clock of the machine; a test moves it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tollhouse.auth.devices import Devices
from tollhouse.auth.errors import BadCredentials, LinkInvalid, TooManyTries
from tollhouse.auth.throttle import LONGEST_WAIT, LoginThrottle
from tollhouse.auth.tokens import new_token
from tollhouse.host.caller import Browser
from tollhouse.plugin.errors import InvalidInput, RateLimited
from tollhouse.settings import Settings
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id
from tollhouse.store.rates import Rates, networks, plain_address

from .conftest import PASSWORD, Auth

TENANT, OTHER = UUID(int=7), UUID(int=8)
ADA = "ada@example.test"


class Clock:
    """The machine's clock, which only a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def throttle(**values: int) -> LoginThrottle:
    return LoginThrottle(Settings(**values), Rates())  # type: ignore[arg-type]


async def outcome(brake: LoginThrottle, account: str, address: str, **more: str) -> int:
    """0 for a try that is looked at, else the seconds to wait."""
    try:
        await brake.take(TENANT, account, address, **more)
    except TooManyTries as error:
        return error.retry_after or -1
    return 0


async def test_an_address_has_ten_tries_in_five_minutes_on_whatever_accounts(clock: Clock) -> None:
    brake = throttle()
    assert [await outcome(brake, f"{n}@example.test", "192.0.2.1") for n in range(10)] == [0] * 10
    assert await outcome(brake, "11@example.test", "192.0.2.1") == 300
    assert await outcome(brake, "11@example.test", "192.0.2.2") == 0
    clock.now += 301
    assert await outcome(brake, "11@example.test", "192.0.2.1") == 0


async def test_a_guesser_with_many_addresses_waits_longer_and_longer_at_each(clock: Clock) -> None:
    brake = throttle()
    tries = [await outcome(brake, ADA, f"192.0.{n // 250}.{n % 250}") for n in range(10_000)]
    assert tries[:10] == [0] * 10
    assert set(tries[10:]) == {2}, "none of ten thousand more is looked at"
    waits = []
    for n in range(8):  # each comes back when its wait is over, and guesses wrong again
        clock.now += LONGEST_WAIT + 1
        assert await outcome(brake, ADA, f"192.0.0.{10 + n}") == 0
        waits.append(await outcome(brake, ADA, f"203.0.113.{n}"))
    assert waits == [4, 8, 16, 30, 30, 30, 30, 30]


async def test_who_has_waited_comes_in_whatever_strangers_do(clock: Clock) -> None:
    """The owner at a new address, with the right password: after one wait, once."""
    brake = throttle()
    for n in range(2_000):
        await outcome(brake, ADA, f"10.0.{n // 250}.{n % 250}")
    wait = await outcome(brake, ADA, "192.0.2.1")
    assert 0 < wait <= LONGEST_WAIT
    for n in range(2_000):  # they go on, at new addresses and at old ones
        await outcome(brake, ADA, f"10.1.{n // 250}.{n % 250}")
        await outcome(brake, ADA, f"10.0.{n // 250}.{n % 250}")
    clock.now += wait
    assert await outcome(brake, ADA, "192.0.2.1") == 0
    await brake.succeeded(TENANT, ADA, "192.0.2.1")
    assert await outcome(brake, ADA, "192.0.2.1") == 0, "and from then on without one"


async def test_a_place_is_for_one_try(clock: Clock) -> None:
    brake = throttle()
    for n in range(11):
        await outcome(brake, ADA, f"10.0.0.{n}")
    wait = await outcome(brake, ADA, "192.0.2.1")
    assert await outcome(brake, ADA, "192.0.2.1") == wait, "asking again neither helps nor harms"
    clock.now += wait
    tries = await asyncio.gather(*(outcome(brake, ADA, "192.0.2.1") for _ in range(20)))
    assert sorted(tries)[:2][0] == 0
    assert sum(one == 0 for one in tries) == 1
    clock.now += 1
    assert await outcome(brake, ADA, "192.0.2.1") > 0


async def test_parallel_newcomers_get_one_place_and_no_try(clock: Clock) -> None:
    brake = throttle()
    for n in range(11):
        await outcome(brake, ADA, f"10.0.0.{n}")
    assert 0 not in await asyncio.gather(*(outcome(brake, ADA, "192.0.2.1") for _ in range(9)))


async def test_a_known_browser_counts_apart(clock: Clock) -> None:
    brake = throttle()
    for n in range(5_000):
        await outcome(brake, ADA, f"10.0.{n // 250}.{n % 250}")
    for _ in range(20):
        await outcome(brake, "else@example.test", "192.0.2.1")
    assert [await outcome(brake, ADA, "192.0.2.1", device="d1") for _ in range(11)] == [0] * 10 + [300]
    assert await outcome(brake, ADA, "192.0.2.1", device="d2") == 0
    await brake.succeeded(TENANT, ADA, "192.0.2.1", device="d1")
    assert await outcome(brake, ADA, "192.0.2.1", device="d1") == 0


async def test_too_many_tries_in_all_make_everybody_unknown_wait_and_nobody_known(clock: Clock) -> None:
    brake = throttle(rate_limit_login_total=100)
    assert [await outcome(brake, f"{n}@example.test", f"10.0.0.{n}") for n in range(100)] == [0] * 100
    assert await outcome(brake, ADA, "192.0.2.1") == LONGEST_WAIT
    assert await outcome(brake, ADA, "192.0.2.1", device="known") == 0
    clock.now += LONGEST_WAIT
    assert await outcome(brake, ADA, "192.0.2.1") == 0
    clock.now += 301
    assert await outcome(brake, "new@example.test", "10.0.1.1") == 0


@pytest.mark.parametrize(
    ("tried", "same", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("64:ff9b::c000:201", "192.0.2.1", "64:ff9b::c000:202"),
        ("2001:DB8:1:2::1%eth0", "2001:db8:1:2::2", "2001:db8:1:4::2"),
    ],
)
async def test_what_one_person_has_counts_as_one(clock: Clock, tried: str, same: str, other: str) -> None:
    brake = throttle(rate_limit_login=3)
    for n in range(3):
        assert await outcome(brake, f"{n}@example.test", tried) == 0
    assert await outcome(brake, "x@example.test", same) > 0
    assert await outcome(brake, "y@example.test", other) == 0


async def test_a_wider_network_has_ten_times_as_much(clock: Clock) -> None:
    brake = throttle(rate_limit_login=2, rate_limit_login_total=0)
    tries = [await outcome(brake, f"{n}@example.test", f"2001:db8:7:{n:x}::1") for n in range(25)]
    assert tries == [0] * 20 + [300] * 5
    assert await outcome(brake, "new@example.test", "2001:db8:8::1") == 0


@given(st.ip_addresses())
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_an_address_is_in_its_networks_and_has_one_form(address: object) -> None:
    text = str(address)
    assert plain_address(plain_address(text)) == plain_address(text)
    assert networks(plain_address(text)) == networks(text)
    assert len(networks(text)) == (2 if ":" in plain_address(text) else 1)


# -- Links and registrations -----------------------------------------------------------------------------------------------


async def test_links_that_are_not_valid_count_and_others_do_not(auth: Auth, tenant_id: UUID, clock: Clock) -> None:
    user = await auth.user(tenant_id)
    links = auth.guarded_links
    for _ in range(15):
        token = await links.create(tenant_id, "sign_in", user.id, by=None, actor=CLI)
        await links.look(token, ["sign_in"], tenant_id, "192.0.2.1")
        assert await auth.sessions.redeem(tenant_id, token, "cookie", address="192.0.2.1")
    for n in range(10):
        guess = new_token("link", tenant_id) if n % 2 else "nonsense"
        looks = links.look(guess, ["sign_in"], tenant_id, "192.0.2.1")
        uses = auth.sessions.redeem(tenant_id, guess, "cookie", address="192.0.2.1")
        first, second = (looks, uses) if n % 3 else (uses, looks)
        second.close()
        with pytest.raises(LinkInvalid):
            await first
    token = await links.create(tenant_id, "sign_in", user.id, by=None, actor=CLI)
    with pytest.raises(RateLimited):
        await auth.sessions.redeem(tenant_id, token, "cookie", address="192.0.2.1")
    assert await auth.sessions.redeem(tenant_id, token, "cookie", address="192.0.2.2")


async def test_accounts_have_a_rate_of_their_own(clock: Clock) -> None:
    brake = throttle(rate_limit_registrations=3)
    for _ in range(3):
        await brake.register(TENANT, "2001:db8:1:2::1", None)
    with pytest.raises(RateLimited):
        await brake.register(TENANT, "2001:db8:1:2::2", None)
    assert await outcome(brake, ADA, "2001:db8:1:2::2") == 0, "signing in is counted elsewhere"
    for n in range(3):
        await brake.register(TENANT, f"192.0.2.{n}", "one browser")
    with pytest.raises(RateLimited):
        await brake.register(TENANT, "192.0.2.99", "one browser")
    clock.now += 3601
    await brake.register(TENANT, "192.0.2.99", "one browser")
    off = throttle(rate_limit_registrations=3, rate_limit_anonymous=0)
    for _ in range(9):
        await off.register(TENANT, "192.0.2.1", None)


# -- Known browsers --------------------------------------------------------------------------------------------------------


async def test_a_browser_is_known_by_the_account_that_signed_in_and_until_its_password_changes(
    processes: Callable[..., Auth], tenant_id: UUID, other_tenant_id: UUID
) -> None:
    auth = processes(rate_limit_login=2)
    user, other = await auth.user(tenant_id), await auth.user(tenant_id)
    browser = Browser()
    signed_in = await auth.sessions.login(tenant_id, user.email or "", PASSWORD, "cookie", address="192.0.2.1", browser=browser)
    assert browser.kept
    for one in (user, other):
        for n in range(5):
            with pytest.raises((BadCredentials, RateLimited)):
                await auth.sessions.login(tenant_id, one.email or "", "wrong", "cookie", address=f"10.0.0.{n}")

    async def comes(one: object, cookie: str, password: str = PASSWORD, tenant: UUID = tenant_id) -> Browser:
        came = Browser(cookie)
        email = one.email  # type: ignore[attr-defined]
        await auth.sessions.login(tenant, email, password, "cookie", address=f"10.9.0.{new_id().int % 250}", browser=came)
        return came

    for _ in range(3):
        assert (await comes(user, browser.kept)).kept
    for strange in (Browser().kept, browser.kept[:-1] + "x", browser.kept.split(".")[1], "..", "x" * 500):
        with pytest.raises(RateLimited):
            await comes(user, strange)
    with pytest.raises(RateLimited):
        await comes(other, browser.kept)
    foreign = Devices().remember(tenant_id, "", user.id, None)
    with pytest.raises(RateLimited):
        await comes(user, foreign)

    new = "another sentence, as hard to guess"
    mine = Browser(browser.kept)
    await auth.users.change_password(signed_in.principal, PASSWORD, new, browser=mine)
    with pytest.raises(RateLimited):
        await comes(user, browser.kept, new)
    assert (await comes(user, mine.kept, new)).kept, "the browser that changed it is known by the new one"


def test_a_cookie_holds_the_last_accounts_and_nothing_of_another_tenant() -> None:
    devices = Devices([b"k" * 32])
    people = [new_id() for _ in range(8)]
    cookie = ""
    for person in people:
        cookie = devices.remember(TENANT, cookie, person, "hash")
    known = [devices.known(TENANT, cookie, person, "hash") for person in people]
    assert known[:3] == [None] * 3
    assert len({*known[3:]}) == 1
    assert devices.device(TENANT, cookie) == known[-1]
    assert devices.known(OTHER, cookie, people[-1], "hash") is None
    assert devices.device(OTHER, cookie) is None
    assert len(cookie) < 400
    rotated = Devices([b"n" * 32, b"k" * 32])
    assert rotated.known(TENANT, cookie, people[-1], "hash") == known[-1]
    assert Devices([b"n" * 32]).known(TENANT, cookie, people[-1], "hash") is None


async def test_a_wrong_present_password_counts_by_the_session(auth: Auth, tenant_id: UUID) -> None:
    user = await auth.user(tenant_id)
    first, second = await auth.sign_in(user), await auth.sign_in(user)
    for _ in range(10):
        with pytest.raises(InvalidInput):
            await auth.users.change_password(first.principal, "wrong", "another good sentence", address="192.0.2.1")
    with pytest.raises(RateLimited):
        await auth.users.change_password(first.principal, PASSWORD, "another good sentence", address="192.0.2.1")
    await auth.users.change_password(second.principal, PASSWORD, "another good sentence", address="192.0.2.1")
