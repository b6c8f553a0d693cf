"""What people see and do, in a real browser: with scripts and without, on a desk and on a phone, by day and by night."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from playwright.async_api import Browser, expect

from tests.flows.browser import DESKTOP, PHONE, Window, needs_axe, needs_chromium, window
from tests.flows.first import PASSWORD, Installation, payable
from tests.flows.people import answered, refused, register

pytestmark = needs_chromium
ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SIZES: Final = [pytest.param(DESKTOP, "light", id="desk"), pytest.param(PHONE, "dark", id="phone")]


async def claim(olga: Window, first: Installation) -> None:
    await payable(first)
    await olga.go(first.claim)
    await olga.page.get_by_label("E-mail").fill("olga@example.test")
    await olga.page.get_by_label("Password").fill(PASSWORD)
    await olga.page.locator("form button.primary").click()
    await expect(olga.page).to_have_url(re.compile("/console$"))


async def test_a_person_talks_without_a_page_being_loaded_and_is_told_when_it_is_enough(
    first: Installation, browser: Browser
) -> None:
    ada = await window(browser, first.address)
    await register(ada)
    await ada.go("/chat/new?agent=guide")
    said, page = ada.page.get_by_label("Message", exact=True), ada.page
    await expect(said).to_be_focused()
    await page.evaluate("window.stayed = true")
    for number in range(1, 21):
        await said.fill(f"Number {number}")
        await said.press("Enter")
        await answered(ada, f"Number {number}")
        await expect(page.locator("#composer")).not_to_have_attribute("aria-busy", "true")
        await expect(said).to_have_value("")
    await expect(page).to_have_url(re.compile(f"/chat/{ID.pattern}$"))
    await said.fill("One too many")
    await said.press("Enter")
    await expect(page.locator("#trouble .denial, #messages .denial")).to_contain_text("20 of 20")
    await expect(said).to_have_value("One too many")
    assert await page.evaluate("window.stayed"), "one page from the first message to the last"
    await page.reload()
    await expect(page.locator(".message.agent")).to_have_count(20)
    assert [one for one in ada.complaints if not refused(one)] == []


async def test_a_line_that_breaks_loses_no_word(first: Installation, browser: Browser) -> None:
    ada = await window(browser, first.address)
    await register(ada)
    await ada.go("/chat/new?agent=guide")
    said, page = ada.page.get_by_label("Message", exact=True), ada.page

    async def cut(route: Any) -> None:
        await route.abort()

    await page.route("**/chat", cut)
    await said.fill("Are you there?")
    await said.press("Enter")
    await expect(page.locator("#trouble .denial.failed")).to_be_visible()
    await expect(said).to_have_value("Are you there?")
    await page.unroute("**/chat", cut)
    await page.locator("#trouble button").click()
    await answered(ada, "Are you there?")
    await expect(page.locator(".message.user")).to_have_count(1)
    await expect(page.locator("#trouble .denial")).to_have_count(0)


async def test_a_person_whose_browser_runs_no_scripts_is_served_too(first: Installation, browser: Browser) -> None:
    ada = await window(browser, first.address, scripts=False)
    await register(ada)
    await ada.go("/chat/new?agent=guide")
    for number in (1, 2):
        await ada.page.get_by_label("Message", exact=True).fill(f"Number {number}")
        await ada.page.get_by_role("button", name="Send", exact=True).click()
        await answered(ada, f"Number {number}")
    await ada.go("/usage")
    await expect(ada.page.locator("main")).to_contain_text("2 of 20")


async def test_what_cannot_be_undone_is_asked_for_first(first: Installation, browser: Browser) -> None:
    olga = await window(browser, first.address)
    await claim(olga, first)
    page = olga.page
    await olga.go("/console/plans")
    await page.get_by_role("link", name="Pro").first.click()
    await page.get_by_role("button", name="Archive").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(dialog).to_have_count(0)
    await page.get_by_role("button", name="Archive").click()
    await dialog.locator("button[value=ok]").click()
    await expect(page.get_by_role("button", name="Put it back")).to_be_visible()
    assert olga.complaints == []


@needs_axe
@pytest.mark.parametrize(("size", "scheme"), SIZES)
async def test_a_customers_pages_are_accessible(first: Installation, browser: Browser, size: Any, scheme: Any) -> None:
    ada = await window(browser, first.address, size, scheme)
    strange, faults = await walk(ada, "/", except_for="/console")
    await register(ada)
    await ada.go("/chat/new?agent=guide")
    await ada.page.get_by_label("Message", exact=True).fill("# Title\n\n- one\n- two\n\n`code`")
    await ada.page.get_by_role("button", name="Send", exact=True).click()
    await expect(ada.page).to_have_url(re.compile(f"/chat/{ID.pattern}$"))
    await answered(ada, "Title")
    seen, more = await walk(ada, "/agents", except_for="/console")
    assert {"/", "/login", "/register", "/plans"} <= strange
    assert {"/chat", "/chat/{id}", "/usage", "/account", "/account/keys", "/subscribe/pro"} <= seen
    nothing_in([*faults, *more, *ada.complaints])


@needs_axe
@pytest.mark.parametrize(("size", "scheme"), SIZES)
async def test_the_consoles_pages_are_accessible(first: Installation, browser: Browser, size: Any, scheme: Any) -> None:
    olga = await window(browser, first.address, size, scheme)
    await claim(olga, first)
    seen, faults = await walk(olga, "/console", within="/console")
    wanted = {"agents", "plans", "connections", "users", "subscriptions", "orders", "usage", "prices", "audit", "settings"}
    assert {f"/console/{name}" for name in wanted} <= seen
    assert {"/console/agents/{id}", "/console/versions/{id}", "/console/plans/{id}/edit", "/console/users/{id}"} <= seen
    nothing_in([*faults, *olga.complaints])


def nothing_in(faults: list[str]) -> None:
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


async def walk(visitor: Window, start: str, within: str = "/", except_for: str = "") -> tuple[set[str], list[str]]:
    """Follow every link, once for each kind of page; the kinds that were seen, and what is wrong with them."""
    seen: set[str] = set()
    faults: list[str] = []
    ahead = [start]
    while ahead:
        path = ahead.pop()
        kind = ID.sub("{id}", path.partition("?")[0])
        if kind in seen:
            continue
        seen.add(kind)
        answer = await visitor.page.goto(visitor.address + path)
        assert answer is not None
        found = [f"answers {answer.status}"] if answer.status >= 400 else []
        if too_wide := await visitor.too_wide():
            found.append(f"is {too_wide} pixels too wide")
        faults += [f"{kind}: {fault}" for fault in found + await visitor.faults()]
        links: list[str] = await visitor.page.evaluate(LINKS)
        ahead += [
            link
            for link in links
            if link.startswith(within) and not (except_for and link.startswith(except_for)) and not NO_PAGES.search(link)
        ]
    return seen, faults


LINKS: Final = """[...document.querySelectorAll('a[href]')]
    .filter(a => a.origin === location.origin && !a.download).map(a => a.pathname + a.search)"""
# Of another tenant's console one page stands for all: they are the same.
NO_PAGES: Final = re.compile(r"/console/as/[^/]+/|\.csv|^/static|^/docs|^/openapi|/logout|sign-out|^/t/")
