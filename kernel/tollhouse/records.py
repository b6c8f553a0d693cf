"""Values that the type checker keeps from changing, and that cost nothing to make.

A turn makes dozens of small values. Python's own frozen dataclasses set each field by a function call, three times what making
the value costs otherwise, and all of it to catch at run time what mypy has caught before. So values that never leave the kernel
are records: frozen for mypy, plain to the interpreter. What plugins are given stays frozen for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen: bool, slots: bool):
        """``dataclass(frozen=True, slots=True)``, but for the check at run time; hashed by value like that one."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["record"]
