"""Which of several active versions a user gets: the same one every time, in proportion to the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from uuid import UUID

BASIS_POINTS = 10_000


def bucket(tenant_id: UUID, agent_id: UUID, user_id: UUID) -> int:
    """A user's place among 10,000, for one agent. It depends on nothing else, so it never moves."""
    digest = hashlib.sha256(f"{tenant_id}|{agent_id}|{user_id}".encode()).digest()
    return int.from_bytes(digest, "big") % BASIS_POINTS


def choose(weights: Sequence[tuple[UUID, int]], bucket: int) -> UUID:
    """The version whose share holds ``bucket``. ``weights``: basis points in the order of version numbers, 10,000 in all."""
    upper = 0
    for version_id, weight in weights:
        upper += weight
        if bucket < upper:
            return version_id
    raise ValueError(f"weights end at {upper}, below bucket {bucket}")
