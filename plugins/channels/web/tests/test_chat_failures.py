"""When there is no answer: the model fails, a turn is still running, a file is refused, an agent is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tollhouse.plugin import (
    BackendAuthFailed,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    Conflict,
    ContextTooLong,
    RateLimited,
    StoredMessage,
    Text,
    TooLarge,
    TurnResult,
    Turns,
    Unavailable,
)

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")


class TurnRunning(Conflict):
    code = "turn_running"


def failing(error: Exception) -> Any:
    """A Turns port whose model does not answer."""

    def wrap(kind: type[Any], port: Any) -> Any:
        if kind is not Turns:
            return port

        class Failing:
            check, get = staticmethod(port.check), staticmethod(port.get)

            async def run(self, request: Any) -> Any:
                raise error

        return Failing()

    return wrap


@pytest.mark.parametrize("htmx", [True, False])
def test_a_model_error_is_told_in_the_chat(ada, gateway, htmx: bool) -> None:
    page = ada.get("/chat/new?agent=helper")
    gateway.wrap = failing(BackendTimeout(private="sk-secret"))
    answer = ada.say(page.text, "Hello", htmx=htmx)
    assert answer.status_code == 504
    assert "The model took too long; nothing was charged" in answer.text
    assert "Try again" in answer.text
    assert "sk-secret" not in answer.text
    assert ("<html" in answer.text) is not htmx
    assert ada.hidden(answer.text, "key") != ada.hidden(page.text, "key"), "the turn is over: trying again is another one"


@pytest.mark.parametrize(
    ("error", "text", "again"),
    [
        (BackendAuthFailed(), "This agent cannot answer at the moment; nothing was charged. Whoever runs this service", False),
        (BackendRateLimited(), "The model is busy; nothing was charged. Try again in a moment.", True),
        (
            ContextTooLong(),
            "That is more than the model can read; nothing was charged. Shorten it, or start a new chat.",
            False,
        ),
        (
            BackendRejected("No pictures, please"),
            "No pictures, please; nothing was charged. Change it, and send it anew.",
            False,
        ),
        (Unavailable("The house is closed"), "The house is closed; nothing was charged.", True),
    ],
)
def test_failures_are_said_in_the_customers_words(ada, gateway, error: Exception, text: str, again: bool) -> None:
    page = ada.get("/chat/new?agent=helper").text
    gateway.wrap = failing(error)
    answer = ada.say(page, "Hello", htmx=True).text
    assert text in answer
    assert ("Try again</button>" in answer) is again
    assert "its owner" not in answer


def test_buttons_of_messages_and_who_said_what_can_be_told_apart_by_ear(ada, gateway) -> None:
    chat = ada.say(ada.get("/chat/new?agent=helper").text, "Hello there")
    _unanswered(gateway, chat.url.path.removeprefix("/chat/"), "failed")
    page = ada.get(chat.url.path).text
    assert page.count('<h2 class="sr">You</h2>') == 2
    assert 'Copy<span class="sr">: You said: Hello there</span></button>' in page
    assert 'Try again<span class="sr">: Are you there?</span></button>' in page


@pytest.mark.parametrize("error", [TurnRunning(), Unavailable()])
def test_what_may_have_arrived_keeps_its_key(ada, gateway, error: Exception) -> None:
    page = ada.get("/chat/new?agent=helper")
    gateway.wrap = failing(error)
    answer = ada.say(page.text, "Hello", htmx=True)
    assert answer.status_code in (409, 503)
    assert ada.hidden(answer.text, "key") == ada.hidden(page.text, "key")
    gateway.wrap = lambda kind, port: port
    ada.say(answer.text.replace('name="key"', 'name="key"') + page.text, "Hello", htmx=True)
    assert len(gateway.world.turns) == 1


def test_only_a_turn_that_runs_is_said_to_be_running(ada, gateway) -> None:
    page = ada.get("/chat/new?agent=helper")
    gateway.wrap = failing(TurnRunning())
    assert "still being answered" in ada.say(page.text, "Hello", htmx=True).text
    gateway.wrap = failing(Conflict("Somebody changed this agent meanwhile."))
    other = ada.say(page.text, "Hello", htmx=True)
    assert other.status_code == 409
    assert "Somebody changed this agent meanwhile." in other.text
    assert "still being answered" not in other.text


def test_an_upload_is_stored_shown_and_kept_after_a_failure(ada, gateway) -> None:
    page = ada.get("/chat/new?agent=helper")
    gateway.wrap = failing(BackendTimeout())
    kept = ada.say(page.text, "Look", files={"files": ("cat.png", PNG, "text/html")})
    assert "cat.png" in kept.text
    gateway.wrap = lambda kind, port: port
    file_id = ada.hidden(kept.text, "attached")
    data = {name: ada.hidden(kept.text, name) for name in ("agent", "conversation", "key", "attached")}
    chat = ada.post("/chat", data={**data, "text": "Look"})
    assert f'<img src="/files/{file_id}" alt="cat.png"' in chat.text
    (_, turn), *_ = gateway.world.external_ids.values()
    assert [part.type for part in turn.parts] == ["text", "image"]


def test_a_file_that_is_refused(ada, gateway) -> None:
    page = ada.get("/chat/new?agent=helper")
    answer = ada.say(page.text, "Look", files={"files": ("a.exe", b"MZ\x00\x01", "image/png")})
    assert answer.status_code == 422
    assert "This type of file is not supported" in answer.text
    assert ">Look</textarea>" in answer.text
    assert not gateway.world.turns


def test_a_file_that_is_too_large_and_too_many_of_them(ada, gateway) -> None:
    page = ada.get("/chat/new?agent=helper")
    gateway.wrap = failing(TooLarge("A file has at most 20 MB."))
    large = ada.say(page.text, "Look", htmx=True)
    assert large.status_code == 413
    assert "<h3>That is too large</h3>" in large.text
    assert "A file has at most 20 MB." in large.text
    many = ada.say(page.text, "Look", htmx=True, files=[("files", (f"{n}.png", PNG, "image/png")) for n in range(11)])
    assert many.status_code == 413
    assert "at most 10 files" in many.text


def test_who_has_to_wait_reads_for_how_long(ada, gateway) -> None:
    page = ada.get("/chat/new?agent=helper")
    gateway.wrap = failing(RateLimited("Slow down a little.", retry_after=12))
    answer = ada.say(page.text, "Hello", htmx=True)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "12")
    assert "Slow down a little. Try again in 12 seconds." in answer.text
    assert '<button class="button" form="composer">Try again</button>' in answer.text


def test_an_empty_message(ada, gateway) -> None:
    answer = ada.say(ada.get("/chat/new?agent=helper").text, "  ")
    assert answer.status_code == 422
    assert "Write something, or attach a file." in answer.text
    assert not gateway.world.turns


def test_a_running_turn_is_waited_for(ada, gateway) -> None:
    chat = ada.say(ada.get("/chat/new?agent=helper").text, "Hello")
    conversation = chat.url.path.removeprefix("/chat/")
    turn = _unanswered(gateway, conversation, "running")
    page = ada.get(chat.url.path)
    assert f"/chat/{conversation}/turns/{turn}" in page.text
    assert "Helper is working…" in page.text
    part = {"HX-Request": "true"}
    assert "data-elapsed" in ada.get(f"/chat/{conversation}/turns/{turn}", headers=part).text
    assert ada.get(f"/chat/{conversation}/turns/{turn}").url.path == chat.url.path, "without htmx the chat is loaded again"
    owner, running = gateway.world.turns[turn]
    gateway.world.turns[turn] = (owner, replace(running, state="failed", error={"detail": "The model is busy"}))
    assert "The model is busy" in ada.get(f"/chat/{conversation}/turns/{turn}", headers=part).text
    again = ada.get(chat.url.path).text
    assert "The model is busy" in again
    assert f"/chat/{conversation}/turns/{turn}/again" in again
    assert again.count(">Are you there?</div>") == 1, "it stands in the chat, and not in the composer too"


def test_the_first_message_tells_the_page_what_it_began(ada, gateway) -> None:
    answer = ada.say(ada.get("/chat/new?agent=helper").text, "Hello", htmx=True)
    conversation = answer.headers["hx-replace-url"].removeprefix("/chat/")
    title = gateway.world.conversations[conversation][1].title or "Chat with Helper"
    assert f"<title>{title} · " in answer.text
    assert f'id="chat-title" hx-swap-oob="true">{title}</h1>' in answer.text
    assert f'href="/chat/{conversation}/edit"' in answer.text
    recent = answer.text[answer.text.index('id="recent"') :]
    assert f'href="/chat/{conversation}" aria-current="true"' in recent
    page = ada.get(f"/chat/{conversation}").text
    for part in ('id="chat-title"', 'id="chat-edit"', 'id="recent"', 'id="trouble"'):
        assert part in page
    later = ada.say(page, "And now?", htmx=True)
    assert 'id="recent"' not in later.text


def test_somebody_elses_chats_are_not_there(ada, bob, gateway) -> None:
    chat = ada.say(ada.get("/chat/new?agent=helper").text, "My secret")
    conversation = chat.url.path.removeprefix("/chat/")
    (turn,) = gateway.world.turns
    for path in ("", "/edit", f"/turns/{turn}"):
        answer = bob.get(f"{chat.url.path}{path}", headers={"HX-Request": "true"})
        assert answer.status_code == 404
        assert "My secret" not in answer.text
    assert bob.post(f"{chat.url.path}/delete").status_code == 404
    data = {"agent": "helper", "conversation": conversation, "key": "k" * 8, "text": "Hello"}
    assert bob.post("/chat", data=data).status_code == 404
    assert len(gateway.world.messages[conversation]) == 2


def test_a_chat_with_an_agent_that_is_gone_can_be_read(ada, gateway) -> None:
    chat = ada.say(ada.get("/chat/new?agent=helper").text, "Hello")
    del gateway.world.agents["helper"]
    page = ada.get(chat.url.path)
    assert "You said: Hello" in page.text
    assert "no longer offered" in page.text
    assert 'id="say"' not in page.text


def test_earlier_messages(ada, gateway) -> None:
    chat = ada.say(ada.get("/chat/new?agent=helper").text, "The first")
    conversation = chat.url.path.removeprefix("/chat/")
    stored = gateway.world.messages[conversation]
    stored.extend(
        StoredMessage(gateway.world.new_id(), "user", (Text(f"message {n}"),), gateway.world.clock()) for n in range(150)
    )
    page = ada.get(chat.url.path).text
    assert "Show earlier messages" in page
    where = page.split('hx-get="')[1].split('"')[0].replace("&amp;", "&")
    fragment = ada.get(where, headers={"HX-Request": "true"}).text
    assert "<html" not in fragment
    assert "<html" in ada.get(where).text
    shown = page + fragment
    assert all(f">message {n}<" in shown for n in range(150))
    assert "The first" in shown


def _unanswered(gateway: Any, conversation: str, state: Any) -> str:
    world = gateway.world
    owner = world.conversations[conversation][0]
    turn = TurnResult(world.new_id(), state, "helper", "web", world.clock(), conversation, external_id="key-of-it")
    world.turns[turn.id] = (owner, turn)
    asked = StoredMessage(world.new_id(), "user", (Text("Are you there?"),), world.clock(), turn.id)
    world.messages[conversation].append(asked)
    return turn.id
