"""Checks for everything that a tenant connects: its configuration, its secrets, and that its object holds no state."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from tollhouse.plugin import PluginContext
from tollhouse.testing.context import make_context
from tollhouse.testing.guard import Suite

_SECRET_NAME = re.compile(r"(^|_)(key|secret|password|token)$")


class ConnectionSuite(Suite, kit=True):
    """What an LLM backend, a messenger, a payment provider and a sign-in provider have in common.

    Fixtures: ``subject``, the object that your plugin registers; ``config``, a valid instance of its ``Config``.
    """

    @pytest.fixture
    def subject(self) -> Any:
        """The object under test; the kits for each kind of object define it."""
        raise NotImplementedError("give a fixture `subject`")

    @pytest.fixture
    def config(self, subject: Any) -> BaseModel:
        """A valid configuration; override it if ``Config()`` is not one."""
        made = subject.Config()
        assert isinstance(made, BaseModel)
        return made

    def context(self, config: BaseModel, **kwargs: Any) -> AbstractAsyncContextManager[PluginContext[Any]]:
        """The context of a check; override it to give other ports, a state, a principal."""
        return make_context(config, **kwargs)

    def test_it_has_a_name_and_a_title(self, subject: Any) -> None:
        """To fix: ``name`` is a lower-case word (``my_vendor``), the same for ever; ``title`` is what admins read."""
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", subject.name), f"name = {subject.name!r}"
        assert isinstance(subject.title, str)
        assert subject.title.strip()

    def test_config_forbids_unknown_fields(self, subject: Any) -> None:
        """To fix: ``model_config = ConfigDict(extra="forbid")``, so that a mistyped setting is an error, not a surprise."""
        assert issubclass(subject.Config, BaseModel)
        with pytest.raises(ValidationError) as error:
            subject.Config.model_validate({"no_such_field_at_all": 1})
        assert "extra_forbidden" in {item["type"] for item in error.value.errors()}

    def test_config_can_be_a_form(self, subject: Any) -> None:
        """To fix: give every field ``title=`` and ``description=``, and only types that JSON schema knows."""
        schema = subject.Config.model_json_schema()
        json.dumps(schema)
        assert schema["type"] == "object"
        for name, field in schema.get("properties", {}).items():
            assert field.get("title"), f"{name} has no title"
            assert field.get("description"), f"{name} has no description"

    def test_secrets_are_secret(self, subject: Any, config: BaseModel) -> None:
        """To fix: declare keys, tokens and passwords as ``SecretStr``; only those are encrypted and never shown again."""
        for name, field in subject.Config.model_fields.items():
            if _SECRET_NAME.search(name):
                assert "Secret" in str(field.annotation), f"{name} looks like a secret but is {field.annotation}"
        shown = f"{config!r} {config} {config.model_dump_json()}"
        assert not [secret for secret in secrets_of(config) if secret in shown]

    def test_config_survives_storage(self, subject: Any, config: BaseModel) -> None:
        """To fix: validation must accept what it gave: configurations are stored as JSON and read again on every start."""
        again = subject.Config.model_validate_json(json.dumps(reveal(config.model_dump())))
        assert reveal(again.model_dump()) == reveal(config.model_dump())


def secrets_of(value: Any) -> list[str]:
    """Every non-empty secret inside a configuration."""
    return list(_secrets(value))


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr | SecretBytes):
        raw = value.get_secret_value()
        if raw:
            yield raw if isinstance(raw, str) else raw.decode("latin-1")
    elif isinstance(value, BaseModel):
        yield from _secrets(dict(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item)


def reveal(value: Any) -> Any:
    """A dumped configuration as plain JSON with its secrets in the clear; sets become sorted lists."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(reveal(item) for item in value)
    if isinstance(value, list | tuple):
        return [reveal(item) for item in value]
    return value


class Unchanged:
    """``with Unchanged(obj):`` fails if an attribute of ``obj`` is another one, or has another content, afterwards."""

    def __init__(self, *objects: Any) -> None:
        self._objects = objects
        self._before: list[Any] = []

    def __enter__(self) -> None:
        self._before = [self._attributes(item) for item in self._objects]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            for item, before in zip(self._objects, self._before, strict=True):
                assert self._attributes(item) == before, f"{type(item).__name__} was changed by being used"

    @staticmethod
    def _attributes(item: Any) -> Any:
        shared = {key: value for key, value in vars(type(item)).items() if not key.startswith("__")}
        return _freeze({**shared, **getattr(item, "__dict__", {})}, 6)


def _freeze(value: Any, depth: int) -> Any:
    """A copy that can be compared later: containers by content, other objects by identity and attributes."""
    if depth == 0 or value is None or callable(value) or isinstance(value, str | bytes | int | float):
        return value
    if isinstance(value, Mapping):
        return {repr(key): _freeze(item, depth - 1) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, list | tuple | deque):
        return [_freeze(item, depth - 1) for item in value]
    return id(value), _freeze(getattr(value, "__dict__", None), depth - 1)
