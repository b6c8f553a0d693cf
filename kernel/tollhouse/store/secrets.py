"""Secrets at rest: AES-256-GCM under a data key of each tenant, derived from a master key that is never in the database.

A ciphertext is bound to its tenant, its row and its purpose: copied to another row or tenant, it does not decrypt. Several
master keys may be given: the first encrypts, all decrypt, so that a key can be replaced without a stop.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings
from tollhouse.store.errors import BadMasterKey
from tollhouse.store.models import installation
from tollhouse.store.store import Store

KEY_BYTES: Final = 32
KEY_FILE: Final = "master.key"
VERSION: Final = b"\x01"
_ID, _NONCE = 8, 12
_HEADER = len(VERSION) + _ID + _NONCE
_NOBODY = UUID(int=0)
_ROW = UUID(int=1)  # the one row of table installation
_CHECK = b"tollhouse"


class SecretUnreadable(ConfigError):
    """A stored secret does not decrypt: another key, another row, or changed bytes. It has to be entered again."""

    code = "secret_unreadable"
    title = "A stored secret cannot be decrypted; enter it again"


class SecretBox:
    """Encrypts and decrypts. Envelope: version, id of the master key, nonce, ciphertext with tag."""

    __slots__ = ("_first", "_keys")

    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys``: 32 bytes each; the first encrypts, all decrypt."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise BadMasterKey(f"the master key must be {KEY_BYTES} bytes, in base64")
        self._keys = {_key_id(key): key for key in keys}
        self._first = _key_id(keys[0])

    def __repr__(self) -> str:
        return f"SecretBox({len(self._keys)} keys)"

    def encrypt(self, plain: bytes, *, tenant_id: UUID, row_id: UUID, purpose: str) -> bytes:
        """An envelope that only decrypts for the same tenant, row and purpose."""
        header = VERSION + self._first + os.urandom(_NONCE)
        cipher = _cipher(self._keys[self._first], tenant_id)
        return header + cipher.encrypt(header[-_NONCE:], plain, _bound_to(header, tenant_id, row_id, purpose))

    def decrypt(self, envelope: bytes, *, tenant_id: UUID, row_id: UUID, purpose: str) -> bytes:
        """What was encrypted.

        Raises:
            SecretUnreadable: another tenant, row, purpose or key, or changed bytes.
        """
        header, body = envelope[:_HEADER], envelope[_HEADER:]
        key = self._keys.get(header[1 : 1 + _ID])
        if header[:1] != VERSION or key is None or not body:
            raise SecretUnreadable()
        try:
            return _cipher(key, tenant_id).decrypt(header[-_NONCE:], body, _bound_to(header, tenant_id, row_id, purpose))
        except InvalidTag:
            raise SecretUnreadable() from None

    def mac_keys(self, purpose: str) -> list[bytes]:
        """A key for signing, of each master key, the first one's first; no two purposes share one."""
        order = sorted(self._keys, key=lambda one: one != self._first)
        return [
            HKDF(SHA256(), KEY_BYTES, None, b"tollhouse mac v1 " + purpose.encode()).derive(self._keys[one]) for one in order
        ]

    def is_current(self, envelope: bytes) -> bool:
        """Whether it was encrypted under the first key."""
        return envelope[1 : 1 + _ID] == self._first


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"tollhouse key id" + key).digest()[:_ID]


def _cipher(key: bytes, tenant_id: UUID) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, None, b"tollhouse data key v1" + tenant_id.bytes).derive(key))


def _bound_to(header: bytes, tenant_id: UUID, row_id: UUID, purpose: str) -> bytes:
    return header + tenant_id.bytes + row_id.bytes + purpose.encode()


# -- the master key ---------------------------------------------------------------------------------------------------


def load_master_key(settings: Settings, *, create: bool = False) -> SecretBox:
    """The key of the setting ``TOLLHOUSE_MASTER_KEY``, else of the file ``master.key`` in the data directory.

    ``create``: make the file if there is none; only right while nothing is encrypted yet (``open_secrets`` knows).

    Raises:
        BadMasterKey: missing, malformed, or a file that others may read; one line.
    """
    if settings.master_key is not None and (text := settings.master_key.get_secret_value().strip()):
        return _parse(text, "TOLLHOUSE_MASTER_KEY")
    path = settings.data_dir / KEY_FILE
    if create:
        try:
            _create(path)
        except OSError as error:
            raise BadMasterKey(
                f"the master key {path} cannot be made: {error.strerror}; DATA_DIR must be a folder that we may write to"
            ) from None
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise BadMasterKey(
            f"the master key is missing: the database holds secrets, but {path} does not exist; "
            "restore it from a backup or set TOLLHOUSE_MASTER_KEY"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadMasterKey(f"the master key {path} cannot be read: {type(error).__name__}") from None
    if mode & 0o077:
        raise BadMasterKey(f"the master key {path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")
    return _parse(text, str(path))


def _parse(text: str, source: str) -> SecretBox:
    try:
        keys = [base64.b64decode(part.strip().replace("-", "+").replace("_", "/"), validate=True) for part in text.split(",")]
        return SecretBox(keys)
    except (binascii.Error, ValueError, BadMasterKey):
        raise BadMasterKey(
            f"the master key in {source} is malformed: it must be {KEY_BYTES} bytes in base64, several separated by commas; "
            "make one with: openssl rand -base64 32"
        ) from None


def _create(path: Path) -> None:
    """Make the key file, complete at once; whoever is second finds the first one's."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, prefix=".master-key-", encoding="ascii") as file:  # mode 0600
        file.write(base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return


async def open_secrets(store: Store, settings: Settings) -> SecretBox:
    """What a start does: load the key, make one only for a database that has never seen a key, and verify it.

    Raises:
        BadMasterKey: missing, malformed or another one; one line.
    """
    async with store.operator() as conn:
        fresh = (await conn.execute(select(installation.c.id))).first() is None
    box = load_master_key(settings, create=fresh)
    await verify_master_key(store, box)
    return box


async def verify_master_key(store: Store, box: SecretBox) -> None:
    """Compare with the check value in the database; the first start stores it.

    Raises:
        BadMasterKey: it is not the key that the stored secrets were encrypted with.
    """
    async with store.operator() as conn:
        # Of two first starts with different keys, one inserts and the other is refused below.
        await conn.execute(insert(installation).values(id=_ROW, key_check=_check_value(box)).on_conflict_do_nothing())
        check = (await conn.execute(select(installation.c.key_check).where(installation.c.id == _ROW))).scalar_one()
    try:
        box.decrypt(check, tenant_id=_NOBODY, row_id=_ROW, purpose="check")
    except SecretUnreadable:
        raise BadMasterKey(
            "the master key is not the one that this database's secrets were encrypted with; restore master.key or "
            "TOLLHOUSE_MASTER_KEY (when replacing a key, put the new one first and keep the old one after a comma)"
        ) from None


async def renew_check(store: Store, box: SecretBox) -> None:
    """The last step of a rotation: from now on the first key alone opens the installation."""
    async with store.operator() as conn:
        await conn.execute(update(installation).where(installation.c.id == _ROW).values(key_check=_check_value(box)))


def _check_value(box: SecretBox) -> bytes:
    return box.encrypt(_CHECK, tenant_id=_NOBODY, row_id=_ROW, purpose="check")
