"""Which route a request is for, known before anything of its body is read.

The table is made once from what FastAPI has included. A route is found by a dictionary where its path has no parameters, else
by trying the patterns in the order of their registration: the same route that FastAPI finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from fastapi import params
from fastapi.routing import APIRoute, RouteContext
from starlette.routing import Route
from starlette.types import ASGIApp

from tollhouse.plugin.errors import ConfigError
from tollhouse.plugin.mounts import Mount

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass
class Entry:
    """One method of one route. ``plain`` is its ASGI app where it needs nothing of FastAPI and is called directly."""

    method: str
    path: str
    mount: Mount
    plugin: str | None
    endpoint: Any
    public: bool
    large: bool
    json: bool
    infra: bool = False
    tenantless: bool = False
    plain: ASGIApp | None = None
    rechecked: bool = False
    counters: dict[int, Any] = field(default_factory=dict)

    @cached_property
    def label(self) -> str:
        """What the tasks of its requests are called."""
        return f"{self.method} {self.path}" + (f" (plugin {self.plugin})" if self.plugin else "")

    @property
    def errors(self) -> Literal["problem", "page", "openai"]:
        return self.mount.errors


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A path with parameters. Two that differ in the parameters' names only have the same ``shape``."""

    regex: re.Pattern[str]
    convertors: Mapping[str, Any]
    shape: str
    methods: dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Found:
    """A path that exists, with its methods."""

    methods: Mapping[str, Entry]
    matches: tuple[tuple[re.Match[str], _Pattern], ...] = ()

    def params(self, entry: Entry) -> dict[str, Any]:
        """The path's parameters, as the entry's own route names them."""
        for match, pattern in self.matches:
            if pattern.methods.get(entry.method) is entry:
                return {name: pattern.convertors[name].convert(value) for name, value in match.groupdict().items()}
        return {}

    def entry(self, method: str) -> Entry | None:
        """The entry of a method; GET answers HEAD."""
        return self.methods.get(method) or (self.methods.get("GET") if method == "HEAD" else None)

    @property
    def allow(self) -> str:
        """The ``Allow`` header."""
        return ", ".join(sorted({*self.methods, "HEAD"} if "GET" in self.methods else self.methods))


class RouteTable:
    """Every route of the application."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._static: dict[str, dict[str, Entry]] = {}
        self._patterns: list[_Pattern] = []

    def find(self, path: str) -> Found | None:
        """The routes of a path (without the tenant's prefix)."""
        static = self._static.get(path)
        if static is not None:
            return Found(static)
        merged: dict[str, Entry] = {}
        matches = []
        for pattern in self._patterns:
            match = pattern.regex.match(path)
            if match is not None and pattern.methods.keys() - merged.keys():
                merged = {**pattern.methods, **merged}
                matches.append((match, pattern))
        return Found(merged, tuple(matches)) if merged else None

    def add(
        self,
        mount: Mount,
        contexts: Iterable[RouteContext],
        plugin: str | None = None,
        *,
        infra: bool = False,
        tenantless: bool = False,
    ) -> None:
        """Take in the routes of a mount.

        Raises:
            ConfigError: two routes take the same requests, or the mount names a route that it does not have.
        """
        named: set[str] = set()
        for context in contexts:
            if not isinstance(context.original_route, APIRoute | Route):
                raise ConfigError(f"{_who(plugin)}: only routes can be registered, not {type(context.original_route).__name__}")
            for method in sorted(context.methods or ()):
                entry = _entry(mount, context, method, plugin)
                entry.infra, entry.tenantless = infra, tenantless or mount.prefix == "/hooks"
                named.add(_key(entry))
                self._insert(entry, context)
        for name in sorted(mount.public | mount.large_bodies):
            if name not in named:
                raise ConfigError(f"{_who(plugin)}: {name!r} is named as public or large, and is no route of {mount.prefix!r}")

    def _insert(self, entry: Entry, context: RouteContext) -> None:
        self.entries.append(entry)
        if context.param_convertors:
            self._insert_pattern(entry, context)
            return
        before = self.find(entry.path)
        if before is not None and entry.method in before.methods:
            self._clash(entry, before.methods[entry.method])
        self._static.setdefault(entry.path, {})[entry.method] = entry

    def _insert_pattern(self, entry: Entry, context: RouteContext) -> None:
        shape = re.sub(r"\(\?P<\w+>", "(", context.path_regex.pattern)
        for known in self._patterns:
            if known.shape != shape:
                continue
            if entry.method in known.methods:
                self._clash(entry, known.methods[entry.method])
            if known.regex == context.path_regex:
                known.methods[entry.method] = entry
                return
        self._patterns.append(_Pattern(context.path_regex, context.param_convertors, shape, {entry.method: entry}))

    def _clash(self, entry: Entry, other: Entry) -> None:
        raise ConfigError(
            f"{_who(entry.plugin)}: {entry.method} {entry.path} is taken already by {_who(other.plugin)} ({other.path})"
        )


def _entry(mount: Mount, context: RouteContext, method: str, plugin: str | None) -> Entry:
    route = context.original_route
    path = context.path or "/"
    key = f"{method} {path[len(mount.prefix) :] or '/'}"
    get_key = f"GET {key.split(' ', 1)[1]}" if method == "HEAD" else key
    plain = isinstance(route, Route) and not isinstance(route, APIRoute)
    return Entry(
        method=method,
        path=path,
        mount=mount,
        plugin=plugin,
        endpoint=context.endpoint,
        public=key in mount.public or get_key in mount.public,
        large=key in mount.large_bodies,
        rechecked=key in mount.rechecked,
        json=method in UNSAFE and mount.errors != "page" and _takes_json(route),
        plain=context.app if plain else None,
    )


def _key(entry: Entry) -> str:
    return f"{entry.method} {entry.path[len(entry.mount.prefix) :] or '/'}"


def _takes_json(route: Any) -> bool:
    """Whether the body must be JSON: a FastAPI route says so by its body model, a plain route by not saying otherwise."""
    if isinstance(route, APIRoute):
        return route.body_field is not None and not isinstance(route.body_field.field_info, params.Form)
    return True


def _who(plugin: str | None) -> str:
    return f"plugin {plugin!r}" if plugin else "the kernel"
