"""Finds, checks and registers the enabled plugins. Whatever is wrong stops the start with one line that names the plugin.

Entry points are selected here, not by pluggy, which would import everything that is installed. Hooks are called plugin by
plugin, so it is known from the start who registered what.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

import pluggy
from pydantic import BaseModel, ConfigDict, ValidationError

from tollhouse.host import checks
from tollhouse.host.host import Host, LoadedPlugin, Registered, one_line
from tollhouse.plugin import GROUP, NAME, AuthProvider, Channel, ConfigError, LLMBackend, PaymentProvider, hookspecs
from tollhouse.settings import Settings

REGISTRIES: Mapping[str, tuple[str, type[Any]]] = {
    "register_channels": ("channels", Channel),
    "register_payment_providers": ("payment_providers", PaymentProvider),
    "register_auth_providers": ("auth_providers", AuthProvider),
    "register_llm_backends": ("llm_backends", LLMBackend),
}
HOOKS: tuple[str, ...] = (*REGISTRIES, "register_routes", "register_commands", "on_startup", "on_event")


class NoSettings(BaseModel):
    """What a plugin without ``Settings`` is given: any setting for it is refused."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin that is installed; nothing of it was imported to know this."""

    name: str
    distribution: str
    version: str
    target: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    obj: Any
    distribution: str = ""
    version: str = ""


def load_plugins(
    settings: Settings,
    *,
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
    plugins: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Host:
    """Import the enabled plugins, check them, and register what they offer.

    ``plugins`` gives the plugin objects themselves, by name, instead of looking for what ``settings.enabled`` names.

    Raises:
        ConfigError: one line that names the plugin and says what to do.
    """
    if plugins is not None:
        found = [_Found(name, obj) for name, obj in plugins.items()]
    else:
        found = [_import(point) for point in _select(settings.enabled, _points(entry_points))]
    env = os.environ if environ is None else environ
    loaded: dict[str, LoadedPlugin] = {}
    for item in found:
        with _named(item.name):
            loaded[item.name] = _accept(item, settings.plugin_settings.get(item.name, {}), env)
    return _register(loaded)


def inspect_installed(
    enabled: Iterable[str] = (), *, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None
) -> list[Installed]:
    """Every installed plugin, by name, without importing any."""
    wanted = set(enabled)
    rows = {(point.name, *_distribution(point), point.value, point.name in wanted) for point in _points(entry_points)}
    return [Installed(*row) for row in sorted(rows)]


def _fail(plugin: str, fault: str, cause: BaseException | None = None) -> NoReturn:
    raise ConfigError(f"plugin {plugin!r} {' '.join(fault.split())}") from cause


@contextmanager
def _named(plugin: str) -> Iterator[None]:
    """Whatever else a plugin makes go wrong while it is looked at (a property that raises, say) names it too."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        _fail(plugin, f"could not be checked: {one_line(error)}", error)


# -- finding ----------------------------------------------------------------------------------------------------------


def _points(given: Iterable[importlib.metadata.EntryPoint] | None) -> list[importlib.metadata.EntryPoint]:
    return list(importlib.metadata.entry_points(group=GROUP) if given is None else given)


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist is not None else ("", "")


def _select(enabled: Iterable[str], points: list[importlib.metadata.EntryPoint]) -> Iterable[importlib.metadata.EntryPoint]:
    for name in enabled:
        # One distribution can be seen twice (an editable install beside its metadata); two distributions are a clash.
        offers = {_distribution(point)[0] or point.value: point for point in points if point.name == name}
        if not offers:
            _not_installed(name, {point.name for point in points})
        if len(offers) > 1:
            _fail(name, f"is offered by two distributions, {' and '.join(sorted(offers))}; uninstall one of them")
        yield next(iter(offers.values()))


def _not_installed(name: str, installed: set[str]) -> NoReturn:
    meant = checks.suggestion(name, installed)
    hint = f"did you mean {meant!r}? Otherwise" if meant else "install it with"
    _fail(name, f"is enabled but not installed; {hint}: make install PLUGIN={name}")


def _import(point: importlib.metadata.EntryPoint) -> _Found:
    try:
        obj = point.load()
    except (Exception, SystemExit) as error:
        _fail(point.name, f"could not be imported ({point.value}): {one_line(error)}", error)
    return _Found(point.name, obj, *_distribution(point))


# -- checking ---------------------------------------------------------------------------------------------------------


def _accept(found: _Found, table: Mapping[str, Any], environ: Mapping[str, str]) -> LoadedPlugin:
    plugin = found.obj
    if isinstance(plugin, type):
        _fail(found.name, f"has an entry point that names the class {plugin.__name__}; name an instance of it")
    if fault := checks.contract_fault(plugin):
        _fail(found.name, fault)
    hooks = _hooks(found.name, plugin)
    if fault := checks.declaration_fault(plugin, hooks):
        _fail(found.name, fault)
    return LoadedPlugin(
        name=found.name,
        obj=plugin,
        contract=plugin.contract,
        settings=_settings(found.name, getattr(plugin, "Settings", None) or NoSettings, table, environ),
        ports=tuple(getattr(plugin, "ports", ())),
        events=tuple(getattr(plugin, "events", ())),
        hooks=MappingProxyType(hooks),
        distribution=found.distribution,
        version=found.version,
    )


def _hooks(name: str, plugin: Any) -> dict[str, Callable[..., Any]]:
    """The hooks that the plugin implements, each as a callable that takes the hook's keywords."""
    manager = pluggy.PluginManager(NAME)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        _fail(name, f"has a hook with a wrong signature: {str(error).strip().splitlines()[-1]}", error)
    except Exception as error:
        _fail(name, f"could not be inspected: {one_line(error)}", error)
    callers = {caller.name: caller for caller in manager.get_hookcallers(plugin) or ()}
    unknown = next((hook for hook in callers if hook not in HOOKS), None)
    if unknown:
        _fail(name, f"has an unknown hook {unknown!r}; {_meant(unknown)}")
    for attribute in dir(plugin):
        if attribute.startswith(("register_", "on_")) and attribute not in callers and checks.suggestion(attribute, HOOKS, 0.9):
            _fail(name, f"has {attribute} without the mark @impl of tollhouse.plugin; {_meant(attribute)}")
    return {hook: _bound_hook(name, callers[hook].get_hookimpls()[0]) for hook in HOOKS if hook in callers}


def _meant(hook: str) -> str:
    meant = checks.suggestion(hook, HOOKS)
    return f"did you mean {meant!r}?" if meant and meant != hook else f"hooks are {', '.join(HOOKS)}"


def _bound_hook(name: str, implementation: pluggy.HookImpl) -> Callable[..., Any]:
    function, takes = implementation.function, implementation.argnames
    hook = implementation.opts["specname"] or function.__name__
    if implementation.wrapper or implementation.hookwrapper:
        _fail(name, f"has a wrapper around {hook}; hooks are not wrapped")
    if fault := checks.hook_fault(hook, function):
        _fail(name, fault)
    return lambda **given: function(**{key: given[key] for key in takes})


def _settings(name: str, model: Any, table: Mapping[str, Any], environ: Mapping[str, str]) -> BaseModel:
    """The operator's settings: ``plugins.toml``, and over it ``TOLLHOUSE_<PLUGIN>__<FIELD>`` of the environment."""
    if fault := checks.settings_model_fault(model):
        _fail(name, fault)
    prefix = f"TOLLHOUSE_{name.upper().replace('-', '_')}__"
    values = dict(table) | {
        key[len(prefix) :].lower(): _literal(value) for key, value in environ.items() if key.startswith(prefix)
    }
    try:
        parsed: BaseModel = model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "(all)"
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            unknown = f"is unknown; {checks.miss(field, model.model_fields, at_most=30)}"
            raise ConfigError(f"plugin {name!r}: setting {field}: {unknown}") from None
        # The cause is left out: pydantic repeats the input in its own text, and the input may be a secret.
        raise ConfigError(f"plugin {name!r}: setting {field}: {first['msg'].removeprefix('Value error, ')}") from None
    return parsed


def _literal(value: str) -> Any:
    """Lists and tables are written as JSON; everything else is text that pydantic converts."""
    if value[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


# -- registering ------------------------------------------------------------------------------------------------------


def _register(loaded: Mapping[str, LoadedPlugin]) -> Host:
    registries: dict[str, dict[str, Registered[Any]]] = {attribute: {} for attribute, _ in REGISTRIES.values()}
    mounts: list[Registered[Any]] = []
    commands: dict[str, Registered[Any]] = {}
    for plugin in loaded.values():
        with _named(plugin.name):
            _register_one(plugin, registries, mounts, commands)
    return Host(
        plugins=MappingProxyType(dict(loaded)),
        mounts=tuple(mounts),
        commands=MappingProxyType(commands),
        **{attribute: MappingProxyType(registry) for attribute, registry in registries.items()},
    )


def _register_one(
    plugin: LoadedPlugin,
    registries: dict[str, dict[str, Registered[Any]]],
    mounts: list[Registered[Any]],
    commands: dict[str, Registered[Any]],
) -> None:
    for hook, (attribute, protocol) in REGISTRIES.items():
        for obj in _call(plugin, hook):
            if fault := checks.object_fault(obj, protocol):
                _fail(plugin.name, fault)
            _claim(registries[attribute], obj.name, Registered(plugin.name, obj), attribute[:-1].replace("_", " "))
    for mount in _call(plugin, "register_routes"):
        if fault := checks.mount_fault(mount):
            _fail(plugin.name, fault)
        _claim_prefix(mounts, Registered(plugin.name, mount))
    for command in _call(plugin, "register_commands"):
        if fault := checks.command_fault(command):
            _fail(plugin.name, fault)
        _claim(commands, command.name, Registered(plugin.name, command), "command")


def _call(plugin: LoadedPlugin, hook: str) -> list[Any]:
    """What one plugin registers by one hook."""
    if hook not in plugin.hooks:
        return []
    try:
        return list(plugin.hooks[hook](settings=plugin.settings))
    except ConfigError as error:
        raise ConfigError(f"plugin {plugin.name!r}: {error.detail}") from error
    except (Exception, SystemExit) as error:
        _fail(plugin.name, f"failed in {hook}: {one_line(error)}", error)


def _claim(registry: dict[str, Registered[Any]], key: str, mine: Registered[Any], what: str) -> None:
    other = registry.setdefault(key, mine)
    if other is mine:
        return
    if other.plugin == mine.plugin:
        _fail(mine.plugin, f"registers the {what} {key!r} twice")
    raise ConfigError(f"plugins {other.plugin!r} and {mine.plugin!r} both register the {what} {key!r}; disable one of them")


def _claim_prefix(mounts: list[Registered[Any]], mine: Registered[Any]) -> None:
    """One plugin may mount several routers at one prefix (they differ in how errors are shown); two plugins may not."""
    prefix = mine.obj.prefix
    other = next((mount.plugin for mount in mounts if mount.obj.prefix == prefix and mount.plugin != mine.plugin), None)
    if other:
        raise ConfigError(f"plugins {other!r} and {mine.plugin!r} both mount routes at {prefix or '/'!r}; disable one of them")
    mounts.append(mine)
