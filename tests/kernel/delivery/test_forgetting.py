"""What a person wrote through a messenger goes when they are erased, and what others wrote stays."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select

from tollhouse.auth.models import identities
from tollhouse.delivery.forget import erase_messages


async def test_an_erasure_blanks_what_was_written_and_answered(
    stage: Any, bot: UUID, tenant_id: UUID, at_work: Any, wait_until: Any
) -> None:
    at_work(1)
    await stage.write(bot, "m1", "my secret is a pear", chat="a", user="ada")
    await stage.write(bot, "m2", "mine is an apple", chat="b", user="bob")

    async def answered() -> bool:
        return len(await stage.sent(bot)) == 2

    await wait_until(answered)

    async def sent_and_closed() -> bool:
        return all(row["state"] == "done" for row in await stage.outbox(tenant_id))

    await wait_until(sent_and_closed)
    async with stage.store.transaction(tenant_id) as conn:
        ada = (await conn.execute(select(identities.c.user_id).where(identities.c.subject == "ada"))).scalar_one()
        assert await erase_messages(conn, tenant_id, ada, stage.blobs) is not None
        assert await erase_messages(conn, tenant_id, ada, stage.blobs) is None, "nothing is left"
    left = str([row["payload"] for row in (*await stage.inbox(tenant_id), *await stage.outbox(tenant_id))])
    assert "pear" not in left
    assert left.count("apple") == 2
    await stage.write(bot, "m1", "my secret is a pear", chat="a", user="ada")
    assert len(await stage.inbox(tenant_id)) == 2, "the vendor's repetition is still known"


async def test_what_waits_of_an_erased_person_is_not_handled(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    ada = (await stage.find_guest(tenant_id, await _sender(stage, bot), "fakechat")).user_id
    await stage.write(bot, "m1", "too late", user="ada")
    async with stage.store.transaction(tenant_id) as conn:
        await erase_messages(conn, tenant_id, ada, stage.blobs)
    await stage.job(tenant_id, bot, (await stage.inbox(tenant_id))[0]["key"])
    assert stage.asked == []
    assert [(row["state"], row["payload"]) for row in await stage.inbox(tenant_id)] == [("done", {})]


async def _sender(stage: Any, bot: UUID) -> Any:
    """Who the fake messenger says that Ada is."""
    from tollhouse.plugin.events import Sender

    return Sender("fakechat", str(bot), "ada")
