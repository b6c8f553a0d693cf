"""Suites of the ports about talking."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tollhouse.plugin import METRICS, WINDOWS, AccessDenied, InvalidInput, NotFound, Text, TurnRequest, Unauthenticated
from tollhouse.testing.port_suites.base import AgentSuite, nowhere


class CatalogSuite(AgentSuite, kit=True):
    """Also ``denied_agent``."""

    async def test_agents_are_filtered_by_policy(self, port: Any, agent: str, denied_agent: str) -> None:
        """To fix: a principal sees the agents that the policy engine lets it use, and no other."""
        slugs = [item.slug for item in await port.agents()]
        assert agent in slugs
        assert denied_agent not in slugs
        assert all(item.allowed for item in await port.agents())
        assert len(slugs) == len(set(slugs))

    async def test_nobody_sees_all_agents(self, anonymous_port: Any, agent: str, denied_agent: str) -> None:
        """To fix: without a principal the list is what is offered, each agent marked."""
        assert {agent, denied_agent} <= {item.slug for item in await anonymous_port.agents()}

    async def test_an_agent_has_two_names(self, port: Any, agent: str) -> None:
        """To fix: slug and id both find it; its modalities contain text."""
        by_slug = await port.agent(agent)
        assert await port.agent(by_slug.id) == by_slug
        assert by_slug.slug == agent
        assert "text" in by_slug.modalities

    async def test_unknown_agents_are_not_found(self, port: Any) -> None:
        """To fix: what is not published, not there or not an id at all is ``NotFound``."""
        for unknown in nowhere():
            with pytest.raises(NotFound):
                await port.agent(unknown)

    async def test_plans_can_be_shown(self, anonymous_port: Any) -> None:
        """To fix: prices are whole minor units with a currency; every limit says in words what it is."""
        plans = await anonymous_port.plans()
        assert len({plan.slug for plan in plans}) == len(plans) > 0
        for plan in plans:
            assert type(plan.price.minor) is int
            assert len(plan.price.currency) == 3
            assert plan.version >= 1
            assert all(limit.text.strip() and limit.metric in METRICS and limit.window in WINDOWS for limit in plan.limits)


class TurnsSuite(AgentSuite, kit=True):
    """Also ``denied_agent``."""

    def ask(self, agent: str, text: str = "Hello", **kwargs: Any) -> TurnRequest:
        """A turn with one text."""
        return TurnRequest(agent, (Text(text),), **kwargs)

    async def test_a_turn_is_answered(self, port: Any, agent: str) -> None:
        """To fix: a finished turn has a reply, an agent's slug, a channel from the credential, and a conversation."""
        result = await port.run(self.ask(agent))
        assert result.state == "done"
        assert result.reply is not None
        assert result.reply.text
        assert (result.agent, result.replayed) == (agent, False)
        assert result.channel
        assert result.conversation_id
        found = await port.get(result.id)
        assert (found.id, found.state, found.reply) == (result.id, "done", result.reply)

    async def test_the_same_id_runs_once(self, port: Any, other_port: Any, agent: str) -> None:
        """To fix: a second request with the same ``external_id`` gives the first result, marked, and charges nothing."""
        request = self.ask(agent, external_id=f"id-{uuid4()}")
        first = await port.run(request)
        before = (await port.check(agent)).limits
        again = await port.run(request)
        assert (again.id, again.reply, again.replayed) == (first.id, first.reply, True)
        assert [limit.used for limit in (await port.check(agent)).limits] == [limit.used for limit in before]
        assert (await other_port.run(request)).id != first.id

    async def test_the_same_id_with_another_body_is_refused(self, port: Any, agent: str) -> None:
        """To fix: keep a hash of the body; ``InvalidInput`` with code ``idempotency_mismatch``."""
        external_id = f"id-{uuid4()}"
        await port.run(self.ask(agent, external_id=external_id))
        with pytest.raises(InvalidInput) as error:
            await port.run(self.ask(agent, "Another question", external_id=external_id))
        assert error.value.http_code == "idempotency_mismatch"

    async def test_turns_belong_to_their_user(self, port: Any, other_port: Any, agent: str) -> None:
        """To fix: an unknown turn and somebody else's are both ``NotFound``; so is somebody else's conversation."""
        result = await port.run(self.ask(agent))
        with pytest.raises(NotFound):
            await other_port.get(result.id)
        with pytest.raises(NotFound):
            await other_port.run(self.ask(agent, conversation=result.conversation_id))
        for unknown in nowhere():
            with pytest.raises(NotFound):
                await port.get(unknown)

    async def test_unknown_agents_are_not_found(self, port: Any) -> None:
        """To fix: ``NotFound`` before anything is set aside."""
        with pytest.raises(NotFound):
            await port.run(self.ask("no-such-agent"))

    async def test_a_denial_is_the_same_everywhere(self, port: Any, denied_agent: str) -> None:
        """To fix: ``check`` and ``run`` ask the one policy engine; ``AccessDenied`` carries its decision."""
        decision = await port.check(denied_agent)
        assert not decision.allowed
        with pytest.raises(AccessDenied) as error:
            await port.run(self.ask(denied_agent))
        assert (error.value.decision.reason, error.value.http_status) == (decision.reason, decision.status)
        assert decision.status in (402, 403, 429)

    async def test_checking_sets_nothing_aside(self, port: Any, agent: str) -> None:
        """To fix: ``check`` reads; used and held are the same after any number of them."""
        first, second = await port.check(agent), await port.check(agent)
        assert first.allowed
        assert [(limit.used, limit.held) for limit in first.limits] == [(limit.used, limit.held) for limit in second.limits]

    async def test_nobody_runs_nothing(self, anonymous_port: Any, agent: str) -> None:
        """To fix: ``run`` and ``get`` raise ``Unauthenticated`` without a principal, also for agents that do not exist."""
        for call in (anonymous_port.run(self.ask(agent)), anonymous_port.run(self.ask("x")), anonymous_port.get(str(uuid4()))):
            with pytest.raises(Unauthenticated):
                await call


class ConversationsSuite(AgentSuite, kit=True):
    """Also: ``turns``, the Turns port of ``port``'s user."""

    @pytest.fixture
    def turns(self) -> Any:
        """The Turns port, bound to the same user as ``port``."""
        raise NotImplementedError("give a fixture `turns`")

    async def test_a_conversation_has_a_life(self, port: Any, agent: str) -> None:
        """To fix: started, found, renamed, deleted; then it is ``NotFound``."""
        made = await port.start(agent, "Holidays")
        assert (made.agent, made.title) == (agent, "Holidays")
        assert (await port.rename(made.id, "Summer")).title == "Summer"
        assert (await port.get(made.id)).title == "Summer"
        assert not (await port.messages(made.id)).items
        await port.delete(made.id)
        with pytest.raises(NotFound):
            await port.get(made.id)

    async def test_both_messages_of_a_turn_are_kept(self, port: Any, turns: Any, agent: str) -> None:
        """To fix: the user's message, then the reply, each with the turn's id."""
        made = await port.start(agent)
        result = await turns.run(TurnRequest(agent, (Text("Hello"),), conversation=made.id))
        assert result.conversation_id == made.id
        messages = (await port.messages(made.id)).items
        assert [(message.role, message.turn_id) for message in messages] == [("user", result.id), ("assistant", result.id)]
        assert messages[0].parts == (Text("Hello"),)

    async def test_pages_are_complete_and_newest_first(self, port: Any, agent: str) -> None:
        """To fix: following ``next_cursor`` gives every conversation once; it is None at the end."""
        made = [(await port.start(agent, f"number {number}")).id for number in range(3)]
        seen: list[str] = []
        cursor = None
        for _ in range(100):
            page = await port.list(cursor, 2)
            seen += [info.id for info in page.items]
            if (cursor := page.next_cursor) is None:
                break
        assert len(seen) == len(set(seen))
        assert [key for key in seen if key in made] == made[::-1]

    async def test_messages_page_backwards(self, port: Any, turns: Any, agent: str) -> None:
        """To fix: without a cursor the newest messages, oldest of them first; ``next_cursor`` leads to older ones."""
        made = await port.start(agent)
        for number in range(2):
            await turns.run(TurnRequest(agent, (Text(f"number {number}"),), conversation=made.id))
        newest = await port.messages(made.id, None, 2)
        older = await port.messages(made.id, newest.next_cursor, 2)
        assert newest.items[0].parts == (Text("number 1"),)
        assert older.items[0].parts == (Text("number 0"),)

    async def test_conversations_belong_to_their_user(self, port: Any, other_port: Any, agent: str) -> None:
        """To fix: unknown, malformed and somebody else's ids are all ``NotFound``."""
        made = await port.start(agent)
        for who, key in [(other_port, made.id), *((port, unknown) for unknown in nowhere())]:
            for call in (who.get(key), who.messages(key), who.rename(key, "x"), who.delete(key)):
                with pytest.raises(NotFound):
                    await call
        assert made.id not in {info.id for info in (await other_port.list()).items}

    async def test_nobody_has_no_conversations(self, anonymous_port: Any, agent: str) -> None:
        """To fix: every method raises ``Unauthenticated`` without a principal."""
        for call in (anonymous_port.list(), anonymous_port.start(agent), anonymous_port.get(str(uuid4()))):
            with pytest.raises(Unauthenticated):
                await call
