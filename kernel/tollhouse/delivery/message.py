"""Messages from messengers: person -> principal -> turn -> rendered answer -> outbox. An answer always comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.border.calls import ask_now
from tollhouse.conversations.repository import latest_conversation
from tollhouse.delivery.connected import Connect, Connected, DefaultAgent, FindGuest, RunTurn
from tollhouse.delivery.handle import Effect
from tollhouse.delivery.media import load_bytes
from tollhouse.plugin.access import Principal
from tollhouse.plugin.channels import Answer, Attachment, Messenger, Outgoing
from tollhouse.plugin.errors import AccessDenied, BackendError, InvalidInput, NotFound, TollhouseError
from tollhouse.plugin.events import InboundMessage
from tollhouse.plugin.ports import TurnRequest, TurnResult
from tollhouse.store import inbox, outbox
from tollhouse.store.blobs import Blobs
from tollhouse.store.events import external_key, message_from_json
from tollhouse.store.inbox import InboxRow
from tollhouse.store.store import Store

APOLOGY = "Something went wrong with your message. Please send it again a little later."
ROUTE = "route"


class TurnRunning(TollhouseError):
    """Another attempt still works on this turn, or died so recently that nobody knows: ask again later."""

    code = "turn_running"
    status = 409


class MessageHandler:
    """The handler of kind ``message``."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        *,
        connect: Connect,
        find_guest: FindGuest,
        default_agent: DefaultAgent,
        run_turn: RunTurn,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._connect = connect
        self._find_guest = find_guest
        self._default_agent = default_agent
        self._run_turn = run_turn

    async def prepare(self, row: InboxRow) -> Effect:
        """Run the turn and render what it ended in. A repeated attempt asks for the same turn, which is run once."""
        message = message_from_json(row.payload)
        connected, messenger = await self._messenger(row)
        # A plugin speaks for its own channel only: it cannot say that somebody signed in by a password.
        sender = replace(message.sender, provider=messenger.name)
        who = await self._find_guest(row.tenant_id, sender, messenger.name)
        answer = Answer(message.recipient, context=message.context)
        try:
            request = await self._request(row, connected, who, message)
            answer = _answered(answer, await self._run_turn(who, request))
        except AccessDenied as denied:
            answer = replace(answer, denial=denied.decision)
        except TollhouseError as error:
            if _is_passing(error):
                raise
            answer = replace(answer, error=error.detail)
        return _writes(row, _rendered(connected, messenger, answer))

    async def give_up(self, row: InboxRow) -> Effect:
        """Say that it went wrong; silence is no answer."""
        message = message_from_json(row.payload)
        connected, messenger = await self._messenger(row)
        apology = Answer(message.recipient, error=APOLOGY, context=message.context)
        return _writes(row, _rendered(connected, messenger, apology))

    async def _messenger(self, row: InboxRow) -> tuple[Connected, Messenger]:
        connected = await self._connect(row.tenant_id, row.connection_id)
        if not isinstance(connected.subject, Messenger):
            raise NotFound("This connection is no messenger.")
        return connected, connected.subject

    async def _request(self, row: InboxRow, connected: Connected, who: Principal, message: InboundMessage) -> TurnRequest:
        if any(isinstance(part, Attachment) for part in message.parts):
            raise InvalidInput("Attachments cannot be read here yet; please send it as text.")
        agent, conversation = await self._route(row, connected, who, message)
        loaded = await load_bytes(self._blobs, row.tenant_id, message)
        return TurnRequest(
            agent=agent,
            parts=loaded.parts,
            conversation=conversation,
            external_id=external_key(f"{row.connection_id}:{row.external_id}"),
        )

    async def _route(
        self, row: InboxRow, connected: Connected, who: Principal, message: InboundMessage
    ) -> tuple[str, str | None]:
        """Agent and conversation: decided by the first attempt, remembered for all others.

        The turn itself may begin a conversation; a second attempt that found it there would ask for another turn.
        """
        known = row.payload.get(ROUTE)
        if known is not None:
            return known["agent"], known["conversation"]
        async with self._store.transaction(row.tenant_id) as conn:
            latest = await latest_conversation(conn, row.tenant_id, who.user_id, who.channel)
        wanted = message.agent or (latest.agent if latest else None) or getattr(connected.ctx.config, "agent", None)
        agent = wanted or await self._default_agent(who, connected)
        conversation = latest.id if latest is not None and latest.agent == agent else None
        async with self._store.transaction(row.tenant_id) as conn:
            await inbox.remember(conn, row, {ROUTE: {"agent": agent, "conversation": conversation}})
        return agent, conversation


def _answered(answer: Answer, result: TurnResult) -> Answer:
    if result.state == "running":
        raise TurnRunning()
    if result.reply is not None:
        return replace(answer, reply=result.reply)
    return replace(answer, error=str((result.error or {}).get("detail") or APOLOGY))


def _is_passing(error: TollhouseError) -> bool:
    """Whether trying the same turn again is right. A model's failure is the turn's end, however it may go next time."""
    return error.http_code == "turn_running" or (error.may_retry and not isinstance(error, BackendError))


def _rendered(connected: Connected, messenger: Messenger, answer: Answer) -> list[Outgoing]:
    return list(ask_now(connected.plugin, "render", messenger, connected.ctx, answer))


def _writes(row: InboxRow, outgoing: Sequence[Outgoing]) -> Effect:
    async def write(conn: AsyncConnection) -> None:
        for item in outgoing:
            payload = delivery_payload(row.connection_id, item)
            await outbox.add(conn, row.tenant_id, "delivery", str(row.connection_id), payload, row.key)

    return write


def delivery_payload(connection_id: UUID, item: Outgoing) -> dict[str, Any]:
    """The payload of an outbox row of kind ``delivery``."""
    return {"connection_id": str(connection_id), "recipient": item.recipient, "payload": dict(item.payload)}
