"""Signatures over the ledger's chain, and marks on the rows of the audit log.

Both come from the master key, which is never in the database: whoever can write to every table can make neither. The signature
is Ed25519, so what was signed can be checked with the public key alone, by whoever keeps the anchor. The mark is an HMAC.

The keys go with the master key: while it is replaced, those of the old one are good too. A chain needs none of them for ever,
because each link holds the digest of the one before: a signature of today's key vouches for all that lies under it.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tollhouse.store.secrets import SecretBox

_SIGN: Final = "ledger signature"
_MARK: Final = "audit mark"
_ID: Final = 8


class Signer:
    """Signs with the first master key's key; trusts those of all that are given."""

    __slots__ = ("_private", "_trusted", "public")

    def __init__(self, box: SecretBox) -> None:
        privates = [Ed25519PrivateKey.from_private_bytes(seed) for seed in box.mac_keys(_SIGN)]
        publics = [one.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) for one in privates]
        self._private, self._trusted = privates[0], frozenset(publics)
        self.public = publics[0]

    def __repr__(self) -> str:
        return f"Signer({self.public.hex()})"

    def sign(self, digest: bytes) -> bytes:
        """The signature under ``public``."""
        return self._private.sign(digest)

    def trusts(self, public: bytes) -> bool:
        """Whether this key comes from a master key that is in use."""
        return public in self._trusted


def signed(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether the holder of ``public`` signed this."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, digest)
    except (InvalidSignature, ValueError):
        return False
    return True


class Marker:
    """Marks what this installation writes itself: a row that was changed or put in by other hands bears no mark that fits."""

    __slots__ = ("_first", "_keys")

    def __init__(self, box: SecretBox) -> None:
        keys = {sha256(key).digest()[:_ID]: key for key in box.mac_keys(_MARK)}
        self._keys, self._first = keys, next(iter(keys))

    def __repr__(self) -> str:
        return f"Marker({len(self._keys)} keys)"

    def mark(self, leaf: bytes) -> bytes:
        """The mark of a row, by the hash of what it says."""
        return self._first + hmac.digest(self._keys[self._first], leaf, "sha256")

    def knows(self, mark: bytes) -> bool:
        """Whether the mark names a key that is in use; of another one nothing can be said any more."""
        return mark[:_ID] in self._keys

    def fits(self, leaf: bytes, mark: bytes) -> bool:
        """Whether it is this row's mark."""
        key = self._keys.get(mark[:_ID])
        return key is not None and hmac.compare_digest(hmac.digest(key, leaf, "sha256"), mark[_ID:])
