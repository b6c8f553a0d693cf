"""Who may open which page: every role against every address, taken from the table of routes itself."""

from __future__ import annotations

import re

import pytest

from tests.kernel.console.conftest import Answer, Browser, House, slug_of
from tests.world import Shop
from tollhouse.auth.roles import MAY
from tollhouse.console.desk import ELSEWHERE, PREFIX, PageSpec
from tollhouse.console.mount import page_specs
from tollhouse.plugin import Principal
from tollhouse.store.audit import Actor
from tollhouse.store.ids import new_id

UNKNOWN = str(new_id())
SPECS = list(page_specs())


def address(prefix: str, spec: PageSpec, slug: str = "") -> str:
    return re.sub(r"\{in_tenant\}", slug, prefix) + re.sub(r"\{\w+\}", UNKNOWN, spec.path)


async def every(browser: Browser, prefix: str = PREFIX, slug: str = "") -> list[tuple[PageSpec, Answer]]:
    return [(spec, await browser.send(spec.method, address(prefix, spec, slug))) for spec in SPECS]


def test_the_table_is_the_console(house: House) -> None:
    entries = [entry for entry in house.process.app.table.entries if entry.path.startswith("/console")]
    served = {(entry.method, entry.path) for entry in entries if entry.method != "HEAD"}
    declared = {(spec.method, prefix + spec.path) for prefix in (PREFIX, ELSEWHERE) for spec in SPECS}
    doors = {("GET", "/console/sign-in"), ("POST", "/console/sign-in"), ("POST", "/console/sign-out")}
    assert served == declared | doors
    assert all(spec.method == "GET" or spec.right in ("help", "manage", "operator") for spec in SPECS)


@pytest.mark.parametrize("role", ["owner", "admin", "support", "analyst"])
async def test_staff_get_what_their_role_gives_and_nothing_else(house: House, role: str) -> None:
    browser = await house.browser(role)
    for spec, answer in await every(browser):
        allowed = spec.right in MAY[role]  # type: ignore[index]
        if allowed:
            assert answer.status in (200, 303, 404, 409, 422), (spec, answer.status, answer.text[-1500:])
            assert "/sign-in" not in answer.location
        else:
            assert answer.status == 403, (spec, answer.status)


async def test_a_customer_gets_nothing(house: House) -> None:
    browser = await house.browser()
    assert {answer.status for _, answer in await every(browser)} == {403}


async def test_nobody_is_sent_to_sign_in_and_writes_nothing(house: House, other: Shop) -> None:
    # Also with another tenant's session in this tenant's cookie: it is as good as none here.
    _, foreign = await house.person("owner", shop=other)
    for browser in (house.nobody(), Browser(house.process.app, house.slug, foreign)):
        for spec, answer in await every(browser):
            if spec.method == "GET":
                assert (answer.status, answer.location.split("?")[0]) == (303, f"/t/{house.slug}/console/sign-in"), spec
            else:
                assert answer.status == 401, spec


async def test_only_an_operator_is_elsewhere(house: House, other: Shop) -> None:
    slug = await slug_of(house.store, other.tenant_id)
    for browser in (await house.browser("owner"), await house.browser("admin"), await house.browser()):
        assert {answer.status for _, answer in await every(browser, ELSEWHERE, slug)} == {403}
    operator = await house.browser("owner", operator=True)
    for spec, answer in await every(operator, ELSEWHERE, slug):
        # A version of this id does not exist there, so the try-out is refused or not found.
        assert answer.status in (200, 303, 404, 409, 422) or spec.path.endswith("/try"), (spec, answer.status)
    assert (await operator.get("/console/as/no-such-tenant")).status == 404


async def test_an_operator_elsewhere_sees_that_tenant_and_is_told_so(house: House, other: Shop) -> None:
    slug = await slug_of(house.store, other.tenant_id)
    operator = await house.browser("owner", operator=True)
    made = await operator.post(f"/console/as/{slug}/agents", name="Far away", slug="far", description="", welcome="")
    assert made.status == 303
    page = await operator.get(f"/console/as/{slug}/agents")
    assert "Far away" in page.text
    assert "as operator" in page.text
    assert "Far away" not in (await operator.get("/console/agents")).text
    log = await house.container.audit.list(other.tenant_id, action="agent.")
    assert [(row["action"], row["actor_kind"]) for row in log.items] == [("agent.created", "operator")]


async def test_foreign_ids_are_unknown_ids(house: House, other: Shop) -> None:
    owner = await house.browser("owner")
    customer, _ = await house.person(shop=other)
    for path in (
        f"/agents/{other.agent_id}",
        f"/versions/{other.version_id}",
        f"/versions/{other.version_id}/edit",
        f"/connections/{other.connection_id}",
        f"/users/{customer}",
        f"/users/{customer}/explain?agent=guide&channel=web",
    ):
        assert (await owner.get("/console" + path)).status == 404, path
    for path in (
        f"/versions/{other.version_id}/activate",
        f"/agents/{other.agent_id}/archive",
        f"/connections/{other.connection_id}/disable",
        f"/connections/{other.connection_id}/test",
        f"/users/{customer}/block",
        f"/users/{customer}/erase",
        f"/users/{customer}/sessions/end",
    ):
        assert (await owner.post("/console" + path)).status == 404, path
    assert not (await house.container.audit.list(other.tenant_id)).items


async def test_support_cannot_touch_those_above(house: House) -> None:
    support = await house.browser("support")
    owner, _ = await house.person("owner")
    customer, _ = await house.person()
    for action in ("block", "sessions/end", f"keys/{UNKNOWN}/revoke"):
        assert (await support.post(f"/console/users/{owner}/{action}")).status == 403, action
    assert (await support.post(f"/console/users/{customer}/sessions/end")).status == 303
    assert (await support.post(f"/console/users/{customer}/block")).status == 303
    assert (await house.container.users.get(house.shop.tenant_id, customer)).status == "blocked"


async def test_a_form_of_another_site_is_refused(house: House) -> None:
    owner = await house.browser("owner")
    form = {"name": "X", "slug": "x"}
    assert (await owner.send("POST", "/console/agents", form, site="cross-site")).status == 403
    assert (await house.nobody().send("POST", "/console/sign-in", form, site="cross-site")).status == 403
    assert len((await house.container.agents.list(house.shop.tenant_id)).items) == 1


@pytest.mark.parametrize(
    ("role", "over", "may"),
    [
        ("support", None, True),
        ("support", "support", False),
        ("support", "owner", False),
        ("admin", "support", True),
        ("admin", "owner", False),
        ("owner", "admin", True),
    ],
)
async def test_the_admins_interface_protects_staff_from_those_below_them_too(
    house: House, role: str, over: str | None, may: bool
) -> None:
    browser = await house.browser(role)
    tenant_id = house.shop.tenant_id
    user_id, _ = await house.person(over)
    operator_id, _ = await house.person(operator=True)
    principal = Principal(tenant_id, user_id, "password", "web")
    key, _ = await house.container.keys.create(principal, "laptop", actor=Actor("user", user_id))
    base = f"/api/v1/admin/users/{user_id}"
    ended = await browser.send("POST", f"{base}/end-sessions")
    revoked = await browser.send("DELETE", f"{base}/api-keys/{key.id}")
    assert (ended.status, revoked.status) == ((200, 204) if may else (403, 403))
    assert len(await house.container.keys.list_of(tenant_id, user_id)) == (0 if may else 1)
    assert (await browser.send("POST", f"/api/v1/admin/users/{operator_id}/end-sessions")).status == 403
    assert (await browser.send("POST", f"/api/v1/admin/users/{UNKNOWN}/end-sessions")).status == 404
