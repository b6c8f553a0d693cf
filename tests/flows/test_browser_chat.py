"""Writing and reading in a real browser: other keyboards, other scripts, files, formulas, links, and a page loaded again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.flows.browser import DESKTOP, PHONE, Window, needs_chromium, window
from tests.flows.examples import PIXEL
from tests.flows.first import Installation
from tests.flows.people import answered, refused, register

pytestmark = needs_chromium
SOURCE = (
    "Run this:\n\n```python\n    def f():\n        return 1\n```\n\n"
    "It gives \\(a_1 * b_1\\) and $x_i * y_i$, see [the docs](https://docs.example/a).[^1]\n\n[^1]: A *note*, not a link."
)


async def begun(browser: Browser, first: Installation, size: Any = DESKTOP) -> tuple[Window, Page]:
    """A person in a new chat."""
    ada = await window(browser, first.address, size)
    await register(ada)
    await ada.go("/chat/new?agent=guide")
    return ada, ada.page


async def say(ada: Window, text: str) -> None:
    await ada.page.get_by_label("Message", exact=True).fill(text)
    await ada.page.get_by_role("button", name="Send", exact=True).click()


KEY = """([keyCode, isComposing]) => document.querySelector('#say').dispatchEvent(
    new KeyboardEvent('keydown', {key: 'Enter', keyCode, isComposing, bubbles: true, cancelable: true}))"""


async def test_enter_that_ends_a_composition_sends_nothing(first: Installation, browser: Browser) -> None:
    ada, page = await begun(browser, first)
    said = page.get_by_label("Message", exact=True)
    await said.fill("日本")
    untouched = [
        await page.evaluate(KEY, [13, True]),  # Chromium, Firefox: while composing
        await page.evaluate(KEY, [229, False]),  # Safari: the composition has ended before its own key
        await page.evaluate(
            "() => document.querySelector('#say').dispatchEvent(new CompositionEvent('compositionend', {bubbles: true}))"
        )
        and await page.evaluate(KEY, [13, False]),  # and where the old code is missing too
    ]
    assert untouched == [True, True, True], "the browser does with the key what it does"
    await expect(page.locator(".message.user")).to_have_count(0)
    await expect(said).to_have_value("日本")
    await page.wait_for_timeout(50)
    await said.press("Enter")
    await answered(ada, "日本")


async def test_what_is_copied_is_what_was_written(first: Installation, browser: Browser) -> None:
    ada, page = await begun(browser, first)
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: {writeText: async t => { window.copied = t }}})")
    await say(ada, f"/echo {SOURCE}")
    await answered(ada, "Run this")
    answer = page.locator(".message.agent").last
    await answer.locator("figure button").click()
    assert (await page.evaluate("window.copied")).rstrip("\n") == "    def f():\n        return 1"
    await answer.locator(".meta button").click()
    assert await page.evaluate("window.copied") == SOURCE
    assert not [one for one in ada.complaints if not refused(one)]


async def test_formulas_footnotes_and_links_are_shown_as_they_are(first: Installation, browser: Browser) -> None:
    ada, page = await begun(browser, first)
    await say(ada, f"/echo {SOURCE}\n\n\\[\n\\frac{{a_1}}{{b_1}} * c\n\\]\n\n[bank.example](https://evil.example/x)")
    await answered(ada, "Run this")
    prose = page.locator(".message.agent").last.locator(".prose")
    await expect(prose).to_contain_text("\\(a_1 * b_1\\) and $x_i * y_i$")
    await expect(prose).to_contain_text("\\frac{a_1}{b_1} * c")
    await expect(prose).to_contain_text("[^1]: A note, not a link.")
    await expect(prose).to_contain_text("the docs (docs.example)")
    links = await prose.locator("a").evaluate_all("all => all.map(a => [a.textContent, a.href])")
    assert links == [["the docs", "https://docs.example/a"], ["evil.example", "https://evil.example/x"]]
    await expect(prose).to_contain_text("bank.example (evil.example)")


async def test_a_page_that_is_loaded_again_shows_what_is_on_its_way(first: Installation, browser: Browser) -> None:
    ada, page = await begun(browser, first)
    await say(ada, "/slow 4 Hello from before")
    await expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"), timeout=3_000)
    await expect(page.locator("#messages .message.user")).to_contain_text("Hello from before")
    await page.reload()
    await expect(page.locator("#messages .message.user")).to_contain_text("Hello from before")
    await expect(page.locator("#running")).to_be_visible()
    await page.reload()
    await expect(page.locator("#running")).to_be_visible()
    await expect(page.locator("#messages .message.user")).to_have_count(1)
    await expect(page.get_by_label("Message", exact=True)).to_have_value("")
    await expect(page.locator("#messages .message.agent").last).to_contain_text("Hello")
    await expect(page.locator("#messages .message.user")).to_have_count(1)
    await page.reload()
    await expect(page.locator("#messages .message")).to_have_count(2)
    assert not [one for one in ada.complaints if not refused(one)]


async def test_a_message_that_never_left_is_sent_by_the_page_loaded_again(first: Installation, browser: Browser) -> None:
    ada, page = await begun(browser, first)
    held: list[Any] = []
    await page.route("**/chat", lambda route: held.append(route))
    await say(ada, "Did this leave?")
    await expect(page.locator(".message.pending")).to_be_visible()
    await expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    await page.unroute("**/chat")
    await page.reload()
    await answered(ada, "Did this leave?")
    await expect(page.locator("#messages .message.user")).to_have_count(1)


async def test_a_chat_that_would_have_no_answer_is_not_begun(first: Installation, browser: Browser) -> None:
    ada, page = await begun(browser, first)
    for number in range(20):
        await page.request.post(
            f"{first.address}/chat",
            multipart={"agent": "guide", "text": f"Number {number}", "key": f"number-{number:04}"},
            headers={"Origin": first.address},
        )
    await page.goto(f"{first.address}/chat")
    chats = await page.locator("main a[href*='/chat/']").count()
    await ada.go("/chat/new?agent=guide")
    await say(ada, "One too many")
    await expect(page.locator("#trouble .denial")).to_contain_text("20 of 20")
    await expect(page).to_have_url(re.compile("/chat/new"))
    await page.goto(f"{first.address}/chat")
    assert await page.locator("main a[href*='/chat/']").count() == chats


PUT = """([how, files]) => {
    const data = new DataTransfer
    for (const [name, type, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name, {type}))
    const event = how == 'paste' ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})
        : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})
    document.querySelector('#say').dispatchEvent(event)
}"""


async def test_files_that_are_pasted_dropped_and_chosen_are_all_sent(
    first: Installation, browser: Browser, tmp_path: Path
) -> None:
    ada, page = await begun(browser, first)
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("chosen")
    await page.evaluate(PUT, ["paste", [["pasted.png", "image/png", list(PIXEL)]]])
    await expect(page.locator("[data-chips] .name")).to_have_text(["pasted.png"])
    await page.evaluate(PUT, ["drop", [["dropped.md", "", list(b"# dropped")]]])
    await expect(page.locator("[data-chips] .name")).to_have_text(["pasted.png", "dropped.md"])
    await page.locator("input[type=file]").set_input_files(chosen)
    await expect(page.locator("[data-chips] .name")).to_have_text(["pasted.png", "dropped.md", "chosen.txt"])
    await page.get_by_label("Remove dropped.md").click()
    await expect(page.locator("[data-chips] .name")).to_have_text(["pasted.png", "chosen.txt"])
    await say(ada, "What did you get?")
    await answered(ada, "chosen.txt")
    await answered(ada, "pasted.png")
    await expect(page.locator(".message.user .attachment, .message.user .thumb")).to_have_count(2)
    await expect(page.locator("[data-chips] .name")).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        (
            "report.docx",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            b"PK\x03\x04\x14\x00\x06\x00",
        ),
        ("sheet.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK\x03\x04\x14\x00\x06\x00"),
        ("photo.heic", "image/heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00"),
        ("latin.csv", "text/csv", "für".encode("latin-1")),
        ("empty.txt", "text/plain", b""),
    ],
)
async def test_files_of_other_kinds_are_refused_before_they_travel(
    first: Installation, browser: Browser, name: str, kind: str, data: bytes
) -> None:
    _, page = await begun(browser, first)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    await page.evaluate(PUT, ["drop", [[name, kind, list(data)], ["fine.txt", "text/plain", list(b"fine")]]])
    await expect(page.locator("#trouble .denial")).to_contain_text(f"{name}: ")
    await expect(page.locator("#trouble .denial")).to_contain_text("plain text")
    await expect(page.locator("[data-chips] .name")).to_have_text(["fine.txt"])
    offered = await page.locator("input[type=file]").get_attribute("accept")
    assert offered is not None
    assert not {".docx", ".xlsx", "image/*", "image/heic", "audio/*"} & set(offered.split(","))
    assert sent == []


@pytest.mark.parametrize("size", [pytest.param(DESKTOP, id="desk"), pytest.param(PHONE, id="phone")])
async def test_a_long_answer_is_read_from_its_beginning(first: Installation, browser: Browser, size: Any) -> None:
    ada, page = await begun(browser, first, size)
    await say(ada, "/echo " + "\n\n".join(f"Paragraph {number}" for number in range(80)))
    await answered(ada, "Paragraph 79")
    answer = page.locator(".message.agent").last
    await expect(answer.get_by_text("Paragraph 0", exact=True)).to_be_in_viewport()
    await expect(answer.get_by_text("Paragraph 79", exact=True)).not_to_be_in_viewport()
    await page.goto(page.url)
    await expect(answer.get_by_text("Paragraph 0", exact=True)).to_be_in_viewport()
    await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    await say(ada, "Short")
    await answered(ada, "Short")
    await expect(page.locator(".message.agent").last.locator("blockquote")).to_be_in_viewport()
    await page.evaluate("scrollTo(0, 0)")
    before = await page.evaluate("scrollY")
    await page.get_by_label("Message", exact=True).fill("/slow 1 And now")
    await page.get_by_label("Message", exact=True).press("Control+Enter")
    await expect(page.locator(".message.pending")).to_be_attached()
    await page.evaluate("scrollTo(0, 0)")
    await answered(ada, "And now")
    assert await page.evaluate("scrollY") == before, "whoever reads further up is left there"


async def test_words_of_both_directions_run_their_way(first: Installation, browser: Browser) -> None:
    ada, page = await begun(browser, first)
    await expect(page.get_by_label("Message", exact=True)).to_have_attribute("dir", "auto")
    await say(ada, "/echo שלום עולם\n\nHello world\n\n```\nx = 1\n```")
    await answered(ada, "Hello world")
    edges = await page.evaluate(
        """() => [...document.querySelectorAll('.message.agent:last-of-type .prose > p')].map(p => {
            const range = document.createRange(); range.selectNodeContents(p)
            const text = range.getBoundingClientRect(), box = p.getBoundingClientRect()
            return Math.abs(text.right - box.right) < 2 ? 'right' : 'left'
        })"""
    )
    assert edges[-2:] == ["right", "left"], "each paragraph by its own first letter"
    direction = await page.locator(".message.agent pre").last.evaluate("pre => getComputedStyle(pre).direction")
    assert direction == "ltr"


async def test_without_scripts_a_long_answer_is_read_from_its_beginning(first: Installation, browser: Browser) -> None:
    ada = await window(browser, first.address, scripts=False)
    await register(ada)
    await ada.go("/chat/new?agent=guide")
    await say(ada, "/echo " + "\n\n".join(f"Paragraph {number}" for number in range(80)))
    await answered(ada, "Paragraph 79")
    await expect(ada.page.locator(".message.agent").last.get_by_text("Paragraph 0", exact=True)).to_be_in_viewport()
