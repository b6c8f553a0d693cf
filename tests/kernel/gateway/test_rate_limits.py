"""The gateway's rate limits: for an address, for a caller, told in headers, and open when nobody can count."""

import pytest
from limits.errors import StorageError

from tollhouse.gateway.rate_limits import RateLimits
from tollhouse.plugin import ConfigError, RateLimited
from tollhouse.settings import Settings
from tollhouse.store.rates import Rates


class Clock:
    now = 1_000_020.0  # 20 seconds into a minute

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limits(clock):
    return RateLimits(Settings(rate_limit_anonymous=6, rate_limit_principal=60), Rates(), clock=clock)


async def test_so_many_a_minute_and_then_no_more(limits):
    for left in (5, 4, 3, 2, 1, 0):
        headers = dict(await limits.hit(limits.anonymous, "acme", "1.2.3.4"))
        assert headers[b"ratelimit"].startswith(b'"anonymous";r=%d;t=' % left)
        assert headers[b"ratelimit-policy"] == b'"anonymous";q=6;w=60'
    with pytest.raises(RateLimited) as refused:
        await limits.hit(limits.anonymous, "acme", "1.2.3.4")
    assert 1 <= refused.value.retry_after <= 120
    await limits.hit(limits.anonymous, "acme", "1.2.3.5")
    await limits.hit(limits.anonymous, "other", "1.2.3.4")


async def test_waiting_as_long_as_was_said_is_long_enough(limits, clock):
    for amount in (1, 3, 6):
        who = f"w{amount}"
        for _ in range(amount):
            await limits.hit(limits.anonymous, "acme", who)
        for _ in range(20):
            try:
                await limits.hit(limits.anonymous, "acme", who)
            except RateLimited as refused:
                clock.now += refused.retry_after
                await limits.hit(limits.anonymous, "acme", who)


async def test_the_window_slides_over_the_minute(limits, clock):
    clock.now += 59 - clock.now % 60
    for _ in range(6):
        await limits.hit(limits.anonymous, "acme", "x")
    clock.now += 2
    with pytest.raises(RateLimited):
        await limits.hit(limits.anonymous, "acme", "x")


async def test_who_is_too_fast_still_gets_the_rate(limits, clock):
    let_through = 0
    for _ in range(600):
        clock.now += 1
        try:
            await limits.hit(limits.anonymous, "acme", "x")
            let_through += 1
        except RateLimited:
            pass
    assert 48 <= let_through <= 66


async def test_nobody_is_shut_out_when_the_storage_is_away(clock, monkeypatch):
    failures = []
    limits = RateLimits(Settings(rate_limit_anonymous=1), Rates(), lambda: failures.append(1), clock)

    async def away(*_, **__):
        raise StorageError(ConnectionError("redis is away"))

    monkeypatch.setattr(limits._storage, "incr", away)
    for _ in range(3):
        assert await limits.hit(limits.anonymous, "acme", "x") == ()
    assert len(failures) == 3


def test_a_storage_that_cannot_be_used_stops_the_start():
    with pytest.raises(ConfigError, match="rate_limit_storage"):
        Rates("carrier-pigeon://x")


async def test_the_edge_limits_addresses_and_callers(ask, build):
    app = build(rate_limit_anonymous=3, rate_limit_principal=5)
    assert [(await ask("GET", "/api/open", app=app)).status for _ in range(4)] == [200, 200, 200, 429]
    refused = await ask("GET", "/api/open", app=app)
    assert refused.json["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit"].startswith('"anonymous";r=0')
    assert (await ask("GET", "/api/open", app=app, client="203.0.113.10")).headers["ratelimit"].startswith('"anonymous";r=2')
    assert (await ask("GET", "/healthz", app=app)).status == 200
    assert (await ask("GET", "/static/tollhouse.css", app=app)).status == 200
    statuses = [(await ask("GET", "/api/who", app=app, key="key")).status for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    assert (await ask("GET", "/api/who", app=app, key="operator-key")).status == 200


async def test_guessing_credentials_is_limited_too(ask, build):
    app = build(rate_limit_anonymous=3)
    statuses = [(await ask("GET", "/api/who", app=app, key=f"guess{i}")).status for i in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


def guesses(way, i):
    """A request for a tenant that there is not, by path, by header or by host name."""
    if way == "path":
        return {"path": f"/t/guess{i}/api/open"}
    return {"path": "/api/open", "headers": {"x-tenant": f"guess{i}"} if way == "header" else {"host": f"guess{i}.example"}}


@pytest.mark.parametrize("way", ["path", "header", "host"])
async def test_guessing_tenants_is_limited_before_anything_is_looked_up(ask, build, town, way):
    app = build(rate_limit_anonymous=3, rate_limit_principal=0)
    elsewhere = "203.0.113.77"
    assert (await ask("GET", "/t/other/api/open", app=app, client=elsewhere)).status == 200
    statuses = [(await ask("GET", app=app, **guesses(way, i))).status for i in range(6)]
    assert statuses[3:] == [429] * 3
    assert [name for name in town.looked_up if name.startswith("guess")] == [
        f"guess{i}{'.example' * (way == 'host')}" for i in range(3)
    ]
    town.looked_up.clear()
    # Everybody's tenants go on at that address, and guessing at another one.
    assert (await ask("GET", "/api/who", app=app, key="key")).status == 200
    assert (await ask("GET", "/t/other/api/who", app=app, key="other-key")).status == 200
    assert (await ask("GET", app=app, client=elsewhere, **guesses("path", 9))).status == 404


async def test_a_server_may_be_reached_by_a_name_that_is_no_tenants(ask, build, town):
    app = build(rate_limit_anonymous=3, rate_limit_principal=0)
    for _ in range(20):
        answer = await ask("GET", "/api/who", app=app, key="key", headers={"host": "server.lan:8000"})
        assert (answer.status, answer.json["tenant"]) == (200, "default")
    assert town.looked_up.count("server.lan") == 1


async def test_zero_turns_it_off(ask, build):
    app = build(rate_limit_anonymous=0)
    answers = [await ask("GET", "/api/open", app=app) for _ in range(100)]
    assert {answer.status for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers


async def test_pages_have_a_budget_of_their_own(ask, build):
    """An office behind one address reads pages, and signs in all the same."""
    app = build(rate_limit_anonymous=2, rate_limit_pages=70)
    assert {(await ask("GET", "/login", app=app)).status for _ in range(70)} == {200}
    assert (await ask("GET", "/login", app=app)).status == 429
    sign_in = {"body": b"email=a", "headers": {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "none"}}
    assert [(await ask("POST", "/login", app=app, **sign_in)).status for _ in range(3)] == [303, 303, 429]
    assert (await ask("GET", "/api/open", app=app)).status == 429, "the interface shares the budget of writes"
    assert (await ask("GET", "/api/open", app=app, client="203.0.113.10")).headers["ratelimit"].startswith('"anonymous"')
    nothing_counts = build(rate_limit_anonymous=0, rate_limit_pages=1)
    assert {(await ask("GET", "/login", app=nothing_counts)).status for _ in range(5)} == {200}


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.8", False),
    ],
)
async def test_what_one_caller_has_counts_as_one(ask, build, first, second, shared):
    app = build(rate_limit_anonymous=2)
    for path in ("/api/open", "/t/guess/api/open"):  # a request, and a guess at a tenant's name
        assert [(await ask("GET", path, app=app, client=first)).status != 429 for _ in range(3)] == [True, True, False]
        assert ((await ask("GET", path, app=app, client=second)).status == 429) is shared


async def test_a_48_of_many_64s_has_ten_times_as_much(ask, build):
    app = build(rate_limit_anonymous=2)
    statuses = [(await ask("GET", "/api/open", app=app, client=f"2001:db8:1:{n:x}::1")).status for n in range(25)]
    assert statuses == [200] * 20 + [429] * 5
    assert (await ask("GET", "/api/open", app=app, client="2001:db8:2::1")).status == 200


async def test_a_proxy_that_speaks_ipv6_is_trusted_as_what_it_is(ask, build):
    app = build(trusted_proxies=["10.0.0.0/8"])
    forwarded = {"x-forwarded-for": "::ffff:198.51.100.7"}
    answer = await ask("GET", "/api/open", app=app, client="::ffff:10.1.2.3", headers=forwarded)
    assert answer.json["address"] == "198.51.100.7"
