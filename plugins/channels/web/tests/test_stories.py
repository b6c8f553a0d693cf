"""What people do, from the first visit to the first denial, with scripts and without."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tollhouse_web import Settings, formats, room

from tollhouse.plugin import Decision, LimitInfo, Subscriptions
from tollhouse.testing.world import PASSWORD


def test_register_subscribe_chat_denial(stranger, gateway) -> None:
    gateway.world.calls_per_day = 1
    landing = stranger.get("/")
    assert landing.status_code == 200
    assert "Free" in landing.text
    assert "€19.99" in landing.text
    assert "a month" in landing.text

    form = {"email": "eve@example.com", "password": "four unrelated words", "name": "Eve", "next": "/plans"}
    plans = stranger.post("/register", data=form)
    assert plans.url.path == "/plans"

    assert "It begins at once" in stranger.get("/subscribe/free").text
    usage = stranger.post("/subscribe/free", data={})
    assert usage.url.path == "/usage"
    assert "Your plan is active." in usage.text
    assert "0 of 1" in usage.text
    assert "Cancel plan" not in usage.text, "a free plan costs nothing to keep"

    page = stranger.get("/chat/new?agent=helper")
    answered = stranger.say(page.text, "Good *morning*")
    assert answered.url.path.startswith("/chat/")
    assert "You said: Good <em>morning</em>" in answered.text
    assert "Good *morning*" in answered.text

    assert "You have used today’s messages" in answered.text, "said before anybody writes in vain"
    denied = stranger.say(answered.text, "And now?")
    assert denied.status_code == 402
    assert "You have used today’s messages" in denied.text
    assert "1 of 1" in denied.text
    assert 'href="/plans"' in denied.text
    assert ">And now?</textarea>" in denied.text, "what was written is kept"
    assert len(gateway.world.turns) == 1


def test_a_paid_plan_leads_to_an_order(ada, gateway) -> None:
    order = ada.post("/subscribe/pro", data={})
    assert order.url.path.startswith("/orders/")
    assert "€19.99" in order.text
    assert "Transfer 1999 EUR" in order.text
    assert "Waiting for payment" in order.text
    assert ada.get("/orders").url.path == order.url.path
    withdrawn = ada.post(f"{order.url.path}/withdraw")
    assert "The order was withdrawn." in withdrawn.text
    assert "Waiting for payment" not in withdrawn.text


def _subscribed(ada, gateway, plan: str = "pro") -> None:
    ada.post(f"/subscribe/{plan}", data={})
    (order,) = gateway.world.orders
    gateway.ports(gateway.world.principal())(Subscriptions).pay(order)


def _card(page: str, plan: str) -> str:
    """The card of a plan on the page of plans."""
    start = page.index(f"<h2>{plan}</h2>")
    return page[start : page.index("</article>", start)]


def test_the_plans_page_knows_what_one_has_and_what_waits(ada, gateway) -> None:
    ada.post("/subscribe/pro", data={})
    (order,) = gateway.world.orders
    waiting = ada.get("/plans").text
    assert "Your order of Pro waits for your payment." in waiting
    assert f'action="/orders/{order}/withdraw"' in waiting
    assert f'href="/orders/{order}"' in _card(waiting, "Pro")
    assert "Waiting for payment" in _card(waiting, "Pro")
    assert "/subscribe/free" in _card(waiting, "Free")
    assert f'href="/orders/{order}"' in ada.get("/subscribe/pro").text

    gateway.ports(gateway.world.principal())(Subscriptions).pay(order)
    gateway.world.plans["pro"] = replace(gateway.world.plans["pro"], current=True)
    has = ada.get("/plans").text
    assert "waits for your payment" not in has
    assert "Your plan" in _card(has, "Pro")
    assert "/subscribe/" not in _card(has, "Free"), "a paid plan is not given away by accident"
    assert "You have Pro. Cancel it first" in _card(has, "Free")
    assert "whenever you like" not in has
    assert "Your plan runs to the end of what you paid for." in has
    assert "Change plan" not in ada.get("/usage").text, "there is nothing that it could be changed to"
    gateway.world.plans["team"] = replace(gateway.world.plans["pro"], id="team-id", slug="team", name="Team", current=False)
    assert "Another paid plan takes the place of yours as soon as it is paid." in ada.get("/plans").text
    assert "Change plan" in ada.get("/usage").text
    del gateway.world.plans["team"]
    assert "Start this plan" not in ada.get("/subscribe/free").text
    (subscription,) = gateway.world.subscriptions
    ada.post(f"/subscriptions/{subscription}/cancel")
    assert "You can start it when Pro has ended." in _card(ada.get("/plans").text, "Free")


def test_an_order_has_a_short_number_and_its_long_one(ada, gateway) -> None:
    page = ada.post("/subscribe/pro", data={}).text
    (order,) = gateway.world.orders
    short = gateway.world.orders[order][1].reference
    assert len(short) == 9
    assert f'<code id="reference" title="{order}">{short}</code>' in page
    assert f'<dd class="mono small">{order}</dd>' in page


def test_a_new_chat_says_the_true_reason_before_anybody_types(ada, gateway) -> None:
    del gateway.world.denials["expert"]
    gateway.world.calls_per_day = 1
    ada.say(ada.get("/chat/new?agent=helper").text, "The only one")
    page = ada.get("/chat/new").text
    assert "You have used today’s messages" in page
    assert "1 of 1" in page
    assert 'href="/plans"' in page
    gateway.world.calls_per_day = 100
    open_again = ada.get("/chat/new").text
    assert "You have used" not in open_again
    assert "/chat/new?agent=expert" in open_again
    for agent in ("helper", "expert"):
        gateway.world.denials[agent] = Decision(False, "no_subscription", "Choose a plan first.", 402)
    nobody = ada.get("/chat/new").text
    assert "You need a plan first" in nobody
    assert "Included in Free and Pro." in nobody


def test_what_would_help_is_said_also_where_the_windows_differ(ada, gateway) -> None:
    gateway.world.calls_per_day = 1
    plans = gateway.world.plans
    plans["free"] = replace(plans["free"], limits=[LimitInfo("calls", "day", 1, "1 message a day")], current=True)
    ada.say(ada.get("/chat/new?agent=helper").text, "The only one")
    for limits, said in (
        ([LimitInfo("calls", "month", 2000, "2,000 messages a month")], "With Pro you have 2,000 messages a month."),
        ([LimitInfo("cost", "month", 5, "5 of model cost a month")], "With Pro you have messages without a limit."),
        ([LimitInfo("calls", "day", 50, "50 messages a day")], "With Pro you have 50 messages a day."),
        ([LimitInfo("calls", "day", 1, "1 message a day")], ""),
    ):
        plans["pro"] = replace(plans["pro"], limits=limits)
        page = ada.get("/chat/new?agent=helper").text
        assert said in page
        assert said or "With Pro" not in page


def test_when_it_comes_back_is_said_in_the_readers_zone(ada, gateway) -> None:
    gateway.world.calls_per_day = 1
    ada.say(ada.get("/chat/new?agent=helper").text, "The only one")
    page = ada.get("/chat/new?agent=helper").text
    assert "You have used all messages of today." not in page, "the sentence names a time of the tenant's zone"
    resets = page[page.index("Resets") :]
    assert re.match(r'Resets <time datetime="[^"]+Z" data-local>\d+ \w+ \d{4}, \d\d:\d\d \w+</time>', resets), resets[:200]
    twice = resets.split("</time>", 1)[1]
    assert twice.startswith(' <span class="needs-js">(<time'), "how long it is from now is said only where a script can say it"


def test_a_zone_without_letters_is_named(ada) -> None:
    at = datetime(2026, 11, 25, 23, 0, tzinfo=UTC)
    assert formats.moment(at, "Europe/Berlin") == "26 Nov 2026, 00:00 CET"
    assert formats.moment(at, "America/Sao_Paulo") == "25 Nov 2026, 20:00 America/Sao_Paulo"


def test_a_chat_with_htmx_is_a_fragment(ada, gateway) -> None:
    page = ada.get("/chat/new?agent=helper")
    assert 'data-enter-switch data-sends="Enter sends" data-breaks="Ctrl+Enter sends"' in page.text
    assert '<input type="file" name="files" multiple accept="image/png,image/jpeg,image/gif,image/webp">' in page.text, (
        "without a script it is seen"
    )
    first = ada.say(page.text, "Hello", htmx=True)
    assert first.status_code == 200
    assert "<html" not in first.text
    assert "You said: Hello" in first.text
    (conversation,) = gateway.world.conversations
    assert first.headers["hx-replace-url"] == f"/chat/{conversation}"
    assert ada.hidden(first.text, "conversation") == conversation
    assert ada.hidden(first.text, "key") != ada.hidden(page.text, "key")
    assert "99 of 100 messages left today." in first.text


def test_the_composer_has_the_words_that_only_its_script_can_say(ada) -> None:
    page = ada.get("/chat/new?agent=helper").text
    composer = page[page.index("data-composer") :].split(">", 1)[0]
    for name, text in (("you", "You"), ("lost", "The server could not be reached"), ("retry", "Try again")):
        assert f'data-{name}="{text}"' in composer
    assert "<small data-still hidden>It is on its way, and was sent once.</small>" in page


def test_sending_twice_is_one_turn(ada, gateway) -> None:
    page = ada.get("/chat/new?agent=helper")
    one, two = ada.say(page.text, "Once"), ada.say(page.text, "Once")
    assert one.url == two.url
    assert len(gateway.world.turns) == 1
    other = ada.say(page.text, "Something else")
    assert other.status_code == 422
    assert "This was sent before" in other.text
    assert len(gateway.world.turns) == 1


def test_a_denial_with_htmx_has_its_status_and_a_fresh_key(ada, gateway) -> None:
    page = ada.get("/chat/new?agent=helper")
    gateway.world.denials["helper"] = Decision(False, "no_subscription", "Choose a plan first.", 402)
    denied = ada.say(page.text, "Hello", htmx=True)
    assert denied.status_code == 402
    assert "<html" not in denied.text
    assert "You need a plan first" in denied.text
    assert "Included in Free and Pro." in denied.text
    assert ada.hidden(denied.text, "key") != ada.hidden(page.text, "key")
    assert not gateway.world.conversations


def test_what_programs_said_is_no_recent_chat_and_can_be_deleted_from_the_list(ada, gateway) -> None:
    world = gateway.world
    page = ada.get("/chat/new?agent=helper").text
    mine = ada.say(page, "By hand").url.path.removeprefix("/chat/")
    owner, chat = world.conversations[mine]
    for number in range(room.RECENT + 1):
        later = world.clock() + timedelta(minutes=number + 1)
        world.conversations[f"p{number}"] = (
            owner,
            replace(chat, id=f"p{number}", channel="api", title=f"Call {number}", updated_at=later),
        )
        world.messages[f"p{number}"] = []
    shown = ada.get(f"/chat/{mine}").text
    recent = shown[shown.index('id="recent"') :].split("</div>", 1)[0]
    assert f"/chat/{mine}" in recent
    assert "Call" not in recent
    listed = ada.get("/chat").text
    assert listed.count('<span class="badge">API</span>') == room.RECENT + 1
    assert 'action="/chat/p3/delete"' in listed
    assert "The chat was deleted." in (after := ada.post("/chat/p3/delete").text)
    assert "Call 3" not in after


def test_the_tenants_own_sentence_stands_under_its_name(stranger, gateway) -> None:
    gateway.settings = Settings(tagline="The operator's")
    assert "The operator&#39;s" in stranger.get("/").text
    gateway.brand = replace(gateway.brand, tagline="Ask the sea")
    assert '<p class="lead">Ask the sea</p>' in stranger.get("/").text


def test_rename_and_delete(ada) -> None:
    chat = ada.say(ada.get("/chat/new?agent=helper").text, "Hello")
    renamed = ada.post(f"{chat.url.path}/edit", data={"title": "Trip to Oslo"})
    assert renamed.url.path == chat.url.path
    assert "Trip to Oslo" in ada.get("/chat").text
    gone = ada.post(f"{chat.url.path}/delete")
    assert "The chat was deleted." in gone.text
    assert "No chats yet" in gone.text
    assert ada.get(chat.url.path).status_code == 404


def test_agents_say_why_and_what_would_help(ada, gateway) -> None:
    gateway.world.plans["free"] = replace(gateway.world.plans["free"], agents=["helper"], current=True)
    page = ada.get("/agents").text
    assert "/chat/new?agent=helper" in page
    assert "/chat/new?agent=expert" not in page
    assert "This agent is not in your plan" in page
    assert "Included in Pro." in page


def test_sign_in_and_out(stranger) -> None:
    assert stranger.get("/chat").url.path == "/login"
    wrong = stranger.post("/login", data={"email": "ada@example.com", "password": "wrong", "next": "/usage"})
    assert wrong.status_code == 401
    assert "E-mail address or password is wrong" in wrong.text
    assert 'value="ada@example.com"' in wrong.text
    assert 'value="wrong"' not in wrong.text
    right = stranger.post("/login", data={"email": "ada@example.com", "password": PASSWORD, "next": "/usage"})
    assert right.url.path == "/usage"
    assert stranger.get("/").url.path == "/chat"
    assert stranger.post("/logout").url.path == "/"
    assert stranger.get("/chat").url.path == "/login"


def test_a_refused_form_says_all_of_it_beside_the_fields_and_above(stranger, gateway) -> None:
    form = {"email": "ada@example.com", "password": "four unrelated words", "name": "Ada"}
    taken = stranger.post("/register", data=form)
    assert taken.status_code == 409
    assert "2 things need your attention" in taken.text
    for name in ("email", "password"):
        assert f'<a href="#{name}">' in taken.text
        assert f'id="{name}-error"' in taken.text
    assert "Type it again" in taken.text
    assert "four unrelated words" not in taken.text
    assert 'role="alert" tabindex="-1" autofocus' in taken.text
    assert taken.text.count("autofocus") == 1, "the summary has the focus"


def test_account_and_keys(ada, gateway) -> None:
    saved = ada.post("/account/profile", data={"name": "Ada L.", "language": "de"})
    assert "Your profile is saved." in saved.text
    assert 'value="Ada L."' in saved.text
    assert "Not confirmed" not in saved.text, "nothing sends the mail that would confirm it"
    wrong = ada.post("/account/password", data={"current": "no", "new": "another long one"})
    assert wrong.status_code == 422
    assert 'id="current-error"' in wrong.text
    assert "another long one" not in wrong.text

    (key,) = _new_key(ada, gateway)
    assert "The key was revoked." in ada.post(f"/account/keys/{key}/revoke").text
    assert ada.post("/account/keys", data={"name": " "}).status_code == 422


def _new_key(ada, gateway):
    """A new key is shown by the page after the form, once: loading that page again neither shows nor makes another."""
    created = ada.post("/account/keys", data={"name": "laptop"})
    assert created.headers["cache-control"] == "no-store"
    assert [answer.status_code for answer in created.history] == [303]
    assert created.request.method == "GET"
    secret = created.text.split('<code id="secret">')[1].split("<")[0]
    assert secret.startswith("th_fake_")
    assert secret not in str(created.url)
    assert secret.encode().hex() not in created.history[0].headers["set-cookie"]
    listed = ada.get("/account/keys").text
    assert "laptop" in listed
    assert secret not in listed
    return gateway.world.keys


def test_a_new_keys_secret_is_kept_by_nobody_alone(ada, bob, gateway) -> None:
    sent = ada.post("/account/keys", data={"name": "laptop"}, follow_redirects=False)
    assert sent.status_code == 303
    assert "HttpOnly" in sent.headers["set-cookie"]
    assert "Path=/account/keys" in sent.headers["set-cookie"]
    assert "th_fake_" not in str(vars(gateway.state))
    pad = ada.cookies["th-shown-once"]
    bob.cookies.set("th-shown-once", pad, path="/account/keys")
    assert 'id="secret"' not in bob.get("/account/keys").text, "with the cookie alone"
    assert 'id="secret"' in ada.get("/account/keys").text
    ada.cookies.set("th-shown-once", pad, path="/account/keys")
    assert 'id="secret"' not in ada.get("/account/keys").text, "a second time"


def test_cancel_and_resume(ada, gateway) -> None:
    _subscribed(ada, gateway)
    usage = ada.get("/usage").text
    assert "Active" in usage
    assert "Renews" in usage
    assert "€19.99 a month" in usage
    assert "Cancel plan" in usage
    assert '<span class="name">Plan and usage</span>' in usage
    (subscription,) = gateway.world.subscriptions
    ended = ada.post(f"/subscriptions/{subscription}/cancel").text
    assert "Your plan will not renew." in ended
    assert "Keep my plan" in ended
    assert "Your plan renews again." in ada.post(f"/subscriptions/{subscription}/resume").text
