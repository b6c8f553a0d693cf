"""Routes and commands that a plugin adds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter


@dataclass(frozen=True, slots=True)
class Mount:
    """Routes under ``prefix`` (``""`` for the root), included in the one application and its OpenAPI.

    The gateway's protections apply to each of them. ``public`` names the routes that may be used without a credential, as
    ``"GET /plans"`` (method, path as in the router without the prefix); every other route needs one and answers 401 before
    its body is read. ``rechecked`` names those that do nothing but run a turn: admission reads the credential again, so it may
    be remembered a little longer before; they get no other port than ``Turns``, and of it no more than ``run``.
    ``large_bodies`` names those that take content parts (32 MiB instead of 1 MiB).
    ``errors`` says how a problem is shown: as a document, as a page, or in OpenAI's shape.
    """

    prefix: str
    router: APIRouter
    public: frozenset[str] = frozenset()
    large_bodies: frozenset[str] = frozenset()
    rechecked: frozenset[str] = frozenset()
    errors: Literal["problem", "page", "openai"] = "problem"


@dataclass(frozen=True, slots=True)
class Command:
    """A command: ``tollhouse run <plugin> <name> [arguments]``. ``run`` gives the exit code."""

    name: str
    help: str
    run: Callable[[Sequence[str]], Awaitable[int]]
