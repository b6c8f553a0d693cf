"""Blobs: whole or not at all, under keys of our own that begin with the tenant."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from pathlib import Path
from uuid import UUID

import pytest

from tollhouse.plugin.errors import NotFound
from tollhouse.store.blobs import Blobs, BlobStore, blob_key
from tollhouse.store.errors import StorageFull
from tollhouse.store.ids import new_id


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return BlobStore(tmp_path / "blobs")


async def test_put_get_delete(blobs: Blobs) -> None:
    key = blob_key(new_id(), new_id())
    assert not await blobs.exists(key)
    assert await blobs.put(key, b"bytes") == hashlib.sha256(b"bytes").hexdigest()
    assert await blobs.exists(key)
    assert await blobs.get(key) == b"bytes"
    await blobs.delete(key)
    await blobs.delete(key)
    with pytest.raises(NotFound):
        await blobs.get(key)


async def test_a_key_begins_with_its_tenant_and_is_ours(blobs: Blobs) -> None:
    tenant_id = new_id()
    assert blob_key(tenant_id, UUID(int=0xAB)).startswith(f"{tenant_id}/ab/")
    for bad in ("../../etc/passwd", f"{tenant_id}/../x", "/etc/passwd", f"{tenant_id}/ab/cat.png", ""):
        with pytest.raises(ValueError):
            await blobs.put(bad, b"")
        with pytest.raises(ValueError):
            await blobs.get(bad)


async def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobStore(tmp_path)
    key = blob_key(new_id(), new_id())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        await blobs.put(key, b"x" * 100)
    assert await asyncio.to_thread(lambda: [path for path in tmp_path.rglob("*") if path.is_file()]) == []


async def test_readers_see_a_whole_blob_while_it_is_written(blobs: Blobs) -> None:
    key = blob_key(new_id(), new_id())
    versions = [bytes([number]) * 200_000 for number in range(5)]
    await blobs.put(key, versions[0])

    async def read() -> set[bytes]:
        return {await blobs.get(key) for _ in range(50)}

    seen, *_ = await asyncio.gather(read(), *(blobs.put(key, version) for version in versions))
    assert seen <= set(versions)


async def test_only_we_can_read_them(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    key = blob_key(new_id(), new_id())
    await blobs.put(key, b"private")
    assert stat.S_IMODE((tmp_path / key).stat().st_mode) == 0o600
