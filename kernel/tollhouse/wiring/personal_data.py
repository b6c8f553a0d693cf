"""What the installation knows of a person, package by package: what an export shows, and what an erasure takes away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.accounts.service import Erases, Exports
from tollhouse.auth import failures
from tollhouse.billing import subscription_repository as billing
from tollhouse.billing.orders import Emit, changed, no_event
from tollhouse.conversations import files_repository, repository
from tollhouse.conversations.files import FileService
from tollhouse.delivery.forget import erase_messages
from tollhouse.turns.forget import forget_replies_of_user
from tollhouse.usage import entries

EXPORTS: Mapping[str, Exports] = {
    "billing": billing.everything_of,
    "conversations": repository.everything_of,
    "files": files_repository.everything_of,
    "sign_in_failures": failures.everything_of,
    "usage": entries.everything_of,
}
"""Beside the account itself: the name of each part, and who knows it."""


def erases(files: FileService, emit: Emit = no_event) -> Sequence[Erases]:
    """In their order: a turn that is still running must lose its words before its conversation goes."""

    async def end_subscription(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
        ended = await billing.end_of_user(conn, tenant_id, user_id)
        if ended is not None:
            await changed(conn, tenant_id, {"id": ended, "user_id": user_id}, "ended", emit)

    return (
        partial(erase_messages, blobs=files.blobs),
        forget_replies_of_user,
        repository.delete_of_user,
        files.erase,
        end_subscription,
        failures.forget_of_user,
    )
