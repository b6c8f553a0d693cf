"""What people do in a browser, for more stories than one."""

from __future__ import annotations

import re

from playwright.async_api import expect

from tests.flows.browser import Window
from tests.flows.first import PASSWORD


async def register(ada: Window, email: str = "ada@example.test") -> None:
    await ada.go("/register")
    await ada.page.get_by_label("E-mail").fill(email)
    await ada.page.get_by_label("Password").fill(PASSWORD)
    await ada.page.locator("main form button.primary").click()
    await expect(ada.page).not_to_have_url(re.compile("/register"))


async def answered(visitor: Window, said: str) -> None:
    """The demo model repeats what it was told, so an answer is known from the greeting and from the answer before."""
    await expect(visitor.page.locator(".message.agent").last).to_contain_text(said)


def refused(complaint: str) -> bool:
    """Chromium writes of each answer that is an error into its console; that is no fault of a script."""
    return complaint.startswith("Failed to load resource")
