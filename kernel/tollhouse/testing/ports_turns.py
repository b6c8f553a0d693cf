"""Fakes of the ports around talking and paying: turns, conversations, subscriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from tollhouse.plugin import (
    AccessDenied,
    AgentInfo,
    Conflict,
    ConversationInfo,
    Decision,
    InvalidInput,
    NextAction,
    NotFound,
    OrderInfo,
    Page,
    PlanInfo,
    Reply,
    StoredMessage,
    Subscribed,
    SubscriptionInfo,
    Text,
    TokenUsage,
    TurnRequest,
    TurnResult,
)
from tollhouse.testing.world import BoundFake, World

T = TypeVar("T")


class IdempotencyMismatch(InvalidInput):
    code = "idempotency_mismatch"
    title = "The same id came with another request before"


class AlreadySubscribed(Conflict):
    code = "already_subscribed"
    title = "You have this plan already"


class FakeTurns(BoundFake):
    """:class:`~tollhouse.plugin.Turns` in memory: answers with ``world.reply``, counts calls, remembers ids."""

    async def run(self, request: TurnRequest) -> TurnResult:
        me, agent = self.me, _agent(self.world, request.agent)
        if not request.parts:
            raise InvalidInput("A message has at least one part", field="parts")
        if (replay := self._replay(me, request)) is not None:
            return replay
        decision = self.world.decide(me, agent.slug)
        if not decision.allowed:
            raise AccessDenied(decision)
        self.world.turn_count[me] = self.world.turn_count.get(me, 0) + 1
        result = self._result(request, agent)
        if request.store:
            result = replace(result, conversation_id=self._keep(me, request, agent, result))
        self.world.turns[result.id] = (me, result)
        if request.external_id is not None:
            self.world.external_ids[me, request.external_id] = (result.id, request)
        return result

    async def get(self, turn_id: str) -> TurnResult:
        return _own(self.world.turns, turn_id, self.me)

    async def check(self, agent: str, channel: str | None = None, metadata: Mapping[str, Any] | None = None) -> Decision:
        return self.world.decide(self.me, _agent(self.world, agent).slug)

    def _replay(self, me: str, request: TurnRequest) -> TurnResult | None:
        if request.external_id is None or (me, request.external_id) not in self.world.external_ids:
            return None
        turn_id, before = self.world.external_ids[me, request.external_id]
        if before != request:
            raise IdempotencyMismatch()
        return replace(self.world.turns[turn_id][1], replayed=True)

    def _result(self, request: TurnRequest, agent: AgentInfo) -> TurnResult:
        text = self.world.reply(request)
        heard = sum(len(part.text) for part in request.parts if isinstance(part, Text))
        channel = self.principal.channel if self.principal else "web"
        return TurnResult(
            id=self.world.new_id(),
            state="done",
            agent=agent.slug,
            channel=channel,
            created_at=self.world.clock(),
            version=1,
            reply=Reply((Text(text),)),
            usage=TokenUsage(heard, len(text)),
            model="fake-1",
            external_id=request.external_id,
        )

    def _keep(self, me: str, request: TurnRequest, agent: AgentInfo, result: TurnResult) -> str:
        """Store both messages; in the conversation that was named, else in a new one."""
        if request.conversation is not None:
            conversation = _own(self.world.conversations, request.conversation, me)
        else:
            conversation = _start(self.world, me, agent, "", result.channel)
        assert result.reply is not None
        log = self.world.messages[conversation.id]
        log.append(StoredMessage(self.world.new_id(), "user", request.parts, self.world.clock(), result.id))
        log.append(StoredMessage(self.world.new_id(), "assistant", result.reply.parts, self.world.clock(), result.id))
        self.world.conversations[conversation.id] = (me, replace(conversation, updated_at=self.world.clock()))
        return conversation.id


class FakeConversations(BoundFake):
    """:class:`~tollhouse.plugin.Conversations` in memory. A cursor is the number of items already given."""

    async def list(self, cursor: str | None = None, limit: int = 50) -> Page[ConversationInfo]:
        me = self.me
        own = [info for owner, info in self.world.conversations.values() if owner == me]
        return _page(sorted(own, key=lambda info: info.updated_at, reverse=True), cursor, limit)

    async def start(self, agent: str, title: str = "") -> ConversationInfo:
        me, found = self.me, _agent(self.world, agent)
        decision = self.world.denials.get(found.slug)
        if decision is not None:
            raise AccessDenied(decision)
        return _start(self.world, me, found, title, self.principal.channel if self.principal else "web")

    async def get(self, conversation_id: str) -> ConversationInfo:
        return _own(self.world.conversations, conversation_id, self.me)

    async def messages(self, conversation_id: str, cursor: str | None = None, limit: int = 100) -> Page[StoredMessage]:
        await self.get(conversation_id)
        newest_first = self.world.messages[conversation_id][::-1]
        page = _page(newest_first, cursor, limit)
        return Page(page.items[::-1], page.next_cursor)

    async def rename(self, conversation_id: str, title: str) -> ConversationInfo:
        renamed = replace(await self.get(conversation_id), title=title)
        self.world.conversations[conversation_id] = (self.me, renamed)
        return renamed

    async def delete(self, conversation_id: str) -> None:
        await self.get(conversation_id)
        del self.world.conversations[conversation_id], self.world.messages[conversation_id]


class FakeSubscriptions(BoundFake):
    """:class:`~tollhouse.plugin.Subscriptions` in memory: a free plan begins at once, any other waits for an order."""

    async def list(self) -> Sequence[SubscriptionInfo]:
        return _all(self.world.subscriptions, self.me)

    async def orders(self) -> Sequence[OrderInfo]:
        return _all(self.world.orders, self.me)

    async def subscribe(self, plan: str, provider: str | None = None, return_url: str = "") -> Subscribed:
        me, bought = self.me, self._plan(plan)
        if any(info.plan == bought.slug and info.status == "active" for info in await self.list()):
            raise AlreadySubscribed()
        if bought.price.minor == 0:
            return Subscribed(subscription=self._begin(me, bought))
        if provider is not None and provider not in self.world.providers:
            raise InvalidInput("That payment provider is not connected", field="provider")
        name = provider or sorted(self.world.providers)[0]
        text = f"Transfer {bought.price.minor} {bought.price.currency}"
        order = OrderInfo(
            self.world.new_id(), bought.slug, bought.name, bought.price, "pending", name, self.world.clock(), text
        )
        self.world.orders[order.id] = (me, order)
        return Subscribed(order=order, next_action=NextAction("instructions", text=text))

    async def cancel(self, subscription_id: str) -> SubscriptionInfo:
        info = _own(self.world.subscriptions, subscription_id, self.me)
        if info.price.minor == 0:
            return self._store(replace(info, status="ended", period_end=self.world.clock()))
        return self._store(replace(info, cancel_at_period_end=True))

    async def resume(self, subscription_id: str) -> SubscriptionInfo:
        info = _own(self.world.subscriptions, subscription_id, self.me)
        if info.status == "ended":
            raise Conflict("It has ended already")
        return self._store(replace(info, cancel_at_period_end=False))

    async def cancel_order(self, order_id: str) -> OrderInfo:
        order = _own(self.world.orders, order_id, self.me)
        if order.state == "paid":
            raise Conflict("It is paid already")
        order = replace(order, state="canceled")
        self.world.orders[order_id] = (self.me, order)
        return order

    def pay(self, order_id: str) -> SubscriptionInfo:
        """For tests: what a payment provider's event leads to."""
        order = _own(self.world.orders, order_id, self.me)
        self.world.orders[order_id] = (self.me, replace(order, state="paid"))
        return self._begin(self.me, self.world.plans[order.plan])

    def _begin(self, me: str, plan: PlanInfo) -> SubscriptionInfo:
        key, now = self.world.new_id(), self.world.clock()
        end = None if plan.price.minor == 0 else now + timedelta(days=30)
        info = SubscriptionInfo(key, plan.slug, plan.name, "active", plan.price, plan.interval, now, end, False, now)
        self.world.subscriptions[key] = (me, info)
        return info

    def _store(self, info: SubscriptionInfo) -> SubscriptionInfo:
        self.world.subscriptions[info.id] = (self.me, info)
        return info

    def _plan(self, name: str) -> PlanInfo:
        for plan in self.world.plans.values():
            if name in (plan.slug, plan.id):
                return plan
        raise NotFound()


def _agent(world: World, name: str) -> AgentInfo:
    for agent in world.agents.values():
        if name in (agent.slug, agent.id):
            return agent
    raise NotFound()


def _own(rows: Mapping[str, tuple[str, T]], key: str, me: str) -> T:
    """One's own row; unknown and somebody else's are the same ``NotFound``."""
    owner, row = rows.get(key, ("", None))
    if row is None or owner != me:
        raise NotFound()
    return row


def _all(rows: Mapping[str, tuple[str, T]], me: str) -> Sequence[T]:
    return [row for owner, row in reversed(list(rows.values())) if owner == me]


def _start(world: World, me: str, agent: AgentInfo, title: str, channel: str) -> ConversationInfo:
    key, now = world.new_id(), world.clock()
    info = ConversationInfo(key, agent.slug, agent.name, title, channel, now, now)
    world.conversations[key] = (me, info)
    world.messages[key] = []
    return info


def _page(items: Sequence[T], cursor: str | None, limit: int) -> Page[T]:
    try:
        at = int(cursor or "0")
    except ValueError:
        raise InvalidInput("That cursor is not one of ours", field="cursor") from None
    rest = items[at : at + limit]
    return Page(rest, str(at + limit) if at + limit < len(items) else None)
