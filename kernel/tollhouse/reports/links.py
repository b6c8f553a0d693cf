"""A link of a chain: what it says as bytes, its digest, and its signature. Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from tollhouse.store.anchor import ChainId
from tollhouse.store.signing import Signer

GENESIS: Final = b"\0" * 32
CARRIED: Final = ("cluster", "low", "high", "partial", "last_id")
"""Where the rows of a chain go on; a link that holds none leaves it as it was."""
_UUID_OID: Final = 2950


def body(ids: Sequence[UUID], leaves: Sequence[UUID]) -> bytes:
    """The hash of what a link holds, as the database computes it: of both arrays in the form in which they are sent."""
    return sha256(_sent(ids) + _sent(leaves)).digest()


def _sent(ids: Sequence[UUID]) -> bytes:
    if not ids:
        return struct.pack(">iii", 0, 0, _UUID_OID)
    head = struct.pack(">iiiii", 1, 0, _UUID_OID, len(ids), 1)
    return head + b"".join(b"\0\0\0\x10" + one.bytes for one in ids)


def digest_of(chain: ChainId, link: Mapping[str, Any], body: bytes) -> bytes:
    """Over everything that the link says, and the one before."""
    said = {
        "form": 1,
        "tenant": str(chain.tenant_id),
        "log": chain.log,
        **{name: link[name] for name in ("number", "kind", "cluster", "low", "high", "partial", "count", "total", "note")},
        "last_id": str(link["last_id"]),
        "at": link["at"].astimezone(UTC).isoformat(),
        "body": body.hex(),
        "previous": link["previous"].hex(),
        "public_key": link["public_key"].hex(),
    }
    return sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()


def next_link(
    chain: ChainId,
    head: Mapping[str, Any] | None,
    signer: Signer,
    kind: str,
    at: datetime,
    *,
    ids: Sequence[UUID] = (),
    leaves: Sequence[UUID] = (),
    note: Mapping[str, Any] | None = None,
    **position: Any,
) -> dict[str, Any]:
    """The link after ``head``, signed. ``position``: what of :data:`CARRIED` it changes."""
    began = {"cluster": "", "low": 0, "high": 0, "partial": False, "last_id": None}
    link: dict[str, Any] = {
        **({name: head[name] for name in CARRIED} if head is not None else began),
        **position,
        "log": chain.log,
        "number": head["number"] + 1 if head is not None else 1,
        "kind": kind,
        "count": len(leaves),
        "total": (head["total"] if head is not None else 0) + len(leaves),
        "first_id": ids[0] if leaves else None,
        "ids": list(ids),
        "leaves": list(leaves),
        "note": dict(note or {}),
        "previous": head["digest"] if head is not None else GENESIS,
        "public_key": signer.public,
        "at": at,
    }
    link["digest"] = digest_of(chain, link, body(ids, leaves))
    link["signature"] = signer.sign(link["digest"])
    return link
