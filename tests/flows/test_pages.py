"""The web channel on the real kernel: what a customer's browser is told when something goes wrong, and what stays."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
import tollhouse_web

from tests.conftest import Cluster
from tests.flows.driver import Answer, Client
from tests.world import KEY, ScriptedModel, Shop, add_customer, open_shop
from tollhouse import plugin as th
from tollhouse.app import Process
from tollhouse.auth import repository as auth_rows
from tollhouse.settings import Settings
from tollhouse.store.secrets import SecretBox

PART = {"hx-request": "true"}


class ModelPlugin:
    """The scripted model alone: the channel is the real one."""

    contract = (1, 0)
    ports: ClassVar[tuple[type[Any], ...]] = ()

    def __init__(self) -> None:
        self.model = ScriptedModel()

    @th.impl
    def register_llm_backends(self, settings: Any) -> list[Any]:
        return [self.model]


@dataclass
class Site:
    """A process with the web channel, and a shop in it."""

    process: Process
    model: ScriptedModel
    shop: Shop
    slug: str

    async def customer(self) -> Client:
        """The browser of a new customer who is signed in."""
        return self.browser(await self.token(await add_customer(self.process.store, self.shop)))

    async def token(self, user_id: UUID) -> str:
        async with self.process.store.transaction(self.shop.tenant_id) as conn:
            row = await auth_rows.get_user(conn, self.shop.tenant_id, user_id)
            assert row is not None
            return (await self.process.container.sessions.open(conn, row, "password", "cookie")).token

    def browser(self, token: str | None = None) -> Client:
        return Client.browser(self.process.app, self.slug, token)


@pytest.fixture
async def site(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Site]:
    plugin = ModelPlugin()
    rates = {"rate_limit_anonymous": 0, "rate_limit_principal": 0, "rate_limit_login": 0}
    settings = Settings(data_dir=tmp_path, enabled=["scripted", "web"], jobs=False, **rates)  # type: ignore[arg-type]
    plugins = {"scripted": plugin, "web": tollhouse_web.plugin}
    process = Process(settings, cluster.dsn, SecretBox([KEY]), plugins=plugins)
    await process.start()
    shop = await open_shop(process.store, {"metric": "calls", "amount": 3, "window": "day"})
    slug = (await process.container.directory.by_id(shop.tenant_id)).slug
    yield Site(process, plugin.model, shop, slug)
    await process.close()


def busy(request: th.CompletionRequest) -> th.Completion:
    raise th.BackendRateLimited()


async def send(browser: Client, text: str, key: str, conversation: str = "") -> Answer:
    client = Client(browser.app, browser.prefix, {**browser.headers, **PART})
    return await client.fill("/chat", agent="guide", conversation=conversation, key=key, text=text)


def retry_of(text: str) -> str:
    found = re.search(r'hx-post="(?:/t/[^/]+)?(/chat/[^/"]+/turns/[^/"]+/again)"', text)
    assert found is not None, text
    return found[1]


async def test_a_message_that_failed_keeps_its_state_and_is_answered_in_its_place(site: Site) -> None:
    ada = await site.customer()
    site.model.answer = busy
    failed = await send(ada, "Are you there?", "first-key")
    assert failed.status == 503
    assert failed.headers["x-message-kept"] == "yes"
    assert "The model is busy" in failed.text
    place = failed.headers["hx-replace-url"].removeprefix(f"/t/{site.slug}")
    reloaded = await ada.get(place)
    assert reloaded.text.count(">Are you there?</div>") == 1
    assert "The model is busy" in reloaded.text
    again = retry_of(reloaded.text)
    assert again == retry_of(failed.text)

    part = Client(ada.app, ada.prefix, {**ada.headers, **PART})
    still = await part.fill(again)
    assert still.status == 503
    assert retry_of(still.text) == again

    site.model.answer = site.model.polite
    answered = await part.fill(again)
    assert answered.status == 200
    assert "Hello." in answered.text
    after = (await ada.get(place)).text
    assert after.count(">Are you there?</div>") == 1
    assert "The model is busy" not in after
    assert "/again" not in after
    assert "2 of 3 messages left today" in after


async def test_a_later_message_that_failed_is_tried_again_too_and_without_a_script(site: Site) -> None:
    ada = await site.customer()
    first = await send(ada, "Hello", "key-one-1")
    conversation = re.search(r'name="conversation" id="conversation" value="([^"]+)"', first.text)
    assert conversation is not None
    site.model.answer = busy
    failed = await ada.fill("/chat", agent="guide", conversation=conversation[1], key="key-two-2", text="And now?")
    assert failed.status == 303
    page = (await ada.get(f"/chat/{conversation[1]}")).text
    assert page.index(">And now?</div>") < page.index("The model is busy")
    site.model.answer = site.model.polite
    done = await ada.fill(retry_of(page))
    assert (done.status, done.location) == (303, f"/t/{site.slug}/chat/{conversation[1]}#end")
    page = (await ada.get(f"/chat/{conversation[1]}")).text
    assert page.count(">And now?</div>") == 1
    assert "The model is busy" not in page


async def test_nobody_else_tries_a_message_again(site: Site) -> None:
    ada, bob = await site.customer(), await site.customer()
    site.model.answer = busy
    again = retry_of((await send(ada, "Mine", "first-key")).text)
    calls = len(site.model.calls)
    refused = await bob.fill(again)
    assert refused.status == 404
    assert len(site.model.calls) == calls


async def test_a_session_that_has_ended_is_a_card_in_the_chat(site: Site) -> None:
    stranger = Client.browser(
        site.process.app, site.slug, "ended", **PART, **{"hx-current-url": "http://x/chat/new?agent=guide"}
    )
    answer = await stranger.fill("/chat", agent="guide", text="Long thoughts", key="first-key")
    assert answer.status == 401
    assert "<html" not in answer.text
    assert f'href="/t/{site.slug}/login?next=/chat/new%3Fagent%3Dguide"' in answer.text


async def test_a_strangers_deep_link_comes_back_after_the_sign_in(site: Site) -> None:
    stranger = site.browser()
    for path in ("/usage", "/chat/new?agent=guide", "/account/keys"):
        answer = await stranger.get(path)
        assert answer.status == 303
        page = await stranger.get(answer.location.removeprefix(f"/t/{site.slug}"))
        assert f'name="next" value="{path}"' in page.text


async def test_what_is_answered_meanwhile_is_not_tried_twice(site: Site) -> None:
    ada = await site.customer()
    site.model.answer = busy
    again = retry_of((await send(ada, "Are you there?", "first-key")).text)
    site.model.answer = site.model.polite
    site.model.gate = asyncio.Event()
    part = Client(ada.app, ada.prefix, {**ada.headers, **PART})
    calls = len(site.model.calls)
    first = asyncio.create_task(part.fill(again))
    while len(site.model.calls) == calls:  # noqa: ASYNC110 - until the model is asked
        await asyncio.sleep(0.01)
    second = await part.fill(again)
    assert second.status == 409
    assert "Your message is still being answered" in second.text
    site.model.gate.set()
    assert "Hello." in (await first).text
    assert "Hello." in (await part.fill(again)).text, "asked for once more, the answer is the same"
    assert len(site.model.calls) == calls + 1


@pytest.mark.parametrize(
    ("path", "before", "way"),
    [
        ("/account/profile", "/account", "/login?next=/account"),
        ("/console/settings", "/console/settings", "/console/sign-in?next=/console/settings"),
    ],
)
async def test_a_form_of_who_was_signed_out_leads_through_its_door_and_back(
    site: Site, path: str, before: str, way: str
) -> None:
    page = {"accept": "text/html", "referer": f"http://127.0.0.1:8000/t/{site.slug}{before}", "host": "127.0.0.1:8000"}
    answer = await Client.browser(site.process.app, site.slug, "ended", **page).fill(path, name="Ada")
    assert answer.status == 401
    assert f'href="/t/{site.slug}{way}"' in answer.text
    assert "What you wrote was not saved" in answer.text


async def test_the_console_leads_to_the_shop_that_it_is_of(site: Site) -> None:
    user_id = await add_customer(site.process.store, site.shop)
    async with site.process.store.transaction(site.shop.tenant_id) as conn:
        await auth_rows.change_user(conn, site.shop.tenant_id, user_id, role="owner")
    page = (await site.browser(await site.token(user_id)).get("/console")).text
    found = re.search(r'<a href="([^"]+)">Open the shop</a>', page)
    assert found is not None
    assert found[1].endswith(f"/t/{site.slug}/")
    assert f'<a href="/t/{site.slug}/console/users/{user_id}"><span class="small">' in page


@pytest.mark.parametrize(("host", "told"), [("127.0.0.1:8000", False), ("192.168.1.7:8000", True)])
async def test_every_door_says_where_browsers_keep_no_session(site: Site, host: str, told: bool) -> None:
    stranger = Client.browser(site.process.app, site.slug, None, host=host)
    for path in ("/login", "/console/sign-in"):
        page = (await stranger.get(path)).text
        assert ("plain http" in page) is told, path
