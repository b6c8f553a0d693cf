"""What plugins register: complete, each name once, and it is known by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tollhouse import plugin as th
from tollhouse.host.loader import load_plugins
from tollhouse.settings import Settings


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: SecretStr


class Chat:
    title = "Chat"
    capabilities = th.ChannelCapabilities()

    def __init__(self, name: str = "chat") -> None:
        self.name = name


class Backend:
    title = "Model"
    Config: Any = Config

    def __init__(self, name: str = "model") -> None:
        self.name: Any = name

    async def models(self, ctx: Any) -> list[th.ModelInfo]:
        return []

    async def complete(self, ctx: Any, request: th.CompletionRequest) -> th.Completion:
        return th.Completion(())


class Till:
    name = "till"
    title = "Till"
    capabilities = th.PaymentCapabilities()
    Config = Config

    async def checkout(self, ctx: Any, order: Any) -> Any: ...
    async def fetch(self, ctx: Any, order: Any, provider_reference: Any) -> Any: ...
    async def cancel(self, ctx: Any, provider_reference: Any) -> None: ...
    async def portal(self, ctx: Any, provider_reference: Any) -> None: ...


class Door:
    name = "door"
    title = "Door"
    Config = Config

    async def authorize_url(self, ctx: Any, request: Any) -> str:
        return ""

    async def exchange(self, ctx: Any, request: Any, callback: Any) -> Any: ...


async def run(arguments: Any) -> int:
    return 0


def offering(hook: str, *objects: Any) -> Any:
    """A plugin that registers these objects by one hook."""

    def register(self: Any, settings: Any) -> Iterable[Any]:
        return objects

    register.__name__ = hook
    return type("Offering", (), {"contract": (1, 0), hook: th.impl(register)})()


def with_(**members: Any) -> Any:
    return type("Plugin", (), {"contract": (1, 0), **members})()


def refusal(settings: Settings | None = None, **plugins: Any) -> str:
    """The line that stops the start."""
    with pytest.raises(th.ConfigError) as caught:
        load_plugins(settings or Settings(), plugins=plugins, environ={})
    line = caught.value.detail
    assert "\n" not in line
    return line


# -- registered objects -------------------------------------------------------------------------------------------------


def _without(cls: type[Any], member: str) -> Any:
    """An object of ``cls`` that lacks one member."""
    members = {
        name: value for name, value in {**vars(cls), **vars(cls())}.items() if name not in (member, "__init__", "__dict__")
    }
    return type(cls.__name__, (), members)()


@pytest.mark.parametrize(
    ("hook", "cls", "protocol", "member"),
    [
        ("register_channels", Chat, "Channel", "capabilities"),
        ("register_channels", Chat, "Channel", "name"),
        ("register_payment_providers", Till, "PaymentProvider", "portal"),
        ("register_payment_providers", Till, "PaymentProvider", "Config"),
        ("register_auth_providers", Door, "AuthProvider", "exchange"),
        ("register_llm_backends", Backend, "LLMBackend", "complete"),
        ("register_llm_backends", Backend, "LLMBackend", "title"),
    ],
)
def test_an_incomplete_object_names_the_missing_member(hook: str, cls: type[Any], protocol: str, member: str) -> None:
    line = refusal(odd=offering(hook, _without(cls, member)))
    assert line == f"plugin 'odd' registers {cls.__name__}, which is not a complete {protocol}: {member} is missing"


def _changed(cls: type[Any], **members: Any) -> Any:
    return type(cls.__name__, (cls,), members)()


async def _anything(self: Any, ctx: Any) -> Any: ...


def _config(body: dict[str, Any]) -> Any:
    return type("Config", (BaseModel,), {"model_config": ConfigDict(), "__module__": __name__, **body})


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: SecretStr


class Nested(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner


class Unfinished(BaseModel):
    model_config = ConfigDict(extra="forbid")
    call: Callable[[], int]


class Grumpy:
    @property
    def name(self) -> str:
        raise KeyError("not today")


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: str = Field("", alias="Token")


@pytest.mark.parametrize(
    ("hook", "make", "says"),
    [
        (
            "register_llm_backends",
            lambda: _changed(Backend, complete=lambda self, ctx, request: None),
            "complete must be async",
        ),
        ("register_llm_backends", lambda: _changed(Backend, complete=_anything), "complete must take (ctx, request)"),
        ("register_llm_backends", lambda: _changed(Backend, complete=None), "complete is not a method"),
        (
            "register_llm_backends",
            lambda: _changed(Backend, describe=_anything),
            "DescribesModels is wrong: describe must not be async",
        ),
        (
            "register_llm_backends",
            lambda: _changed(Backend, test=lambda self, ctx: None),
            "Connectable is wrong: test must be async",
        ),
        ("register_llm_backends", lambda: _changed(Backend, Config=_config({})), "Config must have extra"),
        ("register_llm_backends", lambda: _changed(Backend, Config=Nested), "Config must keep secrets in fields of its own"),
        ("register_llm_backends", lambda: _changed(Backend, Config=Aliased), "must not give the field token an alias"),
        ("register_llm_backends", lambda: _changed(Backend, Config=dict), "Config must be a pydantic model"),
        ("register_llm_backends", lambda: _changed(Backend, Config=Unfinished), "Config has no JSON schema"),
        ("register_llm_backends", Grumpy, "could not be checked: KeyError: 'not today'"),
        ("register_llm_backends", lambda: Backend("Loud Model"), "name 'Loud Model' must be"),
        ("register_llm_backends", lambda: Backend, "registers the class Backend"),
        ("register_llm_backends", lambda: None, "name is missing"),
        ("register_channels", lambda: _changed(Chat, capabilities={}), "capabilities must be a ChannelCapabilities"),
        ("register_channels", lambda: _changed(Chat, title=""), "title must be a text"),
        ("register_channels", lambda: _changed(Chat, deliver=_anything), "not a complete Messenger: receive is missing"),
        ("register_routes", lambda: "/x", "register a Mount"),
        ("register_routes", lambda: th.Mount("x", APIRouter()), "mounts routes at 'x'"),
        ("register_routes", lambda: th.Mount("/x/", APIRouter()), "mounts routes at '/x/'"),
        ("register_routes", lambda: th.Mount("/x", None), "must be an APIRouter"),  # type: ignore[arg-type]
        ("register_commands", lambda: "sync", "register a Command"),
        ("register_commands", lambda: th.Command("sync", "", lambda arguments: 0), "is not async"),  # type: ignore[arg-type, return-value]
        ("register_commands", lambda: th.Command("two words", "", run), "two words"),
    ],
)
def test_a_wrong_object_is_refused(hook: str, make: Callable[[], Any], says: str) -> None:
    line = refusal(odd=offering(hook, make()))
    assert line.startswith("plugin 'odd' ")
    assert says in line


@pytest.mark.parametrize("result", [None, 3])
def test_a_hook_that_gives_nothing_to_iterate(result: Any) -> None:
    @th.impl
    def register_channels(self: Any) -> Any:
        return result

    assert "plugin 'odd' failed in register_channels: TypeError" in refusal(odd=with_(register_channels=register_channels))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("no\nluck"), "plugin 'odd' failed in register_channels: ValueError: no"),
        (SystemExit(2), "plugin 'odd' failed in register_channels: SystemExit: 2"),
        (th.ConfigError("set size first"), "plugin 'odd': set size first"),
    ],
)
def test_a_hook_that_raises(error: BaseException, says: str) -> None:
    @th.impl
    def register_channels(self: Any) -> Any:
        yield Chat()
        raise error

    assert refusal(odd=with_(register_channels=register_channels)) == says


# -- clashes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "make", "what"),
    [
        ("register_channels", Chat, "channel 'chat'"),
        ("register_payment_providers", Till, "payment provider 'till'"),
        ("register_auth_providers", Door, "auth provider 'door'"),
        ("register_llm_backends", Backend, "llm backend 'model'"),
        ("register_routes", lambda: th.Mount("/x", APIRouter()), "routes at '/x'"),
        ("register_routes", lambda: th.Mount("", APIRouter()), "routes at '/'"),
        ("register_commands", lambda: th.Command("sync", "", run), "command 'sync'"),
    ],
)
def test_two_plugins_that_claim_one_name_are_both_named(hook: str, make: Callable[[], Any], what: str) -> None:
    line = refusal(one=offering(hook, make()), two=offering(hook, make()))
    assert "plugins 'one' and 'two' both" in line
    assert what in line


def test_one_plugin_that_claims_a_name_twice() -> None:
    assert refusal(odd=offering("register_channels", Chat(), Chat())) == "plugin 'odd' registers the channel 'chat' twice"


def test_one_plugin_may_mount_several_routers_at_one_prefix() -> None:
    plugin = offering("register_routes", th.Mount("/x", APIRouter()), th.Mount("/x", APIRouter(), errors="page"))
    assert [mount.obj.errors for mount in load_plugins(Settings(), plugins={"p": plugin}, environ={}).mounts] == [
        "problem",
        "page",
    ]


def test_it_is_known_who_registered_what() -> None:
    plugins = {
        "one": offering("register_channels", Chat("a"), Chat("b")),
        "two": offering("register_channels", Chat("c")),
        "three": offering("register_llm_backends", Backend()),
    }
    host = load_plugins(Settings(), plugins=plugins, environ={})
    assert {name: found.plugin for name, found in host.channels.items()} == {"a": "one", "b": "one", "c": "two"}
    assert host.llm_backends["model"].plugin == "three"
    assert host.describe("one")["channels"] == ["a", "b"]
    assert host.describe("one")["llm_backends"] == []
