"""Stories of conversations: paging, titles, forgetting, and that nobody sees another's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.kernel.conversations.conftest import add_message
from tollhouse.conversations import repository
from tollhouse.conversations.ports import ConversationsPort
from tollhouse.conversations.service import ConversationService
from tollhouse.host.caller import Caller
from tollhouse.plugin.access import Principal
from tollhouse.plugin.content import Media, Text
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from tollhouse.plugin.ports import Conversations
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store

MORNING = datetime(2026, 3, 2, 9, tzinfo=UTC)


async def say(store: Store, who: Principal, conversation: str, role: str, text: str) -> None:
    await add_message(store, who, conversation, role, [Text(text)])


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("", ""),
        ("\n\n", ""),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("one\r\ntwo", "one"),
        ("\n first\nsecond", "first"),
    ],
)
def test_titles_are_one_short_line(text: str, title: str) -> None:
    assert repository.title_of([Text(text)]) == title


def test_a_picture_alone_gives_no_title() -> None:
    assert repository.title_of([Media("image", "image/png", file_id="x")]) == ""


async def test_the_list_follows_use_and_its_pages_neither_repeat_nor_lose(
    store: Store, conversations: ConversationService, ada: Principal, guide: UUID
) -> None:
    begun = []
    for number in range(7):
        store.at(MORNING + timedelta(minutes=number // 2))  # pairs share their time: the id decides
        begun.append((await conversations.start(ada, guide, f"number {number}")).id)
    store.at(MORNING + timedelta(hours=1))
    await say(store, ada, begun[2], "user", "again")
    seen: list[str] = []
    cursor = None
    while True:
        page = await conversations.list(ada, cursor, limit=3)
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [begun[2], *[one for one in reversed(begun) if one != begun[2]]]
    with pytest.raises(InvalidInput):
        await conversations.list(ada, "not-a-cursor")
    with pytest.raises(InvalidInput):
        await conversations.list(ada, "é")


async def test_messages_come_oldest_first_and_the_cursor_leads_back(
    store: Store, conversations: ConversationService, ada: Principal, guide: UUID
) -> None:
    begun = await conversations.start(ada, guide)
    for number in range(5):
        await say(store, ada, begun.id, "user", str(number))
    newest = await conversations.messages(ada, begun.id, limit=2)
    assert [message.parts for message in newest.items] == [(Text("3"),), (Text("4"),)]
    before = await conversations.messages(ada, begun.id, newest.next_cursor, limit=2)
    assert [message.parts for message in before.items] == [(Text("1"),), (Text("2"),)]
    first = await conversations.messages(ada, begun.id, before.next_cursor, limit=2)
    assert ([message.parts for message in first.items], first.next_cursor) == ([(Text("0"),)], None)


async def test_renaming(conversations: ConversationService, ada: Principal, guide: UUID) -> None:
    begun = await conversations.start(ada, guide)
    assert (await conversations.rename(ada, begun.id, "  Bread and butter ")).title == "Bread and butter"
    for bad in ("", " \n", "x" * 201):
        with pytest.raises(InvalidInput) as error:
            await conversations.rename(ada, begun.id, bad)
        assert error.value.errors[0].pointer == "#/title"
    assert (await conversations.get(ada, begun.id)).title == "Bread and butter"


async def test_deleting_forgets_the_messages_and_whatever_hangs_on_them(
    store: Store, conversations: ConversationService, ada: Principal, guide: UUID
) -> None:
    kept, gone = await conversations.start(ada, guide), await conversations.start(ada, guide)
    for one in (kept, gone):
        await say(store, ada, one.id, "user", "hello")
    forgotten: list[UUID] = []

    async def forget(conn: object, tenant_id: UUID, conversation_id: UUID) -> None:
        assert tenant_id == ada.tenant_id
        forgotten.append(conversation_id)

    await ConversationService(store, conversations.blobs, forget=forget).delete(ada, gone.id)
    assert forgotten == [UUID(gone.id)]
    with pytest.raises(NotFound):
        await conversations.messages(ada, gone.id)
    assert [item.id for item in (await conversations.list(ada)).items] == [kept.id]
    assert len((await conversations.messages(ada, kept.id)).items) == 1


async def test_nobody_finds_another_persons_conversation(
    store: Store, conversations: ConversationService, ada: Principal, eve: Principal, mallory: Principal, guide: UUID
) -> None:
    begun = await conversations.start(ada, guide, "secret")
    await say(store, ada, begun.id, "user", "my secret")
    unknown = str(new_id())
    for stranger in (eve, mallory):
        assert (await conversations.list(stranger)).items == []
        for wanted in (begun.id, unknown, "nonsense"):
            with pytest.raises(NotFound) as error:
                await conversations.get(stranger, wanted)
            assert error.value.detail == NotFound().detail
            with pytest.raises(NotFound):
                await conversations.messages(stranger, wanted)
            with pytest.raises(NotFound):
                await conversations.rename(stranger, wanted, "mine")
            with pytest.raises(NotFound):
                await conversations.delete(stranger, wanted)
    assert (await conversations.get(ada, begun.id)).title == "secret"


async def test_where_somebody_goes_on(store: Store, conversations: ConversationService, ada: Principal, guide: UUID) -> None:
    await conversations.start(ada, guide, "old")
    newest = await conversations.start(ada, guide, "new")
    async with store.transaction(ada.tenant_id) as conn:
        found = await repository.latest_conversation(conn, ada.tenant_id, ada.user_id, "web", guide)
        nowhere = await repository.latest_conversation(conn, ada.tenant_id, ada.user_id, "telegram")
    assert found is not None
    assert (found.id, nowhere) == (newest.id, None)


async def test_the_port_asks_first_whether_the_agent_may_be_used(
    store: Store, conversations: ConversationService, ada: Principal, guide: UUID
) -> None:
    tenant = TenantInfo(ada.tenant_id, "acme", "Acme", "UTC", "EUR", "en", "http://localhost")

    async def usable(who: Principal, agent: str) -> UUID:
        if agent != "guide":
            raise Forbidden()
        return guide

    port: Conversations = ConversationsPort(conversations, usable, Caller(tenant, ada))
    with pytest.raises(Forbidden):
        await port.start("locked")
    begun = await port.start("guide", "Title")
    assert (await port.get(begun.id)).title == "Title"
    assert [item.id for item in (await port.list()).items] == [begun.id]
    assert (await port.messages(begun.id)).items == []
    await port.rename(begun.id, "Other")
    await port.delete(begun.id)
    assert (await port.list()).items == []
    nobody: Conversations = ConversationsPort(conversations, usable, Caller(tenant, None))
    with pytest.raises(Unauthenticated):
        await nobody.list()
