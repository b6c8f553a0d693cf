"""Every hook. Hooks only register and notify: the work is methods of the objects that they return.

``register_*`` hooks are sync and called once, at start, one plugin after the other in the order of ``plugins.toml``. ``on_*``
hooks are async. An implementation may take fewer arguments than its hook has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from tollhouse.plugin.auth_providers import AuthProvider
from tollhouse.plugin.channels import Channel
from tollhouse.plugin.events import Event
from tollhouse.plugin.llm import LLMBackend
from tollhouse.plugin.mounts import Command, Mount
from tollhouse.plugin.payments import PaymentProvider

NAME = "tollhouse"
hookspec = pluggy.HookspecMarker(NAME)
impl = pluggy.HookimplMarker(NAME)
"""Marks a function or method of a plugin as the implementation of the hook of the same name."""


@hookspec
def register_channels(settings: Any) -> Iterable[Channel]:  # type: ignore[empty-body]
    """Add ways to talk with agents.

    :param settings: the plugin's validated operator settings.
    :returns: channels; their names are unique in the installation.

    .. versionadded:: 1.0
    """


@hookspec
def register_payment_providers(settings: Any) -> Iterable[PaymentProvider]:  # type: ignore[empty-body]
    """Add ways to be paid.

    :param settings: the plugin's validated operator settings.

    .. versionadded:: 1.0
    """


@hookspec
def register_auth_providers(settings: Any) -> Iterable[AuthProvider]:  # type: ignore[empty-body]
    """Add ways to sign in.

    :param settings: the plugin's validated operator settings.

    .. versionadded:: 1.0
    """


@hookspec
def register_llm_backends(settings: Any) -> Iterable[LLMBackend]:  # type: ignore[empty-body]
    """Add ways to call models.

    :param settings: the plugin's validated operator settings.

    .. versionadded:: 1.0
    """


@hookspec
def register_routes(settings: Any) -> Iterable[Mount]:  # type: ignore[empty-body]
    """Add routes to the one application and its OpenAPI document.

    :param settings: the plugin's validated operator settings.

    .. versionadded:: 1.0
    """


@hookspec
def register_commands(settings: Any) -> Iterable[Command]:  # type: ignore[empty-body]
    """Add commands: ``tollhouse run <plugin> <command>``.

    :param settings: the plugin's validated operator settings.

    .. versionadded:: 1.0
    """


@hookspec
async def on_startup(settings: Any) -> None:
    """Called before the first request is served and before the first job runs. It has 30 seconds.

    :param settings: the plugin's validated operator settings.
    :raises ConfigError: stops the start with its one line.

    .. versionadded:: 1.0
    """


@hookspec
async def on_event(event: Event) -> None:
    """Something happened, and is committed. At least once per plugin: be idempotent by ``event.id``.

    A plugin declares the names it wants in ``events`` (see :class:`tollhouse.plugin.Plugin`). An exception is retried with
    growing pauses, for this plugin alone, and is visible in the console until it succeeds.

    :param event: what happened: ids and numbers, never content.

    .. versionadded:: 1.0
    """
