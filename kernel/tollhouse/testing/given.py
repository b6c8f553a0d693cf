"""What a method of a plugin gave, looked at as the kernel looks at it."""

from __future__ import annotations

from typing import TypeVar

from tollhouse.border.returns import METHODS, Wrong

T = TypeVar("T")


def given(method: str, value: T) -> T:
    """The same; a check that fails with a sentence if the kernel would call it a fault of the plugin."""
    try:
        return METHODS[method].checked(value)
    except Wrong as wrong:
        raise AssertionError(f"{method} {wrong}") from None
