"""The master key of an installation: made once, verified at every start, replaced without losing a secret."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, update

from tollhouse.host.models import connections as table
from tollhouse.host.rotation import reencrypt
from tollhouse.settings import Settings
from tollhouse.store.audit import CLI
from tollhouse.store.errors import BadMasterKey
from tollhouse.store.ids import new_id
from tollhouse.store.models import installation
from tollhouse.store.secrets import SecretBox, SecretUnreadable, open_secrets, verify_master_key
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants

OLD, NEW = b"o" * 32, b"n" * 32
KEY = "sk-the-secret-key-of-acme"


def key_file(folder: Path) -> Path:
    return folder / "master.key"


def env(*keys: bytes) -> Any:
    return ",".join(base64.b64encode(key).decode() for key in keys)


async def refusal(store: Store, settings: Settings) -> str:
    with pytest.raises(BadMasterKey) as caught:
        await open_secrets(store, settings)
    assert "\n" not in caught.value.detail
    return caught.value.detail


async def test_the_first_start_makes_a_key_and_later_ones_find_it(fresh_store: Store, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    box = await open_secrets(fresh_store, settings)
    path = key_file(tmp_path / "data")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    kept = path.read_text()
    who: dict[str, Any] = {"tenant_id": new_id(), "row_id": new_id(), "purpose": "x"}
    again = await open_secrets(fresh_store, settings)
    assert again.decrypt(box.encrypt(b"x", **who), **who) == b"x"
    assert path.read_text() == kept
    path.unlink()
    line = await refusal(fresh_store, settings)
    assert "missing" in line
    assert "TOLLHOUSE_MASTER_KEY" in line
    assert not path.exists(), "a lost key is never replaced by a new one in silence"


async def test_another_key_stops_the_start(fresh_store: Store, tmp_path: Path) -> None:
    await verify_master_key(fresh_store, SecretBox([OLD]))
    settings = Settings(data_dir=tmp_path, master_key=env(NEW))
    assert "not the one" in await refusal(fresh_store, settings)
    await open_secrets(fresh_store, Settings(data_dir=tmp_path, master_key=env(NEW, OLD)))
    assert not key_file(tmp_path).exists()


async def test_of_two_first_starts_with_different_keys_one_is_refused(fresh_store: Store, tmp_path: Path) -> None:
    starts = [open_secrets(fresh_store, Settings(data_dir=tmp_path / str(n))) for n in range(4)]
    done = await asyncio.gather(*starts, return_exceptions=True)
    assert sorted(type(item).__name__ for item in done) == ["BadMasterKey"] * 3 + ["SecretBox"]
    async with fresh_store.operator() as conn:
        assert (await conn.execute(select(func.count()).select_from(installation))).scalar() == 1


async def test_processes_of_one_machine_that_start_together_share_one_key(fresh_store: Store, tmp_path: Path) -> None:
    boxes = await asyncio.gather(*(open_secrets(fresh_store, Settings(data_dir=tmp_path)) for _ in range(4)))
    who: dict[str, Any] = {"tenant_id": new_id(), "row_id": new_id(), "purpose": "x"}
    assert [box.decrypt(boxes[0].encrypt(b"x", **who), **who) for box in boxes] == [b"x"] * 4
    assert os.listdir(tmp_path) == ["master.key"]


async def test_a_changed_check_value_is_refused(fresh_store: Store) -> None:
    await verify_master_key(fresh_store, SecretBox([OLD]))
    async with fresh_store.operator() as conn:
        await conn.execute(update(installation).values(key_check=b"nonsense"))
    with pytest.raises(BadMasterKey):
        await verify_master_key(fresh_store, SecretBox([OLD]))


async def _tenant(store: Store) -> UUID:
    tenant_id = new_id()
    async with store.operator() as conn:
        await conn.execute(insert(tenants).values(id=tenant_id, slug=f"t{tenant_id.hex[-12:]}", name="T"))
    return tenant_id


async def test_the_master_key_is_replaced_without_losing_a_secret(world: Any, fresh_store: Store, tmp_path: Path) -> None:
    await verify_master_key(fresh_store, SecretBox([OLD]))
    before = world.again(store=fresh_store, box=SecretBox([OLD]))
    made = [
        (tenant_id, await before.create(CLI, tenant_id, "llm", "acme", "Main", {"api_key": f"{KEY}-{n}"}))
        for n, tenant_id in enumerate([await _tenant(fresh_store), await _tenant(fresh_store)])
    ]
    both, after = SecretBox([NEW, OLD]), world.again(store=fresh_store, box=SecretBox([NEW]))
    with pytest.raises(SecretUnreadable):
        await after.bound(world.info(made[0][0]), made[0][1].id)
    assert "not the one" in await refusal(fresh_store, Settings(data_dir=tmp_path, master_key=env(NEW)))
    assert await reencrypt(fresh_store, both) == 2
    assert await reencrypt(fresh_store, both) == 0, "again is harmless"
    await open_secrets(fresh_store, Settings(data_dir=tmp_path, master_key=env(NEW)))
    for n, (tenant_id, connection) in enumerate(made):
        bound = await after.bound(world.info(tenant_id), connection.id)
        assert bound.ctx.config.api_key.get_secret_value() == f"{KEY}-{n}"
        assert (await after.get(tenant_id, connection.id)) == connection, "nothing else changed"
    assert "not the one" in await refusal(fresh_store, Settings(data_dir=tmp_path, master_key=env(OLD)))


async def test_a_rotation_with_an_unreadable_secret_keeps_the_old_key_good(world: Any, fresh_store: Store) -> None:
    await verify_master_key(fresh_store, SecretBox([OLD]))
    before, tenant_id = world.again(store=fresh_store, box=SecretBox([OLD])), await _tenant(fresh_store)
    broken = await before.create(CLI, tenant_id, "llm", "acme", "Broken", {"api_key": KEY})
    await before.create(CLI, tenant_id, "llm", "acme", "Good", {"api_key": KEY})
    async with fresh_store.transaction(tenant_id) as conn:
        await conn.execute(update(table).where(table.c.id == broken.id).values(secrets=b"nonsense"))
    with pytest.raises(SecretUnreadable, match=str(broken.id)):
        await reencrypt(fresh_store, SecretBox([NEW, OLD]))
    await verify_master_key(fresh_store, SecretBox([OLD]))
