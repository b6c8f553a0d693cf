"""Browsers that are known: a cookie, given at each sign-in, that says which accounts were signed in with here.

It is no credential. Whoever has it may only go on guessing where strangers are made to wait, so it holds no session, is bound
to the tenant and the account, and is worth nothing once the password is another one: the signature covers the password's hash.

``<device>.<account>.<account>…``, newest first; each part is base64 of an id and its signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final
from uuid import UUID

MAX_ACCOUNTS: Final = 5
ID_BYTES: Final = 16
MAC_BYTES: Final = 16
PURPOSE: Final = "devices"


class Devices:
    """Signs and reads the cookies of known browsers."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """``keys``: the first signs, all are believed; without any, one that nobody else has."""
        self._keys = tuple(keys) or (secrets.token_bytes(32),)

    def device(self, tenant_id: UUID, cookie: str) -> str | None:
        """The browser's own id, if we gave it one."""
        found = self._device(tenant_id, cookie)
        return None if found is None else found.hex()

    def known(self, tenant_id: UUID, cookie: str, user_id: UUID, secret: str | None) -> str | None:
        """The browser's id, if this account has signed in with it since it has this password (``secret`` is its hash)."""
        device = self._device(tenant_id, cookie)
        if device is None:
            return None
        for part in cookie.split(".")[1 : 1 + MAX_ACCOUNTS]:
            read = _read(part)
            if read is None or read[0] != user_id.bytes:
                continue
            if self._is_signed(read[1], b"account", tenant_id.bytes, device, user_id.bytes, _of(secret)):
                return device.hex()
        return None

    def remember(self, tenant_id: UUID, cookie: str, user_id: UUID, secret: str | None) -> str:
        """The cookie to keep from now on: the same browser, and this account first among its accounts."""
        device = self._device(tenant_id, cookie)
        others = cookie.split(".")[1:] if device is not None else []
        if device is None:
            device = secrets.token_bytes(ID_BYTES)
        own = _write(device, self._sign(b"device", tenant_id.bytes, device))
        account = _write(user_id.bytes, self._sign(b"account", tenant_id.bytes, device, user_id.bytes, _of(secret)))
        kept = [part for part in others if (read := _read(part)) is not None and read[0] != user_id.bytes]
        return ".".join([own, account, *kept[: MAX_ACCOUNTS - 1]])

    def _device(self, tenant_id: UUID, cookie: str) -> bytes | None:
        read = _read(cookie.partition(".")[0])
        if read is None or not self._is_signed(read[1], b"device", tenant_id.bytes, read[0]):
            return None
        return read[0]

    def _sign(self, *parts: bytes) -> bytes:
        return _mac(self._keys[0], parts)

    def _is_signed(self, mac: bytes, *parts: bytes) -> bool:
        return any(hmac.compare_digest(mac, _mac(key, parts)) for key in self._keys)


def _mac(key: bytes, parts: Sequence[bytes]) -> bytes:
    return hmac.digest(key, b"\x1f".join(parts), hashlib.sha256)[:MAC_BYTES]


def _of(secret: str | None) -> bytes:
    return hashlib.sha256((secret or "").encode()).digest()


def _write(who: bytes, mac: bytes) -> str:
    return base64.urlsafe_b64encode(who + mac).rstrip(b"=").decode()


def _read(part: str) -> tuple[bytes, bytes] | None:
    """The id and its signature; None for what was never one of ours."""
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        return None
    return (raw[:ID_BYTES], raw[ID_BYTES:]) if len(raw) == ID_BYTES + MAC_BYTES else None
