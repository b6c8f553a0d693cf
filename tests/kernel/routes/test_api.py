"""``/api/v1`` as a program uses it: names and shapes are a promise."""

import base64

import pytest

from tollhouse.plugin import Text
from tollhouse.routes.common import BadIdempotencyKey, idempotency_key
from tollhouse.testing.world import PASSWORD

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + b"\0" * 20
HELLO = {"agent": "helper", "parts": [{"type": "text", "text": "Hello"}]}


async def test_register_and_sign_in(ask):
    body = {"email": "new@example.com", "password": "a long enough secret", "name": "New"}
    made = await ask("POST", "/api/v1/auth/register", json_body=body)
    assert made.status == 201
    assert made.json.keys() == {"access_token", "token_type", "expires_at", "user"}
    assert made.json["user"]["email"] == "new@example.com"
    assert made.headers["cache-control"] == "no-store"
    again = await ask("POST", "/api/v1/auth/register", json_body=body)
    assert (again.status, again.json["code"]) == (409, "email_taken")
    signed_in = await ask("POST", "/api/v1/auth/login", json_body={"email": "ada@example.com", "password": PASSWORD})
    assert signed_in.status == 200
    wrong = await ask("POST", "/api/v1/auth/login", json_body={"email": "ada@example.com", "password": "wrong"})
    assert (wrong.status, wrong.json["code"]) == (401, "bad_credentials")
    assert "wrong" not in wrong.body.decode().replace("is wrong", "")


async def test_me(ask):
    me = await ask("GET", "/api/v1/me", key="ada")
    assert me.json.keys() == {"user_id", "tenant_id", "auth_provider", "channel", "email", "name", "roles"}
    assert (me.json["auth_provider"], me.json["channel"], me.json["roles"]) == ("api_key", "api", [])
    assert (await ask("GET", "/api/v1/me", key="owner")).json["roles"] == ["owner"]


async def test_a_turn_and_the_conversation_that_it_began(ask):
    turn = await ask("POST", "/api/v1/turns", key="ada", json_body=HELLO)
    assert turn.status == 200
    assert turn.json["reply"] == {"parts": [{"type": "text", "text": "You said: Hello"}], "finish": "stop"}
    assert turn.json["usage"]["total_tokens"] > 0
    assert (await ask("GET", f"/api/v1/turns/{turn.json['id']}", key="ada")).json == turn.json
    conversation = f"/api/v1/conversations/{turn.json['conversation_id']}"
    listed = await ask("GET", "/api/v1/conversations", key="ada")
    assert [one["id"] for one in listed.json["items"]] == [turn.json["conversation_id"]]
    assert listed.json["next_cursor"] is None
    messages = await ask("GET", f"{conversation}/messages", key="ada")
    assert [message["role"] for message in messages.json["items"]] == ["user", "assistant"]
    renamed = await ask("PATCH", conversation, key="ada", json_body={"title": "Greetings"})
    assert renamed.json["title"] == "Greetings"
    more = await ask("POST", "/api/v1/turns", key="ada", json_body={**HELLO, "conversation": turn.json["conversation_id"]})
    assert more.json["conversation_id"] == turn.json["conversation_id"]
    for path in (conversation, f"{conversation}/messages", f"/api/v1/turns/{turn.json['id']}"):
        assert (await ask("GET", path, key="bob")).status == 404
    assert (await ask("DELETE", conversation, key="bob")).status == 404
    assert (await ask("DELETE", conversation, key="ada")).status == 204
    assert (await ask("GET", conversation, key="ada")).status == 404


async def test_a_key_makes_a_turn_safe_to_repeat(ask, world):
    async def say(key, text="Hello"):
        body = {"agent": "helper", "parts": [{"type": "text", "text": text}]}
        return await ask("POST", "/api/v1/turns", key="ada", json_body=body, headers={"idempotency-key": key})

    first, again = await say('"one"'), await say("one")
    assert again.json == first.json
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert sum(world.turn_count.values()) == 1
    other = await say("one", "Something else")
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    assert (await say("k" * 255)).status == 200
    for bad in ("k" * 256, '""', "\t"):
        assert (await say(bad)).status == 400


@pytest.mark.parametrize(("header", "key"), [("abc", "abc"), ('"abc"', "abc"), ('"a\\"b"', 'a"b'), ('"', '"'), (None, None)])
def test_keys_are_structured_strings_or_bare(header, key):
    assert idempotency_key(header) == key


def test_a_key_is_text():
    with pytest.raises(BadIdempotencyKey):
        idempotency_key("a\nb")


@pytest.mark.parametrize(
    "change",
    [
        {"channel": "web"},
        {"tenant_id": "x"},
        {"parts": []},
        {"parts": [{"type": "text"}]},
        {"parts": [{"type": "video", "url": "https://x"}]},
        {"parts": [{"type": "text", "text": "a", "role": "system"}]},
        {"parts": [{"type": "image"}]},
        {"parts": [{"type": "image", "data": "???"}]},
        {"parts": [{"type": "image", "url": "http://169.254.169.254/"}]},
        {"parts": [{"type": "image", "url": "https://x", "data": "AAAA"}]},
        {"agent": 5},
        {"agent": ""},
    ],
)
async def test_what_is_not_a_turn_is_refused_by_name(ask, world, change):
    answer = await ask("POST", "/api/v1/turns", key="ada", json_body={**HELLO, **change})
    assert (answer.status, answer.json["code"]) == (422, "invalid_input")
    assert answer.json["errors"][0]["pointer"].startswith("#/" + next(iter(change)))
    assert world.turn_count == {}


async def test_a_denial_says_everything(ask, world):
    world.calls_per_day = 1
    await ask("POST", "/api/v1/turns", key="ada", json_body=HELLO)
    denied = await ask("POST", "/api/v1/turns", key="ada", json_body=HELLO)
    assert denied.status == 402
    assert {"code", "limit", "used", "remaining", "resets_at", "upgrade_url", "retryable"} <= denied.json.keys()
    check = await ask("POST", "/api/v1/policy/check", key="ada", json_body={"agent": "helper", "channel": "api"})
    assert check.status == 200
    assert (check.json["allowed"], check.json["reason"]) == (False, denied.json["code"])
    assert {"allowed", "reason", "limits", "plan", "upgrade_url"} <= check.json.keys()
    usage = await ask("GET", "/api/v1/usage", key="ada")
    wanted = {"metric", "window", "scope", "amount", "used", "held", "remaining", "resets_at"}
    assert wanted <= usage.json["items"][0].keys()
    assert usage.json["items"][0]["remaining"] == 0


async def test_plans_agents_and_subscriptions(ask):
    plans = await ask("GET", "/api/v1/plans")
    assert [plan["slug"] for plan in plans.json["items"]] == ["free", "pro"]
    assert plans.json["items"][1]["price"] == {"minor": 1999, "currency": "EUR"}
    agents = await ask("GET", "/api/v1/agents", key="ada")
    assert [agent["slug"] for agent in agents.json["items"]] == ["helper"]
    free = await ask("POST", "/api/v1/subscriptions", key="ada", json_body={"plan": "free"})
    assert (free.status, free.json["subscription"]["status"], free.json["order"]) == (201, "active", None)
    pro = await ask("POST", "/api/v1/subscriptions", key="bob", json_body={"plan": "pro", "provider": "manual"})
    assert (pro.status, pro.json["order"]["state"]) == (201, "pending")
    order = f"/api/v1/orders/{pro.json['order']['id']}/cancel"
    assert (await ask("POST", order, key="ada")).status == 404
    assert (await ask("POST", order, key="bob")).json["state"] == "canceled"
    own = f"/api/v1/subscriptions/{free.json['subscription']['id']}"
    assert (await ask("POST", f"{own}/cancel", key="bob")).status == 404
    assert (await ask("POST", f"{own}/cancel", key="ada")).status == 200
    assert len((await ask("GET", "/api/v1/subscriptions", key="ada")).json["items"]) == 1
    assert len((await ask("GET", "/api/v1/orders", key="bob")).json["items"]) == 1


async def test_keys_and_sessions(ask):
    made = await ask("POST", "/api/v1/api-keys", key="ada", json_body={"name": "laptop"})
    assert (made.status, made.json["name"]) == (201, "laptop")
    assert made.json["key"].startswith("th_")
    listed = await ask("GET", "/api/v1/api-keys", key="ada")
    assert "key" not in listed.json["items"][0]
    path = f"/api/v1/api-keys/{made.json['id']}"
    assert (await ask("DELETE", path, key="bob")).status == 404
    assert (await ask("DELETE", path, key="ada")).status == 204
    assert (await ask("DELETE", path, key="ada")).status == 404
    assert (await ask("GET", "/api/v1/sessions", key="ada")).json["items"][0]["current"] is True
    assert (await ask("POST", "/api/v1/auth/logout", key="ada")).status == 204


def multipart(data, name="cat.png"):
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/html\r\n\r\n'
    return head.encode() + data + b"\r\n--x--\r\n"


async def test_uploads(ask):
    form = {"content-type": "multipart/form-data; boundary=x"}
    by_form = await ask("POST", "/api/v1/uploads", key="ada", body=multipart(PNG), headers=form)
    raw = {"content-type": "application/octet-stream"}
    by_body = await ask("POST", "/api/v1/uploads?name=cat.png", key="ada", body=PNG, headers=raw)
    assert (by_form.status, by_body.status) == (201, 201)
    assert by_form.json["sha256"] == by_body.json["sha256"]
    assert (by_form.json["media_type"], by_form.json["width"], by_form.json["height"]) == ("image/png", 2, 3)
    path = f"/api/v1/uploads/{by_form.json['id']}"
    found = await ask("GET", path, key="ada")
    assert (found.body, found.headers["content-type"]) == (PNG, "image/png")
    assert found.headers["content-disposition"] == "attachment; filename*=UTF-8''cat.png"
    assert (await ask("GET", path, key="bob")).status == 404
    page = await ask("POST", "/api/v1/uploads", key="ada", body=multipart(b"\x7fELF\x00"), headers=form)
    assert page.status == 422
    nothing = await ask("POST", "/api/v1/uploads", key="ada", body=b"--x--\r\n", headers=form)
    assert nothing.status == 422
    broken = await ask("POST", "/api/v1/uploads", key="ada", body=b"garbage", headers=form)
    assert broken.status in (400, 422)


async def test_pictures_in_a_turn(ask, world):
    heard = []
    world.reply = lambda request: heard.append(request) or "Nice."
    inside = {"type": "image", "data": base64.b64encode(PNG).decode(), "media_type": "image/png"}
    body = {"agent": "helper", "parts": [{"type": "text", "text": "Look"}, inside, {"type": "file", "file_id": "f-1"}]}
    assert (await ask("POST", "/api/v1/turns", key="ada", json_body=body)).status == 200
    text, picture, file = heard[0].parts
    assert (text, picture.data, file.file_id) == (Text("Look"), PNG, "f-1")


async def test_webhooks_arrive_as_they_were_sent(make_app, ask):
    from tollhouse.plugin import NotFound, RawResponse

    seen = []

    class Intake:
        async def accept(self, tenant, connection, request):
            if tenant != "acme":
                raise NotFound()
            seen.append((connection, request))
            return RawResponse(200, b"pong", "text/plain")

    app = make_app(intake=Intake())
    body = '{"b":1,  "a": "\u00e9"}'.encode()
    answer = await ask(
        "POST", "/hooks/acme/c-1?x=1", body=body, headers={"x-signature": "abc", "content-type": "text/odd"}, app=app
    )
    assert (answer.status, answer.body) == (200, b"pong")
    [(connection, request)] = seen
    assert (connection, request.body, request.query, request.address) == ("c-1", body, {"x": "1"}, "203.0.113.9")
    assert request.headers["x-signature"] == "abc"
    assert (await ask("POST", "/hooks/other/c-1", body=body, app=app)).status == 404
    assert (await ask("GET", "/hooks/acme/c-1?hub.challenge=5", app=app)).body == b"pong"
    large = await ask("POST", "/hooks/acme/c-1", headers={"content-length": str(2**21)}, app=app)
    assert (large.status, len(seen)) == (413, 2)
