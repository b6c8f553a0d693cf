"""Stories of uploads: stored whole, found by their owner only, gone when nothing shows them any more."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pytest

from tests.kernel.conversations.conftest import add_message
from tollhouse.conversations.files import FileService, clean_name
from tollhouse.conversations.ports import FilesPort
from tollhouse.conversations.service import ConversationService
from tollhouse.host.caller import Caller
from tollhouse.plugin.access import Principal
from tollhouse.plugin.content import FileRef, Media, Text
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import InvalidInput, NotFound, TooLarge
from tollhouse.plugin.ports import Files
from tollhouse.store.blobs import BlobStore, blob_key
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store


async def test_a_file_is_kept_and_found_by_its_owner(files: FileService, ada: Principal) -> None:
    port: Files = FilesPort(files, Caller(TenantInfo(ada.tenant_id, "a", "A", "UTC", "EUR", "en", ""), ada))
    kept = await port.put(b"picture", "../../etc/cat.png")
    assert (kept.name, kept.type, kept.media_type, kept.size) == ("cat.png", "image", "image/png", 7)
    assert kept.sha256 == hashlib.sha256(b"picture").hexdigest()
    assert await port.open(kept.id) == (kept, b"picture")
    await files.delete(ada, kept.id)
    with pytest.raises(NotFound):
        await port.open(kept.id)
    with pytest.raises(NotFound):
        await files.delete(ada, kept.id)


async def test_what_is_refused_leaves_nothing(files: FileService, blobs: BlobStore, ada: Principal) -> None:
    for data, error in ((b"", InvalidInput), (b"MZ\x90", InvalidInput), (b"HUGE", InvalidInput), (b"x" * 1001, TooLarge)):
        with pytest.raises(error):
            await files.put(ada, data, "cat.jpg")
    assert not blobs.root.exists()


async def test_a_row_that_cannot_be_written_leaves_no_blob(files: FileService, blobs: BlobStore, ada: Principal) -> None:
    stranger = Principal(ada.tenant_id, new_id(), "password", "web")  # somebody who is not there, or not any more
    with pytest.raises(NotFound):
        await files.put(stranger, b"picture", "cat.png")
    assert [path for path in blobs.root.rglob("*") if path.is_file()] == []


async def test_nobody_opens_another_persons_file(
    files: FileService, ada: Principal, eve: Principal, mallory: Principal
) -> None:
    kept = await files.put(ada, b"picture", "cat.png")
    for stranger in (eve, mallory):
        for wanted in (kept.id, str(new_id()), "nonsense"):
            with pytest.raises(NotFound) as error:
                await files.open(stranger, wanted)
            assert error.value.detail == NotFound().detail
            with pytest.raises(NotFound):
                await files.delete(stranger, wanted)
    assert (await files.open(ada, kept.id))[1] == b"picture"


async def _show(store: Store, who: Principal, conversation: str, *shown: FileRef) -> None:
    parts = [Text("look"), *(Media(file.type, file.media_type, file_id=file.id, size=file.size) for file in shown)]
    await add_message(store, who, conversation, "user", parts)


async def test_a_conversation_takes_along_the_files_that_only_it_showed(
    store: Store,
    files: FileService,
    blobs: BlobStore,
    conversations: ConversationService,
    ada: Principal,
    eve: Principal,
    guide: UUID,
) -> None:
    alone, shared, elsewhere, foreign = [await files.put(who, b"x", "x") for who in (ada, ada, ada, eve)]
    gone, kept = await conversations.start(ada, guide), await conversations.start(ada, guide)
    await _show(store, ada, gone.id, alone, shared, foreign)
    await _show(store, ada, gone.id, alone)
    await _show(store, ada, kept.id, shared)
    await conversations.delete(ada, gone.id)
    with pytest.raises(NotFound):
        await files.open(ada, alone.id)
    assert not await blobs.exists(blob_key(ada.tenant_id, UUID(alone.id)))
    for who, file in ((ada, shared), (ada, elsewhere), (eve, foreign)):
        assert (await files.open(who, file.id))[1] == b"x"
    await conversations.delete(ada, kept.id)
    with pytest.raises(NotFound):
        await files.open(ada, shared.id)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("cat.png", "cat.png"),
        ("C:\\a\\cat.png", "cat.png"),
        ("/etc/passwd", "passwd"),
        ("a\x00\nb", "a b"),
        ("a\u202egnp.exe", "a gnp.exe"),
        ("", "file"),
        ("..", ".."),
    ],
)
def test_names_are_for_showing_only(sent: str, shown: str) -> None:
    assert clean_name(sent) == shown
