"""What an admission needs beside its facts and has not at hand: looked up between its tries, never inside one.

In a try, counters are locked. Whoever waits there for a connection of the other pool holds up everybody who waits for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from tollhouse.store.errors import DatabaseDown

T = TypeVar("T")


class NotAtHand(Exception):
    """It has to be looked up first. Never leaves this package."""


class Lookups:
    """What one admission looked up, and what it still wants."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._wanted: dict[Hashable, Callable[[], Awaitable[Any]]] = {}

    @property
    def wanted(self) -> bool:
        """Whether something has to be looked up before another try."""
        return bool(self._wanted)

    def get(self, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        """What ``load`` gave, or raised.

        Raises:
            NotAtHand: it was not called yet; :meth:`fetch` will.
        """
        if key not in self._found:
            self._wanted[key] = load
            raise NotAtHand
        found: T | Exception = self._found[key]
        if isinstance(found, Exception):
            raise found
        return found

    async def fetch(self) -> None:
        """Look up what is wanted.

        Raises:
            DatabaseDown: the database cannot be reached.
        """
        wanted, self._wanted = self._wanted, {}
        for key, load in wanted.items():
            try:
                self._found[key] = await load()
            except DatabaseDown:
                raise
            except Exception as error:  # for whoever asks for it
                self._found[key] = error
