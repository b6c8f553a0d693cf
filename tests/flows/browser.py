"""A person's browser: the Chromium that is installed, on the pages as they are served.

Nothing is fetched for it. ``TOLLHOUSE_CHROMIUM`` says where it is, and then it has to be there; else it is looked for, and the
stories that need it are skipped without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from tests.peers import AXE

CHROMIUM: Final = os.environ.get("TOLLHOUSE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
DESKTOP: Final[ViewportSize] = {"width": 1280, "height": 900}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
QUIET: Final = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian, Ubuntu: apt-get install chromium)"
)
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is an npm package: make test installs it where npm is")


@dataclass
class Window:
    """A page, and what its scripts complained of."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        await self.page.goto(self.address + path)

    async def faults(self) -> list[str]:
        """What axe-core finds wrong with the page as it stands, by the rules of WCAG 2.2 A and AA and its own."""
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: dict[str, Any] = await self.page.evaluate("rules => axe.run({runOnly: rules})", RULES)
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found["violations"] for node in one["nodes"]
        ]

    async def too_wide(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser, without a window."""
    async with async_playwright() as playwright:
        sandbox = os.geteuid() != 0  # which Chromium does not offer to root
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET), chromium_sandbox=sandbox)
        yield browser
        await browser.close()


expect.set_options(timeout=20_000)


async def window(
    browser: Browser,
    address: str,
    size: ViewportSize = DESKTOP,
    scheme: Literal["light", "dark"] = "light",
    *,
    scripts: bool = True,
    state: Path | None = None,
) -> Window:
    """A window of a person of their own; ``state``: cookies that were kept."""
    phone = size is PHONE
    context = await browser.new_context(
        viewport=size, color_scheme=scheme, java_script_enabled=scripts, has_touch=phone, is_mobile=phone, storage_state=state
    )
    context.set_default_timeout(20_000)
    opened = Window(await context.new_page(), address)
    opened.page.on("console", lambda said: opened.complaints.append(said.text) if said.type == "error" else None)
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    return opened
