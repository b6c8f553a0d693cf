"""How many model calls a request comes from, so that a connection that leads back to this installation ends.

Every outgoing call carries a header with a mark of this installation: its id, the count, and a MAC under a key that is
derived from the master key. A request that arrives with a mark of ours was made by a model call of ours. The marks of other
installations are passed on, so that two that lead to each other end too. A mark that was made up counts for nothing; one that
was copied from a header of ours can only shorten the copier's own way.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from tollhouse.store.secrets import SecretBox

HEADER: Final = "Tollhouse-Hops"
MOST: Final = 1
"""One tenant may sell what another one's agent answers: that is one hop. Nobody needs a second."""
MARK: Final = re.compile(r"([0-9a-f]{16})-([1-9])-([0-9a-f]{32})", re.ASCII)
FOREIGN: Final = 8

_arrived: ContextVar[tuple[int, tuple[str, ...]]] = ContextVar("hops", default=(0, ()))


class Hops:
    """Reads the marks of requests and makes those of calls. One per process."""

    def __init__(self, box: SecretBox) -> None:
        keys = box.mac_keys("hops")
        self._own = {mark: count for key in keys for count, mark in enumerate(_marks(key), 1)}
        self._ids = {mark.partition("-")[0] for mark in self._own}
        self._marks = _marks(keys[0])

    def arrived(self, header: bytes | None) -> int:
        """From how many model calls of this installation this task's request comes; its own calls go on from there."""
        count = 0
        foreign: list[str] = []
        if header is not None:
            for found in MARK.finditer(header[:1024].decode("latin-1")):
                count = max(count, self._own.get(found[0], 0))
                if found[1] not in self._ids and len(foreign) < FOREIGN:
                    foreign.append(found[0])
        _arrived.set((count, tuple(foreign)))
        return count

    def headers(self) -> Mapping[str, str]:
        """What a call carries that is made now."""
        count, foreign = _arrived.get()
        return {HEADER: ", ".join((self._marks[min(count, len(self._marks) - 1)], *foreign))}


def _marks(key: bytes) -> list[str]:
    """The marks of the first hop, of the second, and so on: more than will ever be let in."""
    owner = hmac.digest(key, b"id", hashlib.sha256).hex()[:16]
    return [f"{owner}-{count}-{hmac.digest(key, b'hop %d' % count, hashlib.sha256).hex()[:32]}" for count in range(1, 10)]
