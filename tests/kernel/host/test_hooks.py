"""Each hook does what its specification says: one test for each, named after it, and a test that demands that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, SecretStr

from tollhouse import plugin as th
from tollhouse.border.errors import PluginFault
from tollhouse.host import docs
from tollhouse.host.host import Host
from tollhouse.host.loader import HOOKS, load_plugins
from tollhouse.plugin import hookspecs
from tollhouse.settings import Settings
from tollhouse.store.ids import new_id
from tollhouse.testing import FakeAuthProvider, FakeBackend, FakeMessenger, FakePaymentProvider

ROOT = Path(__file__).parents[3]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    word: str = "none"
    key: SecretStr = SecretStr("")


def host_of(*, word: str = "set", **plugins: Any) -> Host:
    table = {name: {"word": word} for name, plugin in plugins.items() if hasattr(plugin, "Settings")}
    return load_plugins(Settings(plugin_settings=table), plugins=plugins, environ={})


class Base:
    contract = (1, 0)
    Settings = Options

    def __init__(self) -> None:
        self.seen: list[Any] = []


def an_event(name: th.EventName = "order.paid") -> th.Event:
    return th.Event(new_id(), name, new_id(), datetime.now(UTC), {})


def test_hook_register_channels() -> None:
    class Plugin(Base):
        @th.impl
        def register_channels(self, settings: Options) -> Iterable[th.Channel]:
            self.seen.append(settings.word)
            return [FakeMessenger()]

    plugin = Plugin()
    host = host_of(p=plugin)
    assert [found.plugin for found in host.channels.values()] == ["p"]
    assert host.of_kind("channel") == host.channels
    assert plugin.seen == ["set"], "called once, with the plugin's own settings"


def test_hook_register_payment_providers() -> None:
    class Plugin(Base):
        @th.impl
        def register_payment_providers(self, settings: Options) -> Iterable[th.PaymentProvider]:
            yield FakePaymentProvider()

    host = host_of(p=Plugin())
    assert [found.plugin for found in host.payment_providers.values()] == ["p"]
    assert host.of_kind("payment") == host.payment_providers


def test_hook_register_auth_providers() -> None:
    class Plugin(Base):
        @th.impl
        def register_auth_providers(self, settings: Options) -> Iterable[th.AuthProvider]:
            return (FakeAuthProvider(),)

    host = host_of(p=Plugin())
    assert [found.plugin for found in host.auth_providers.values()] == ["p"]
    assert host.of_kind("auth") == host.auth_providers


def test_hook_register_llm_backends() -> None:
    class Plugin(Base):
        @th.impl
        def register_llm_backends(self, settings: Options) -> Iterable[th.LLMBackend]:
            return [FakeBackend()]

    host = host_of(p=Plugin())
    assert [found.plugin for found in host.llm_backends.values()] == ["p"]
    assert host.of_kind("llm") == host.llm_backends


def test_hook_register_routes() -> None:
    router = APIRouter()

    class Plugin(Base):
        @th.impl
        def register_routes(self, settings: Options) -> Iterable[th.Mount]:
            return [th.Mount("/shop", router)]

    (mount,) = host_of(p=Plugin()).mounts
    assert (mount.plugin, mount.obj.prefix, mount.obj.router) == ("p", "/shop", router)


async def test_hook_register_commands() -> None:
    async def run(arguments: Any) -> int:
        return len(arguments)

    class Plugin(Base):
        @th.impl
        def register_commands(self, settings: Options) -> Iterable[th.Command]:
            return [th.Command("count", "Counts.", run)]

    command = host_of(p=Plugin()).commands["count"]
    assert command.plugin == "p"
    assert await command.obj.run(["a", "b"]) == 2


async def test_hook_on_startup() -> None:
    order: list[str] = []

    class Plugin(Base):
        @th.impl
        async def on_startup(self, settings: Options) -> None:
            order.append(settings.word)

    class Refusing(Base):
        def __init__(self, error: BaseException) -> None:
            self.error = error

        @th.impl
        async def on_startup(self) -> None:
            raise self.error

    host = host_of(p=Plugin())
    assert order == [], "not while loading"
    await host.startup()
    assert order == ["set"]
    with pytest.raises(th.ConfigError) as caught:
        await host_of(first=Plugin(), bad=Refusing(th.ConfigError("set the word"))).startup()
    assert caught.value.detail == "plugin 'bad': set the word"
    assert order == ["set", "set"], "in the order of plugins.toml"
    for error in (KeyError("x"), SystemExit(1)):
        with pytest.raises(th.ConfigError, match="plugin 'bad' failed in on_startup: " + type(error).__name__):
            await host_of(bad=Refusing(error)).startup()


class Listener(Base):
    events = ("order.paid",)

    @th.impl
    async def on_event(self, event: th.Event) -> None:
        self.seen.append(event.name)


class Failing(Listener):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    @th.impl
    async def on_event(self, event: th.Event) -> None:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("secret text"), SystemExit(3), TimeoutError(), th.ConfigError("x")])
async def test_hook_on_event(error: BaseException) -> None:
    good, deaf = Listener(), Base()
    host = host_of(bad=Failing(error), good=good, deaf=deaf)
    assert host.subscribers("order.paid") == ["bad", "good"]
    assert host.subscribers("user.registered") == []
    with pytest.raises(PluginFault, match="'bad'") as caught:
        await host.notify("bad", an_event())
    assert "secret text" not in caught.value.detail
    assert good.seen == [], "one call reaches one plugin"
    await host.notify("good", an_event())
    assert good.seen == ["order.paid"]
    for name in ("deaf", "gone"):
        with pytest.raises(PluginFault, match=name):
            await host.notify(name, an_event())


async def test_a_plugin_that_hangs_over_an_event_is_given_up() -> None:
    class Hanging(Base):
        events = ("order.paid",)

        @th.impl
        async def on_event(self, event: th.Event) -> None:
            await asyncio.Event().wait()

    with pytest.raises(PluginFault, match="took longer"):
        await host_of(p=Hanging()).notify("p", an_event(), timeout=0.01)


async def test_cancelling_the_relay_is_not_mistaken_for_a_failure() -> None:
    started = asyncio.Event()

    class Waiting(Base):
        events = ("order.paid",)

        @th.impl
        async def on_event(self, event: th.Event) -> None:
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(host_of(p=Waiting()).notify("p", an_event()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_plugin_is_described_without_its_secrets() -> None:
    class Plugin(Listener):
        ports = (th.Turns, th.Files)

    settings = Settings(plugin_settings={"p": {"key": "sk-very-secret"}})
    host = load_plugins(settings, plugins={"p": Plugin()}, environ={})
    about = host.describe("p")
    assert about["contract"] == "1.0"
    assert about["hooks"] == ["on_event"]
    assert about["ports"] == ["Turns", "Files"]
    assert about["events"] == ["order.paid"]
    assert about["settings"] == {"word": "none", "key": "set"}
    assert about["settings_schema"]["properties"]["word"]["type"] == "string"
    assert "sk-very-secret" not in repr((about, host))
    with pytest.raises(th.NotFound):
        host.describe("q")


def test_every_hook_has_a_test() -> None:
    specified = {name for name in vars(hookspecs) if name.startswith(("register_", "on_"))}
    assert specified == set(HOOKS)
    assert {f"test_hook_{name}" for name in specified} <= set(globals())


def test_the_reference_of_hooks_is_up_to_date() -> None:
    stored = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    assert stored == docs.render(), "run: python -m tollhouse.host.docs docs/reference/hooks.md"
    assert all(f"## {hook}\n" in stored for hook in HOOKS)


def test_the_example_of_the_how_to_works() -> None:
    page = (ROOT / "docs/how-to/write-a-plugin.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    space: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "write-a-plugin.md", "exec", dont_inherit=True), space)
    host = load_plugins(
        Settings(plugin_settings={"shout": {"exclamation_marks": 2}}), plugins={"shout": space["plugin"]}, environ={}
    )
    assert host.describe("shout")["llm_backends"] == ["shout"]
    assert isinstance(host.llm_backends["shout"].obj, th.Connectable)
