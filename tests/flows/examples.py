"""An example of every route: ids for its path, a body that makes sense. What is not in here fails the sweeps, by name.

A new route whose path has a parameter that is not in ``PARAMS``, or that takes a body and is not in ``BODIES``, needs one line.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.flows.driver import Body
from tollhouse.gateway.application import Application
from tollhouse.gateway.route_table import UNSAFE, Entry
from tollhouse.testing.fakes import SIGNATURE, signed_request

ELSEWHERE = "/console/as/{in_tenant}"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")

Ids = Mapping[str, str]
"""By table, and some more: ``slug`` and ``address`` of the tenant, ``agent`` and ``plan`` (short names), ``draft`` (a version),
``failed`` (a turn), ``model`` and ``messenger`` (connections), ``link`` (a token), ``email``, ``search`` (what is found),
``fresh`` (a new name)."""

PARAMS: Mapping[str, str] = {
    "agent": "agents",
    "agent_id": "agents",
    "alarm_id": "alarms",
    "connection": "messenger",
    "connection_id": "model",
    "conversation_id": "conversations",
    "file_id": "files",
    "in_tenant": "slug",
    "key": "api_keys",
    "key_id": "api_keys",
    "order_id": "orders",
    "other_id": "prompt_versions",
    "plan": "plan",
    "plan_id": "plans",
    "session_id": "sessions",
    "subscription_id": "subscriptions",
    "tenant": "address",
    "tenant_id": "tenants",
    "token": "link",
    "turn_id": "turns",
    "user_id": "users",
    "version_id": "prompt_versions",
}
"""Which id a path's parameter takes."""

IDS_OF: Mapping[str, str] = {
    "agents": "agents",
    "alarms": "alarms",
    "connections": "model",
    "deliveries": "inbox",
    "models": "agent",
    "orders": "orders",
    "plans": "plans",
    "subscriptions": "subscriptions",
    "tenants": "tenants",
    "users": "users",
    "versions": "prompt_versions",
}
"""Which id the parameter ``id`` takes, by the part of the path that it belongs to."""

CONSTANTS: Mapping[str, str] = {"name": "icon.svg", "kind": "llm", "plugin": "scripted", "queue": "inbox", "rest": "embeddings"}

QUERIES: Mapping[str, Callable[[Ids], str]] = {
    "GET /api/v1/admin/prices/history": lambda i: f"backend=scripted&model={i['model_name']}",
    "GET /api/v1/admin/users": lambda i: f"search={i['search']}",
    "GET /api/v1/admin/subscriptions": lambda i: f"user_id={i['users']}",
    "GET /api/v1/admin/orders": lambda i: f"user_id={i['users']}",
    "GET /api/v1/admin/denials": lambda i: f"user_id={i['users']}&agent={i['agent']}",
    "GET /api/v1/admin/audit": lambda i: f"target_id={i['users']}",
    "GET /chat/new": lambda i: f"agent={i['agents']}",
    "GET /console/agents/{id}/versions/new": lambda i: f"copy={i['prompt_versions']}",
    "GET /console/connections/new": lambda i: "kind=llm&plugin=scripted",
    "GET /console/deliveries": lambda i: "queue=inbox",
    "GET /console/models": lambda i: f"slot=primary&primary.connection_id={i['model']}",
    "GET /console/prices/set": lambda i: f"backend=scripted&model={i['model_name']}",
    "GET /console/users": lambda i: f"search={i['search']}",
    "GET /console/users/{id}/explain": lambda i: f"agent={i['agents']}&channel=web",
    "GET /console/versions/{id}/diff": lambda i: f"from={i['draft']}",
}


def _spec(i: Ids) -> dict[str, Any]:
    return {"template": "You are {{ agent.name }}.", "primary": {"connection_id": i["model"], "model": "m"}}


def _terms(i: Ids) -> dict[str, Any]:
    limit = {"metric": "calls", "amount": 10, "window": "day", "agent_id": i["agents"]}
    return {"price_minor": 500, "agents": [i["agents"]], "limits": [limit]}


def _said(i: Ids) -> list[dict[str, str]]:
    return [{"type": "text", "text": "Hello?"}, {"type": "image", "file_id": i["files"]}]


def _version_form(i: Ids) -> dict[str, Any]:
    model = {"primary.connection_id": i["model"], "primary.model": "m"}
    return {"template": "You are new.", **model, "max_output_tokens": "50", "history_messages": "10"}


PLAN_FORM: Mapping[str, Any] = {
    "name": "New",
    "slug": "new",
    "price": "5",
    "currency": "EUR",
    "interval": "month",
    "channel_reach": "all",
}
PASSWORD = "correct horse battery staple"

JSON: Mapping[str, Callable[[Ids], Any]] = {
    "POST /api/v1/auth/register": lambda i: {"email": f"new-{i['fresh']}@example.test", "password": PASSWORD},
    "POST /api/v1/auth/login": lambda i: {"email": i["email"], "password": PASSWORD},
    "POST /api/v1/api-keys": lambda i: {"name": "A key"},
    "POST /api/v1/subscriptions": lambda i: {"plan": i["plans"], "provider": "manual"},
    "POST /api/v1/policy/check": lambda i: {"agent": i["agents"], "channel": "api"},
    "POST /api/v1/turns": lambda i: {"agent": i["agents"], "conversation": i["conversations"], "parts": _said(i)},
    "POST /api/v1/conversations": lambda i: {"agent": i["agents"]},
    "PATCH /api/v1/conversations/{conversation_id}": lambda i: {"title": "Renamed"},
    "POST /api/v1/admin/tenants": lambda i: {"slug": f"n{i['fresh']}", "name": "New"},
    "PATCH /api/v1/admin/tenants/{tenant_id}": lambda i: {"language": "de"},
    "POST /api/v1/admin/tenants/{tenant_id}/suspend": lambda i: {"reason": "Why not"},
    "PATCH /api/v1/admin/tenant": lambda i: {"language": "de"},
    "POST /api/v1/admin/agents": lambda i: {"slug": "another", "name": "Another"},
    "PATCH /api/v1/admin/agents/{agent_id}": lambda i: {"description": "Changed"},
    "POST /api/v1/admin/agents/{agent_id}/versions": lambda i: {"copy_of": i["draft"]},
    "PATCH /api/v1/admin/versions/{version_id}": lambda i: {"spec": _spec(i)},
    "POST /api/v1/admin/versions/{version_id}/activate": lambda i: {"weights": {i["prompt_versions"]: 10_000}},
    "POST /api/v1/admin/plans": lambda i: {"slug": f"p{i['fresh']}", "name": "New", "terms": _terms(i)},
    "PATCH /api/v1/admin/plans/{plan_id}": lambda i: {"terms": _terms(i)},
    "POST /api/v1/admin/users": lambda i: {"email": f"invited-{i['fresh']}@example.test", "role": "support"},
    "PUT /api/v1/admin/users/{user_id}/role": lambda i: {"role": "support"},
    "POST /api/v1/admin/users/{user_id}/subscription": lambda i: {"plan": i["plans"]},
    "PUT /api/v1/admin/subscriptions/{subscription_id}/overrides": lambda i: {
        "overrides": _terms(i)["limits"],
        "reason": "Why not",
    },
    "POST /api/v1/admin/subscriptions/{subscription_id}/extend": lambda i: {"periods": 1},
    "POST /api/v1/admin/subscriptions/{subscription_id}/end": lambda i: {"reason": "Over"},
    "POST /api/v1/admin/connections": lambda i: {"kind": "llm", "plugin": "scripted", "name": "Another"},
    "PATCH /api/v1/admin/connections/{connection_id}": lambda i: {"name": "Renamed"},
    "PUT /api/v1/admin/prices": lambda i: {
        "backend": "scripted",
        "model": "m",
        "input_per_million": 1,
        "output_per_million": 2,
    },
    "POST /api/v1/admin/explain": lambda i: {"user_id": i["users"], "agent": i["agents"], "channel": "api"},
    "POST /v1/chat/completions": lambda i: {"model": i["agents"], "messages": [{"role": "user", "content": "Hello?"}]},
    **{f"{method} /v1/{{rest:path}}": lambda i: {"input": "Hello?"} for method in ("DELETE", "PATCH", "POST", "PUT")},
}

FORMS: Mapping[str, Callable[[Ids], Mapping[str, Any]]] = {
    "POST /console/sign-in": lambda i: {"email": i["email"], "password": PASSWORD},
    "POST /claim/{token}": lambda i: {"email": "claim@example.test", "password": PASSWORD},
    "POST /invite/{token}": lambda i: {"password": PASSWORD},
    "POST /console/agents": lambda i: {"slug": "third", "name": "Third"},
    "POST /console/agents/{id}": lambda i: {"slug": f"a{i['fresh']}", "name": "Guide", "position": "2"},
    "POST /console/agents/{id}/versions": _version_form,
    "POST /console/versions/{id}": _version_form,
    "POST /console/versions/{id}/activate": lambda i: {f"weight.{i['prompt_versions']}": "100"},
    "POST /console/versions/{id}/try": lambda i: {"message": "Hello?"},
    "POST /console/plans": lambda i: {**PLAN_FORM, "agents": i["agents"], "reach": "some"},
    "POST /console/plans/{id}": lambda i: {**PLAN_FORM, "agents": i["agents"], "reach": "some"},
    "POST /console/connections": lambda i: {"kind": "llm", "plugin": "scripted", "name": "Third"},
    "POST /console/connections/{id}": lambda i: {"name": "Renamed again", "revision": "1"},
    "POST /console/connections/{id}/delete": lambda i: {"confirm": "Something"},
    "POST /console/users/invite": lambda i: {"email": f"asked-{i['fresh']}@example.test", "role": "analyst"},
    "POST /console/users/{id}/profile": lambda i: {"name": "Renamed"},
    "POST /console/users/{id}/role": lambda i: {"role": "support"},
    "POST /console/users/{id}/plan": lambda i: {"plan": i["plans"], "periods": "1"},
    "POST /console/users/{id}/erase": lambda i: {"confirm": i["email"]},
    "POST /console/subscriptions/{id}/extend": lambda i: {"periods": "1"},
    "POST /console/subscriptions/{id}/end": lambda i: {"reason": "Over"},
    "POST /console/subscriptions/{id}/limits": lambda i: {
        "limits.rows": "0",
        "limits.0.amount": "9",
        "limits.0.metric": "calls",
        "limits.0.window": "day",
        "limits.0.agent_id": i["agents"],
        "limits.0.hard": "hard",
        "reason": "Why not",
    },
    "POST /console/prices": lambda i: {
        "backend": "scripted",
        "model": "m",
        "input_per_million": "1",
        "output_per_million": "2",
    },
    "POST /console/settings": lambda i: {
        "name": "Shop",
        "timezone": "UTC",
        "currency": "EUR",
        "cost_currency": "USD",
        "language": "en",
    },
    "POST /console/tenants": lambda i: {
        "slug": f"m{i['fresh']}",
        "name": "New",
        "currency": "EUR",
        "timezone": "UTC",
        "language": "en",
    },
    "POST /console/tenants/{id}/suspend": lambda i: {"reason": "Why not"},
    "POST /console/tenants/{id}/addresses": lambda i: {"allowed": "yes"},
    "POST /register": lambda i: {"email": f"web-{i['fresh']}@example.test", "password": PASSWORD},
    "POST /login": lambda i: {"email": i["email"], "password": PASSWORD},
    "POST /subscribe/{plan}": lambda i: {"provider": "manual"},
    "POST /chat": lambda i: {"agent": i["agents"], "conversation": i["conversations"], "text": "Hello?"},
    "POST /chat/begin": lambda i: {"agent": i["agents"]},
    "POST /chat/{conversation_id}/edit": lambda i: {"title": "Renamed"},
    "POST /account/profile": lambda i: {"name": "Renamed", "language": "en"},
    "POST /account/password": lambda i: {"current": "not the right one at all", "new": PASSWORD},
    "POST /account/keys": lambda i: {"name": "A key"},
}

EMPTY = frozenset(
    {
        "DELETE /api/v1/admin/connections/{connection_id}",
        "DELETE /api/v1/admin/users/{user_id}",
        "DELETE /api/v1/admin/users/{user_id}/api-keys/{key_id}",
        "DELETE /api/v1/api-keys/{key_id}",
        "DELETE /api/v1/conversations/{conversation_id}",
        "DELETE /api/v1/sessions/{session_id}",
        "POST /account/keys/{key_id}/revoke",
        "POST /account/sessions/{session_id}/end",
        "POST /api/v1/admin/agents/{agent_id}/archive",
        "POST /api/v1/admin/agents/{agent_id}/publish",
        "POST /api/v1/admin/agents/{agent_id}/unpublish",
        "POST /api/v1/admin/alarms/{alarm_id}/resolve",
        "POST /api/v1/admin/connections/{connection_id}/disable",
        "POST /api/v1/admin/connections/{connection_id}/enable",
        "POST /api/v1/admin/connections/{connection_id}/test",
        "POST /api/v1/admin/orders/{order_id}/cancel",
        "POST /api/v1/admin/orders/{order_id}/confirm",
        "POST /api/v1/admin/orders/{order_id}/refund",
        "POST /api/v1/admin/plans/{plan_id}/archive",
        "POST /api/v1/admin/plans/{plan_id}/restore",
        "POST /api/v1/admin/tenants/{tenant_id}/resume",
        "POST /api/v1/admin/users/{user_id}/block",
        "POST /api/v1/admin/users/{user_id}/end-sessions",
        "POST /api/v1/admin/users/{user_id}/link",
        "POST /api/v1/admin/users/{user_id}/unblock",
        "POST /api/v1/admin/users/{user_id}/confirm-email",
        "POST /api/v1/admin/versions/{version_id}/archive",
        "POST /api/v1/auth/logout",
        "POST /api/v1/orders/{order_id}/cancel",
        "POST /api/v1/subscriptions/{subscription_id}/cancel",
        "POST /api/v1/subscriptions/{subscription_id}/resume",
        "POST /chat/{conversation_id}/delete",
        "POST /chat/{conversation_id}/turns/{turn_id}/again",
        "POST /console/agents/{id}/archive",
        "POST /console/agents/{id}/publish",
        "POST /console/agents/{id}/unpublish",
        "POST /console/alarms/{id}/resolve",
        "POST /console/connections/{id}/disable",
        "POST /console/connections/{id}/enable",
        "POST /console/connections/{id}/test",
        "POST /console/deliveries/{queue}/{id}/dismiss",
        "POST /console/deliveries/{queue}/{id}/replay",
        "POST /console/orders/{id}/cancel",
        "POST /console/orders/{id}/confirm",
        "POST /console/orders/{id}/refund",
        "POST /console/plans/{id}/archive",
        "POST /console/plans/{id}/restore",
        "POST /console/settings/logo/remove",
        "POST /console/sign-out",
        "POST /console/tenants/{id}/resume",
        "POST /console/users/{id}/block",
        "POST /console/users/{id}/export",
        "POST /console/users/{id}/keys/{key}/revoke",
        "POST /console/users/{id}/link",
        "POST /console/users/{id}/sessions/end",
        "POST /console/users/{id}/unblock",
        "POST /console/users/{id}/confirm-email",
        "POST /console/versions/{id}/archive",
        "POST /link/{token}",
        "POST /logout",
        "POST /orders/{order_id}/withdraw",
        "POST /subscriptions/{subscription_id}/cancel",
        "POST /subscriptions/{subscription_id}/resume",
    }
)
"""Routes that change something and take no body."""

UPLOADS: Mapping[str, str] = {"POST /api/v1/uploads": "file", "POST /console/settings/logo": "logo"}
"""The field that takes the file."""
WEBHOOKS = frozenset({"POST /hooks/{tenant}/{connection}"})
FRAGMENTS = frozenset({"GET /chat/{conversation_id}/turns/{turn_id}"})
"""They answer to htmx; anybody else is sent to the whole page."""

DESTROYS = re.compile(
    r"^DELETE|/(archive|block|suspend|end|end-sessions|revoke|cancel|refund|disable|delete|erase|withdraw|unpublish|role|"
    r"logout|sign-out|password|overrides|limits)$|/link/|/invite/|/claim/"
    r"|^P\w+ (/api/v1/admin|/console)/(versions|plans|agents)/\{\w+\}$"
)
"""What leaves less behind than it found: a sweep that wants to reach everything does these last."""


@dataclass(frozen=True)
class Example:
    """One route, ready to be tried with the ids of one tenant or another."""

    entry: Entry

    @property
    def key(self) -> str:
        """Method and path; the operator's pages in another tenant are the tenant's own pages."""
        return f"{self.entry.method} {self.entry.path.replace(ELSEWHERE, '/console')}"

    @property
    def name(self) -> str:
        return f"{self.entry.method} {self.entry.path}"

    @property
    def destroys(self) -> bool:
        return DESTROYS.search(self.key) is not None

    @property
    def has_ids(self) -> bool:
        """Whether its path names something that belongs to a tenant."""
        return any(name not in CONSTANTS and name != "in_tenant" for name, _ in _params(self.entry.path))

    def path(self, ids: Ids) -> str:
        """Its address, with its query."""
        path = self.entry.path
        for name, whole in _params(path):
            path = path.replace(whole, _value(self.entry.path, name, ids), 1)
        query = QUERIES.get(self.key)
        return f"{path}?{query(ids)}" if query else path

    def body(self, ids: Ids) -> Body:
        """A body that makes sense."""
        if self.key in JSON:
            return Body.json(JSON[self.key](ids))
        if self.key in FORMS:
            return Body.form(FORMS[self.key](ids))
        if self.key in UPLOADS:
            return Body.upload(PIXEL, "pixel.png", UPLOADS[self.key])
        if self.key in WEBHOOKS:
            return Body.json({"id": "1", "chat": "c", "user": "u", "text": "Hello?"})
        return Body()

    def headers(self, ids: Ids) -> dict[str, str]:
        """What it takes besides; a webhook is signed by somebody who knows the secret of another connection only."""
        if self.key in WEBHOOKS:
            return {SIGNATURE: signed_request(self.body(ids).data, "another secret").headers[SIGNATURE]}
        return {"hx-request": "true"} if self.key in FRAGMENTS else {}


def examples(app: Application) -> list[Example]:
    """Every route of the application, each with its example; HEAD is GET."""
    found = [Example(entry) for entry in app.table.entries if entry.method != "HEAD"]
    missing = sorted({one.key for one in found if one.entry.method in UNSAFE} - known_bodies())
    assert not missing, f"no example body in tests/flows/examples.py (JSON, FORMS, EMPTY, …) for: {', '.join(missing)}"
    for one in found:
        for name, _ in _params(one.entry.path):
            _value(one.entry.path, name, None)
    stale = sorted(known_bodies() - {one.key for one in found})
    assert not stale, f"tests/flows/examples.py has bodies for routes that do not exist: {', '.join(stale)}"
    return found


def known_bodies() -> set[str]:
    return {*JSON, *FORMS, *EMPTY, *UPLOADS, *WEBHOOKS}


def _params(path: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"\{(\w+)(?::\w+)?\}", path):
        yield match[1], match[0]


def _value(path: str, name: str, ids: Ids | None) -> str:
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name == "id":
        before = path[: path.index("{id")].rstrip("/").split("/")
        known = next((IDS_OF[part] for part in reversed(before) if part in IDS_OF), None)
    else:
        known = "failed" if path.endswith("/again") and name == "turn_id" else PARAMS.get(name)
    assert known is not None, f"no example for the parameter {{{name}}} of {path}: add it to PARAMS in tests/flows/examples.py"
    return "" if ids is None else ids[known]
