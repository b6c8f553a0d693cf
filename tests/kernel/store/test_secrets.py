"""Secrets at rest: bound to tenant, row and purpose; several master keys; the key's file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.settings import Settings
from tollhouse.store.errors import BadMasterKey
from tollhouse.store.secrets import SecretBox, SecretUnreadable, load_master_key

OLD, NEW = b"o" * 32, b"n" * 32
TENANT, ROW = UUID(int=11), UUID(int=22)
HERE: dict[str, Any] = {"tenant_id": TENANT, "row_id": ROW, "purpose": "connection"}


@given(st.binary(max_size=2000), st.uuids(), st.uuids(), st.text(max_size=20))
def test_what_is_encrypted_comes_back(plain: bytes, tenant_id: UUID, row_id: UUID, purpose: str) -> None:
    box = SecretBox([NEW])
    sealed = box.encrypt(plain, tenant_id=tenant_id, row_id=row_id, purpose=purpose)
    assert box.decrypt(sealed, tenant_id=tenant_id, row_id=row_id, purpose=purpose) == plain


@pytest.mark.parametrize(
    "elsewhere", [{"tenant_id": ROW}, {"row_id": TENANT}, {"purpose": "state"}, {"tenant_id": ROW, "row_id": TENANT}]
)
def test_a_ciphertext_opens_only_where_it_belongs(elsewhere: dict[str, Any]) -> None:
    sealed = SecretBox([NEW]).encrypt(b"secret", **HERE)
    with pytest.raises(SecretUnreadable):
        SecretBox([NEW]).decrypt(sealed, **{**HERE, **elsewhere})


def test_every_changed_or_missing_byte_is_noticed() -> None:
    box = SecretBox([NEW])
    sealed = box.encrypt(b"secret", **HERE)
    changed = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    shorter = [sealed[:i] for i in range(len(sealed))]
    for bad in (*changed, *shorter, sealed + b"x"):
        with pytest.raises(SecretUnreadable):
            box.decrypt(bad, **HERE)


def test_equal_secrets_look_different() -> None:
    box = SecretBox([NEW])
    assert len({box.encrypt(b"secret", **HERE) for _ in range(50)}) == 50


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(SecretUnreadable):
        SecretBox([NEW]).decrypt(SecretBox([OLD]).encrypt(b"secret", **HERE), **HERE)


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    old, both = SecretBox([OLD]), SecretBox([NEW, OLD])
    sealed = old.encrypt(b"secret", **HERE)
    assert both.decrypt(sealed, **HERE) == b"secret"
    assert not both.is_current(sealed)
    renewed = both.encrypt(b"secret", **HERE)
    assert both.is_current(renewed)
    assert SecretBox([NEW]).decrypt(renewed, **HERE) == b"secret"
    with pytest.raises(SecretUnreadable):
        old.decrypt(renewed, **HERE)


def test_a_box_does_not_show_its_keys() -> None:
    box = SecretBox([NEW, OLD])
    assert repr(box) == "SecretBox(2 keys)"
    assert not hasattr(box, "__dict__")


# -- where the key comes from ----------------------------------------------------------------------------------------------


def b64(*keys: bytes) -> Any:
    return ",".join(base64.b64encode(key).decode() for key in keys)


def refusal(settings: Settings) -> str:
    with pytest.raises(BadMasterKey) as caught:
        load_master_key(settings)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_the_setting_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_text("nonsense")
    box = load_master_key(Settings(data_dir=tmp_path, master_key=f" {b64(NEW)} , {b64(OLD)}\n"))
    assert box.is_current(SecretBox([NEW]).encrypt(b"", **HERE))
    assert box.decrypt(SecretBox([OLD]).encrypt(b"x", **HERE), **HERE) == b"x"


def test_url_safe_base64_is_understood(tmp_path: Path) -> None:
    key = b"\xfb\xff" * 16
    box = load_master_key(Settings(data_dir=tmp_path, master_key=base64.urlsafe_b64encode(key).decode()))
    assert box.is_current(SecretBox([key]).encrypt(b"", **HERE))


@pytest.mark.parametrize("text", ["short", "c2hvcnQ=", "not base64 at all!", f"{base64.b64encode(NEW).decode()},", "ümlaut"])
def test_a_malformed_key_is_refused_without_being_repeated(tmp_path: Path, text: Any) -> None:
    line = refusal(Settings(data_dir=tmp_path, master_key=text))
    assert "TOLLHOUSE_MASTER_KEY" in line
    assert "malformed" in line
    assert base64.b64encode(NEW).decode() not in line


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    assert str(tmp_path / "master.key") in refusal(Settings(data_dir=tmp_path))
    assert not (tmp_path / "master.key").exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    path.write_text(b64(NEW))
    path.chmod(mode)
    line = refusal(Settings(data_dir=tmp_path))
    assert f"chmod 600 {path}" in line
    path.chmod(0o600)
    assert load_master_key(Settings(data_dir=tmp_path)).is_current(SecretBox([NEW]).encrypt(b"", **HERE))


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.touch(0o600)
    path.write_bytes(b"\xff\xfe")
    assert "cannot be read" in refusal(Settings(data_dir=tmp_path))
    path.write_text("")
    assert "malformed" in refusal(Settings(data_dir=tmp_path))


def test_an_existing_key_is_never_overwritten(tmp_path: Path) -> None:
    load_master_key(Settings(data_dir=tmp_path), create=True)
    kept = (tmp_path / "master.key").read_text()
    load_master_key(Settings(data_dir=tmp_path), create=True)
    assert (tmp_path / "master.key").read_text() == kept
