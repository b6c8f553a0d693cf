"""One budget of bytes for all bodies that a process holds: what does not fit is refused before it is read.

Small bodies and those of known callers have room where large ones of strangers have none any more: a few of the latter keep
nobody from signing in, and none keeps customers from being answered.
"""

from __future__ import annotations

from typing import Final

from tollhouse.gateway.errors import Overloaded

SMALL: Final = 64 * 1024
KNOWN: Final = (1.0, 0.875)
STRANGERS: Final = (0.5, 0.25)
"""Which part of the budget may be used: by small bodies, by larger ones. Of strangers' the sum of their own counts as well."""


class BodyMemory:
    """How much is left."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.used = 0
        self.strangers = 0

    def share(self, *, stranger: bool) -> Share:
        """A request's part, nothing at first."""
        return Share(self, stranger)

    def fits(self, amount: int, taken: int, *, stranger: bool) -> bool:
        """Whether a request that has ``taken`` may have ``amount`` more."""
        large = taken + amount > SMALL
        if stranger and self.strangers + amount > self._total * STRANGERS[large]:
            return False
        return self.used + amount <= self._total * KNOWN[large]


class Share:
    """What one request holds of the budget, until it is released."""

    __slots__ = ("_memory", "_stranger", "_taken")

    def __init__(self, memory: BodyMemory, stranger: bool) -> None:
        self._memory = memory
        self._stranger = stranger
        self._taken = 0

    def take(self, amount: int) -> None:
        """Count so many bytes more.

        Raises:
            Overloaded: they do not fit.
        """
        if not self._memory.fits(amount, self._taken, stranger=self._stranger):
            raise Overloaded()
        self._add(amount)

    def release(self) -> None:
        """Give all of it back."""
        self._add(-self._taken)

    def _add(self, amount: int) -> None:
        self._taken += amount
        self._memory.used += amount
        self._memory.strangers += amount if self._stranger else 0
