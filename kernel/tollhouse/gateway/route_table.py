"""Which route a request is for, known before anything of its body is read.

The table is made once from what FastAPI has included. A route is found by a dictionary where its path has no parameters, else
by trying the patterns in the order of their registration: the same route that FastAPI finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import params
from fastapi.routing import APIRoute, RouteContext
from starlette.routing import Route
from starlette.types import ASGIApp

from tollhouse.plugin.errors import ConfigError
from tollhouse.plugin.mounts import Mount

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(slots=True)
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
    counters: dict[int, Any] = field(default_factory=dict)

    @property
    def errors(self) -> Literal["problem", "page", "openai"]:
        return self.mount.errors


@dataclass(frozen=True, slots=True)
class Found:
    """A path that exists, with its methods."""

    methods: Mapping[str, Entry]
    params: Mapping[str, Any]

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
        self._patterns: list[tuple[re.Pattern[str], Mapping[str, Any], dict[str, Entry]]] = []

    def find(self, path: str) -> Found | None:
        """The routes of a path (without the tenant's prefix)."""
        static = self._static.get(path)
        if static is not None:
            return Found(static, {})
        merged: dict[str, Entry] = {}
        parameters: Mapping[str, Any] = {}
        for pattern, convertors, methods in self._patterns:
            match = pattern.match(path)
            if match is None:
                continue
            if not merged:
                merged, parameters = methods, _converted(match, convertors)
            elif methods.keys() - merged.keys():
                merged = {**methods, **merged}
        return Found(merged, parameters) if merged else None

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
        pattern: re.Pattern[str] = context.path_regex
        convertors: Mapping[str, Any] = context.param_convertors
        if not convertors:
            before = self.find(entry.path)
            if before is not None and entry.method in before.methods:
                self._clash(entry, before.methods[entry.method])
            methods = self._static.setdefault(entry.path, {})
            if before is not None:
                methods.update({method: other for method, other in before.methods.items() if method not in methods})
            methods[entry.method] = entry
        else:
            for known, _, methods in self._patterns:
                if known.pattern == pattern.pattern:
                    if entry.method in methods:
                        self._clash(entry, methods[entry.method])
                    methods[entry.method] = entry
                    break
            else:
                self._patterns.append((pattern, convertors, {entry.method: entry}))
        self.entries.append(entry)

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


def _converted(match: re.Match[str], convertors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: convertors[name].convert(value) for name, value in match.groupdict().items()}


def _who(plugin: str | None) -> str:
    return f"plugin {plugin!r}" if plugin else "the kernel"
