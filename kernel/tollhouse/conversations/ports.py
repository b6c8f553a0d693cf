"""The ports Conversations and Files, as plugins see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from tollhouse.auth.roles import require_scope
from tollhouse.conversations.files import FileService
from tollhouse.conversations.service import ConversationService
from tollhouse.host.caller import Caller
from tollhouse.plugin.access import Principal
from tollhouse.plugin.content import FileRef
from tollhouse.plugin.ports import ConversationInfo, Page, StoredMessage

UsableAgent = Callable[[Principal, str], Awaitable[UUID]]
"""The id of the agent with this slug or id, if the principal may use it; else AccessDenied or NotFound. Policy decides."""


class ConversationsPort:
    """What was said, of the caller (``tollhouse.plugin.ports.Conversations``)."""

    def __init__(self, service: ConversationService, usable_agent: UsableAgent, caller: Caller) -> None:
        self._service = service
        self._usable_agent = usable_agent
        self._caller = caller

    async def list(self, cursor: str | None = None, limit: int = 50) -> Page[ConversationInfo]:
        require_scope(self._caller.user, "read")
        return await self._service.list(self._caller.user, cursor, limit)

    async def start(self, agent: str, title: str = "") -> ConversationInfo:
        require_scope(self._caller.user, "write", "turns")
        who = self._caller.user
        return await self._service.start(who, await self._usable_agent(who, agent), title)

    async def get(self, conversation_id: str) -> ConversationInfo:
        require_scope(self._caller.user, "read")
        return await self._service.get(self._caller.user, conversation_id)

    async def messages(self, conversation_id: str, cursor: str | None = None, limit: int = 100) -> Page[StoredMessage]:
        require_scope(self._caller.user, "read")
        return await self._service.messages(self._caller.user, conversation_id, cursor, limit)

    async def rename(self, conversation_id: str, title: str) -> ConversationInfo:
        require_scope(self._caller.user, "write")
        return await self._service.rename(self._caller.user, conversation_id, title)

    async def delete(self, conversation_id: str) -> None:
        require_scope(self._caller.user, "write")
        await self._service.delete(self._caller.user, conversation_id)


class FilesPort:
    """The caller's uploads (``tollhouse.plugin.ports.Files``)."""

    def __init__(self, service: FileService, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    async def put(self, data: bytes, name: str) -> FileRef:
        require_scope(self._caller.user, "turns", "write")
        return await self._service.put(self._caller.user, data, name)

    async def open(self, file_id: str) -> tuple[FileRef, bytes]:
        require_scope(self._caller.user, "read", "turns")
        return await self._service.open(self._caller.user, file_id)
