"""The public contract, word for word: a change of it is seen in the diff of public_surface.txt, and is additive.

To accept a change: ``python -m tests.contracts.test_public_surface``, and a line in the changelog.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from tollhouse import plugin

GOLDEN = Path(__file__).with_name("public_surface.txt")


def render() -> str:
    """Every name of ``tollhouse.plugin`` with its signature, fields and methods."""
    return "\n".join(line for name in sorted(plugin.__all__) for line in _lines(name, getattr(plugin, name))) + "\n"


def _lines(name: str, item: Any) -> Iterator[str]:
    if inspect.isclass(item):
        bases = ", ".join(base.__name__ for base in item.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        yield from (f"    {line}" for line in sorted(_members(item)))
    elif inspect.isfunction(item):
        yield f"def {name}{_signature(item)}"
    elif isinstance(item, tuple | list | frozenset | str | int):
        yield f"{name} = {_plain(item)}"
    else:
        yield f"{name}: {_plain(item)}"


def _members(item: type[Any]) -> Iterator[str]:
    if issubclass(item, Enum):
        yield from (f"{member.name} = {member.value!r}" for member in item)
        return
    fields = {field.name for field in dataclasses.fields(item)} if dataclasses.is_dataclass(item) else set()
    for name, kind in inspect.get_annotations(item).items():
        if not name.startswith("_"):
            has_default = name in fields and _has_default(item, name)
            yield f"{name}: {kind if isinstance(kind, str) else _plain(kind)}{' = …' if has_default else ''}"
    for name, member in item.__dict__.items():
        if name.startswith("_") and name != "__init__":
            continue
        if name == "__init__" and (fields or getattr(item, "_is_protocol", False)):
            continue
        if isinstance(member, property):
            yield f"property {name}"
        elif inspect.isfunction(member):
            yield f"{'async ' if inspect.iscoroutinefunction(member) else ''}def {name}{_signature(member)}"
        elif isinstance(member, str | int | bool | None) and issubclass(item, Exception):
            yield f"{name} = {member!r}"


def _has_default(item: type[Any], name: str) -> bool:
    (field,) = [field for field in dataclasses.fields(item) if field.name == name]
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _signature(function: Any) -> str:
    return re.sub(r"""(: |-> )(['"])(.*?)\2(?=[,) ]|$)""", r"\1\3", str(inspect.signature(function)))


def _plain(item: Any) -> str:
    if isinstance(item, tuple | list) and all(inspect.isclass(one) for one in item):
        return f"({', '.join(one.__name__ for one in item)})"
    text = repr(sorted(item)) if isinstance(item, frozenset) else repr(item) if not inspect.isclass(item) else item.__name__
    return re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"\b(?:[a-z_]+\.)+([A-Z]\w*)", r"\1", text))


def test_the_public_contract_is_what_is_written_down() -> None:
    written, now = GOLDEN.read_text(encoding="utf-8").splitlines(), render().splitlines()
    assert written == now, "\n".join(difflib.unified_diff(written, now, "written down", "now", lineterm="", n=1))


def test_names_are_sorted_and_exist() -> None:
    assert sorted(set(plugin.__all__)) == sorted(plugin.__all__)
    assert [name for name in plugin.__all__ if not hasattr(plugin, name)] == []


def test_everything_public_is_documented() -> None:
    """A sentence for each class and function; an error's title speaks for it."""
    silent = [
        name
        for name in plugin.__all__
        if (inspect.isclass(item := getattr(plugin, name)) or inspect.isfunction(item))
        and not (item.__doc__ or getattr(item, "title", ""))
    ]
    assert silent == []


if __name__ == "__main__":
    GOLDEN.write_text(render(), encoding="utf-8")
