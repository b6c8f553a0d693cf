"""Whatever is wrong with a plugin stops the start with one line that names it."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tollhouse import plugin as th
from tollhouse.host.loader import inspect_installed, load_plugins
from tollhouse.settings import Settings


class Chat:
    title = "Chat"
    capabilities = th.ChannelCapabilities()

    def __init__(self, name: str = "chat") -> None:
        self.name = name


def with_(**members: Any) -> Any:
    return type("Plugin", (), {"contract": (1, 0), **members})()


def refusal(settings: Settings | None = None, **plugins: Any) -> str:
    """The line that stops the start."""
    with pytest.raises(th.ConfigError) as caught:
        load_plugins(settings or Settings(), plugins=plugins, environ={})
    line = caught.value.detail
    assert "\n" not in line
    return line


class Shelf:
    """A folder of installed plugins, each a distribution of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.points: list[EntryPoint] = []

    def add(self, name: str, code: str = "", distribution: str | None = None, value: str | None = None) -> None:
        module = f"th_test_{self.folder.name.replace('-', '_')}_{name}"
        (self.folder / f"{module}.py").write_text(code)
        dist = distribution or f"tollhouse-{name}"
        info = self.folder / f"{dist.replace('-', '_')}-1.2.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
        point = EntryPoint(name, value or f"{module}:plugin", "tollhouse.plugins")
        vars(point)["dist"] = Distribution.at(info)
        self.points.append(point)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Shelf(tmp_path)


def start(shelf: Shelf, *enabled: str) -> str:
    with pytest.raises(th.ConfigError) as caught:
        load_plugins(Settings(enabled=list(enabled)), entry_points=shelf.points, environ={})
    assert "\n" not in caught.value.detail
    return caught.value.detail


GOOD = "class Plugin:\n    contract = (1, 0)\nplugin = Plugin()\n"


# -- finding and importing --------------------------------------------------------------------------------------------


def test_only_enabled_plugins_are_imported(shelf: Shelf) -> None:
    shelf.add("used", GOOD)
    shelf.add("idle", "raise RuntimeError('imported')")
    host = load_plugins(Settings(enabled=["used"]), entry_points=shelf.points, environ={})
    assert list(host.plugins) == ["used"]
    assert (host.plugins["used"].distribution, host.plugins["used"].version) == ("tollhouse-used", "1.2")


def test_listing_what_is_installed_imports_nothing(shelf: Shelf) -> None:
    before = set(sys.modules)
    shelf.add("used", GOOD)
    shelf.add("broken", "raise RuntimeError('imported')")
    found = inspect_installed(["used"], entry_points=shelf.points)
    assert [(item.name, item.distribution, item.version, item.enabled) for item in found] == [
        ("broken", "tollhouse-broken", "1.2", False),
        ("used", "tollhouse-used", "1.2", True),
    ]
    assert not {name for name in set(sys.modules) - before if name.startswith("th_test_")}


def test_a_plugin_that_is_not_installed_is_named_with_what_was_meant(shelf: Shelf) -> None:
    shelf.add("telegram", GOOD)
    line = start(shelf, "telegarm")
    assert "'telegarm'" in line
    assert "'telegram'" in line
    assert "make install PLUGIN=telegarm" in line


def test_a_plugin_that_nobody_offers_is_named_with_how_to_install_it(shelf: Shelf) -> None:
    line = start(shelf, "zzz")
    assert "plugin 'zzz'" in line
    assert "did you mean" not in line
    assert "make install PLUGIN=zzz" in line


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import nothing_like_that", "No module named 'nothing_like_that'"),
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("other = 1", "has no attribute 'plugin'"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_an_import_that_fails_is_one_line_with_the_cause(shelf: Shelf, code: str, cause: str) -> None:
    shelf.add("broken", code)
    line = start(shelf, "broken")
    assert "plugin 'broken' could not be imported" in line
    assert cause in line


def test_two_distributions_that_offer_one_name_are_refused(shelf: Shelf) -> None:
    shelf.add("chat", GOOD, "tollhouse-chat")
    shelf.add("chat", GOOD, "evil-chat")
    line = start(shelf, "chat")
    assert "plugin 'chat'" in line
    assert "evil-chat" in line
    assert "tollhouse-chat" in line


def test_one_distribution_seen_twice_is_no_clash(shelf: Shelf) -> None:
    shelf.add("chat", GOOD)
    shelf.add("chat", GOOD)
    assert list(load_plugins(Settings(enabled=["chat"]), entry_points=shelf.points, environ={}).plugins) == ["chat"]


def test_the_plugins_of_this_repository_load(tmp_path: Path) -> None:
    host = load_plugins(Settings(enabled=["demo", "openai"]), environ={})
    assert [(name, found.plugin) for name, found in host.llm_backends.items()] == [("demo", "demo"), ("openai", "openai")]


# -- the plugin object ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "says"),
    [
        (None, "no contract version"),
        ((1, 1), "needs contract 1.1, newer than 1.0"),
        ((2, 0), "needs contract 2.0, newer than 1.0"),
        ((0, 9), "no longer speaks"),
        ("1.0", "malformed"),
        ((1,), "malformed"),
        ((True, 0), "malformed"),
    ],
)
def test_a_contract_that_does_not_fit(contract: Any, says: str) -> None:
    line = refusal(odd=with_(contract=contract))
    assert "plugin 'odd'" in line
    assert says in line


def test_a_class_instead_of_the_plugin_object() -> None:
    class Plugin:
        contract = (1, 0)

    assert "plugin 'odd' has an entry point that names the class Plugin" in refusal(odd=Plugin)


def test_a_misspelt_hook_is_told_the_right_one() -> None:
    @th.impl
    def register_chanels(self: Any, settings: Any) -> list[Any]:
        return []

    line = refusal(odd=with_(register_chanels=register_chanels))
    assert line == "plugin 'odd' has an unknown hook 'register_chanels'; did you mean 'register_channels'?"


@pytest.mark.parametrize("name", ["register_channels", "register_chanels", "on_startup"])
def test_a_hook_that_lacks_its_mark(name: str) -> None:
    line = refusal(odd=with_(**{name: lambda self, settings: []}))
    assert f"plugin 'odd' has {name} without the mark" in line


def test_a_hook_with_an_argument_that_does_not_exist() -> None:
    @th.impl
    def register_channels(self: Any, tenant: Any) -> list[Any]:
        return []

    line = refusal(odd=with_(register_channels=register_channels))
    assert "plugin 'odd'" in line
    assert "tenant" in line


def test_a_hook_may_take_fewer_arguments() -> None:
    @th.impl
    def register_channels(self: Any) -> list[Any]:
        return [Chat()]

    assert list(load_plugins(Settings(), plugins={"p": with_(register_channels=register_channels)}, environ={}).channels) == [
        "chat"
    ]


def test_a_module_can_be_the_plugin_object(shelf: Shelf) -> None:
    code = "from tollhouse import plugin as th\ncontract = (1, 0)\n@th.impl\ndef register_commands(settings): return []\n"
    shelf.add("module", code)
    shelf.points[0] = _whole_module(shelf.points[0])
    host = load_plugins(Settings(enabled=["module"]), entry_points=shelf.points, environ={})
    assert list(host.plugins["module"].hooks) == ["register_commands"]


def _whole_module(point: EntryPoint) -> EntryPoint:
    whole = EntryPoint(point.name, point.module, point.group)
    vars(whole)["dist"] = point.dist
    return whole


def test_sync_and_async_hooks_are_not_confused() -> None:
    @th.impl
    def on_startup(self: Any, settings: Any) -> None: ...

    @th.impl
    async def register_channels(self: Any, settings: Any) -> list[Any]:
        return []

    assert "plugin 'odd' has a sync hook on_startup" in refusal(odd=with_(on_startup=on_startup))
    assert "plugin 'odd' has an async hook register_channels" in refusal(odd=with_(register_channels=register_channels))


def test_ports_and_events_must_exist() -> None:
    @th.impl
    async def on_event(self: Any, event: Any) -> None: ...

    class Vault: ...

    assert "needs the port 'Vault'" in refusal(odd=with_(ports=(th.Turns, Vault)))
    line = refusal(odd=with_(events=("order.payed",), on_event=on_event))
    assert "'order.payed'" in line
    assert "did you mean 'order.paid'" in line
    assert "declares events but has no hook on_event" in refusal(odd=with_(events=("order.paid",)))
    assert "declares no events" in refusal(odd=with_(on_event=on_event))


# -- operator settings --------------------------------------------------------------------------------------------------


class Operator(BaseModel):
    model_config = ConfigDict(extra="forbid")
    signup: bool = True
    size: int = Field(3, ge=1)
    hosts: list[str] = []
    secret: SecretStr | None = None


def test_settings_that_would_ignore_a_misspelt_name_are_refused() -> None:
    class Loose(BaseModel):
        size: int = 1

    assert "plugin 'odd' has a Settings model without extra=\"forbid\"" in refusal(odd=with_(Settings=Loose))
    assert "not a pydantic model" in refusal(odd=with_(Settings=dict))


@pytest.mark.parametrize(
    ("table", "field"), [({"sign_up": True}, "sign_up"), ({"size": 0}, "size"), ({"signup": "perhaps-secret"}, "signup")]
)
def test_a_bad_setting_names_plugin_and_field_and_not_the_value(table: dict[str, Any], field: str) -> None:
    line = refusal(Settings(plugin_settings={"odd": table}), odd=with_(Settings=Operator))
    assert line.startswith(f"plugin 'odd': setting {field}: ")
    assert "perhaps-secret" not in line


def test_an_unknown_setting_is_answered_with_those_that_there_are() -> None:
    line = refusal(Settings(plugin_settings={"odd": {"sign_up": True}}), odd=with_(Settings=Operator))
    assert line == ("plugin 'odd': setting sign_up: is unknown; did you mean 'signup'? Known are hosts, secret, signup, size")


def test_a_plugin_without_settings_takes_none() -> None:
    line = refusal(Settings(plugin_settings={"odd": {"size": 1}}), odd=with_())
    assert line == "plugin 'odd': setting size: is unknown; there are none"


def test_the_environment_overrides_plugins_toml() -> None:
    environ = {"TOLLHOUSE_MY_WEB__SIZE": "9", "TOLLHOUSE_MY_WEB__HOSTS": '["a", "b"]'}
    settings = Settings(plugin_settings={"my-web": {"size": 2, "signup": False}})
    host = load_plugins(settings, plugins={"my-web": with_(Settings=Operator)}, environ=environ)
    assert host.settings("my-web") == Operator(size=9, signup=False, hosts=["a", "b"])
    with pytest.raises(th.ConfigError, match="plugin 'my-web': setting siez"):
        load_plugins(settings, plugins={"my-web": with_(Settings=Operator)}, environ={"TOLLHOUSE_MY_WEB__SIEZ": "9"})
