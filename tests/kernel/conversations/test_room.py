"""Uploads have so much room and no more, and those that nobody came to show give it back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tests.kernel.conversations.conftest import add_message, sniff
from tollhouse.conversations import models
from tollhouse.conversations.files import FileLimits, FileService, NoRoom
from tollhouse.conversations.service import ConversationService
from tollhouse.plugin.access import Principal
from tollhouse.plugin.content import Media, Text, part_to_json
from tollhouse.plugin.errors import NotFound
from tollhouse.store.blobs import BlobStore
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store


@pytest.fixture
def limited(store: Store, blobs: BlobStore) -> Any:
    return lambda **limits: FileService(store, blobs, FileLimits(size=1000, **limits), sniff)


def kept(blobs: BlobStore) -> list[Path]:
    return [path for path in blobs.root.rglob("*") if path.is_file()]


async def test_a_persons_bytes_and_files_are_limited_each(
    limited: Any, blobs: BlobStore, ada: Principal, eve: Principal, mallory: Principal
) -> None:
    by_bytes, by_files = limited(user_bytes=100), limited(user_files=2)
    first = await by_bytes.put(ada, b"x" * 60, "a")
    with pytest.raises(NoRoom, match="Your uploads would take more") as refused:
        await by_bytes.put(ada, b"x" * 41, "b")
    assert (refused.value.http_status, refused.value.http_code) == (413, "upload_quota")
    await by_bytes.put(ada, b"x" * 40, "c")
    with pytest.raises(NoRoom, match="Your uploads are 2"):
        await by_files.put(ada, b"x", "d")
    assert len(kept(blobs)) == 2, "what was refused was never written"
    for other in (eve, mallory):
        await by_bytes.put(other, b"x" * 100, "a")
    await by_bytes.delete(ada, first.id)
    await by_bytes.put(ada, b"x" * 60, "e")


async def test_of_many_at_once_no_one_too_many_is_kept(limited: Any, blobs: BlobStore, ada: Principal) -> None:
    processes = [limited(user_bytes=100, user_files=50), limited(user_bytes=100, user_files=50)]
    tries = (processes[number % 2].put(ada, b"x" * 30, f"{number}") for number in range(12))
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done).count("FileRef") == 3
    assert {type(one) for one in done if isinstance(one, BaseException)} == {NoRoom}
    assert len(kept(blobs)) == 3


async def test_a_tenant_has_room_of_its_own(
    limited: Any, blobs: BlobStore, ada: Principal, eve: Principal, mallory: Principal
) -> None:
    files = limited(tenant_bytes=100, tenant_files=3)
    await files.put(ada, b"x" * 60, "a")
    with pytest.raises(NoRoom, match="All uploads here together"):
        await files.put(eve, b"x" * 41, "a")
    await files.put(eve, b"x", "a")
    await files.put(eve, b"x", "b")
    with pytest.raises(NoRoom):
        await files.put(ada, b"x", "b")
    await files.put(mallory, b"x" * 100, "a")
    with pytest.raises(NoRoom):
        await limited(tenant_files=3).put(ada, b"x", "b")  # another process, which counts for itself


async def test_no_limit_is_none(limited: Any, ada: Principal) -> None:
    for number in range(5):
        await limited().put(ada, b"x" * 900, str(number))


async def _made_at(store: Store, who: Principal, file_id: str, at: datetime) -> None:
    async with store.transaction(who.tenant_id) as conn:
        await conn.execute(update(models.files).where(models.files.c.id == UUID(file_id)).values(created_at=at))


async def test_what_no_message_shows_is_forgotten_after_a_day(
    store: Store,
    limited: Any,
    blobs: BlobStore,
    conversations: ConversationService,
    ada: Principal,
    mallory: Principal,
    guide: UUID,
) -> None:
    files, now = limited(tenant_files=100), datetime.now(UTC)
    made = {name: await files.put(ada, name.encode(), name) for name in ("shown", "idle", "fresh", "beside")}
    theirs = await files.put(mallory, b"theirs", "theirs")
    for who, file in ((ada, made["shown"]), (ada, made["idle"]), (ada, made["beside"]), (mallory, theirs)):
        await _made_at(store, who, file.id, now - timedelta(hours=25))
    await _made_at(store, ada, made["fresh"].id, now - timedelta(hours=23))
    talk = await conversations.start(ada, guide)
    shown = [Text("look"), *(Media("image", "image/png", file_id=made[name].id) for name in ("shown", "beside"))]
    await add_message(store, ada, talk.id, "user", shown)
    assert await files.forget_unused(ada.tenant_id) == 1
    assert await files.forget_unused(ada.tenant_id) == 0
    with pytest.raises(NotFound):
        await files.open(ada, made["idle"].id)
    for name in ("shown", "beside", "fresh"):
        assert (await files.open(ada, made[name].id))[1] == name.encode()
    assert (await files.open(mallory, theirs.id))[1] == b"theirs", "another tenant's are another sweep's"
    assert len(kept(blobs)) == 4
    async with store.transaction(ada.tenant_id) as conn:
        assert len((await conn.execute(select(models.files.c.id))).all()) == 3


async def test_what_a_turn_named_that_runs_or_failed_stays(
    store: Store, limited: Any, conversations: ConversationService, ada: Principal, guide: UUID
) -> None:
    files, now = limited(), datetime.now(UTC)
    talk = UUID((await conversations.start(ada, guide)).id)
    file = await files.put(ada, b"named", "named")
    await _made_at(store, ada, file.id, now - timedelta(hours=25))
    said = {"tenant_id": ada.tenant_id, "id": new_id(), "conversation_id": talk, "role": "user"}
    parts = [part_to_json(Media("image", "image/png", file_id=file.id))]
    async with store.transaction(ada.tenant_id) as conn:  # as admission does: only an answer counts as a use
        await conn.execute(models.messages.insert().values(said | {"parts": parts}))
        before = {"updated_at": now - timedelta(hours=26)}
        await conn.execute(update(models.conversations).where(models.conversations.c.id == talk).values(before))
    assert await files.forget_unused(ada.tenant_id) == 0
    assert (await files.open(ada, file.id))[1] == b"named"
