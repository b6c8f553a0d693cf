"""The complete route table: nobody without a credential gets anywhere, and no customer onto the admin's side."""

import re

import pytest

PUBLIC = {
    ("POST", "/api/v1/auth/register"),
    ("POST", "/api/v1/auth/login"),
    ("GET", "/api/v1/plans"),
    ("GET", "/hooks/{tenant}/{connection}"),
    ("POST", "/hooks/{tenant}/{connection}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/static/{name}"),
    ("GET", "/favicon.ico"),
    ("GET", "/robots.txt"),
    ("GET", "/brand.css"),
    ("GET", "/brand/logo"),
}
JSON = {"content-type": "application/json"}
SOME_ID = "0199a000-0000-7000-8000-00000000beef"


def entries(app):
    return [entry for entry in app.table.entries if entry.method != "HEAD"]


def concrete(path):
    return re.sub(r"\{[^}]+\}", SOME_ID, path)


def test_the_public_list_is_this_and_no_more(ask):
    assert {(entry.method, entry.path) for entry in entries(ask.app) if entry.public} == PUBLIC


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": "Bearer "},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer stranger"},  # valid, in another tenant
        {"authorization": "Bearer " + "x" * 2000},
        {"cookie": "__Host-th-default=expired"},
        {"cookie": "__Host-th-default=ada"},  # an API key is no session
    ],
)
async def test_every_other_route_is_closed_before_its_body_is_read(make_app, drive, headers):
    app = make_app()
    for entry in entries(app):
        if entry.public:
            continue
        path = concrete(entry.path)
        from_one = await drive(app, entry.method, path, {**headers, **JSON}, b"{}")
        assert (entry.method, path, from_one.status, from_one.reads) == (entry.method, path, 401, 0)
        assert from_one.json["code"] == "unauthenticated"


async def test_no_customer_gets_onto_the_admins_side(make_app, drive):
    app = make_app()
    admin = [entry for entry in entries(app) if entry.path.startswith("/api/v1/admin/")]
    assert len(admin) > 60
    for entry in admin:
        answer = await drive(app, entry.method, concrete(entry.path), {"authorization": "Bearer ada", **JSON}, b"{}")
        assert (entry.method, entry.path, answer.status) == (entry.method, entry.path, 403)


async def test_a_key_for_something_else_opens_nothing_there(make_app, drive):
    app = make_app()
    for entry in entries(app):
        if entry.path.startswith("/api/v1/admin/"):
            answer = await drive(app, entry.method, concrete(entry.path), {"authorization": "Bearer narrow", **JSON}, b"{}")
            assert (entry.path, answer.status in (403, 422)) == (entry.path, True)


async def test_an_analyst_changes_nothing_and_only_operators_see_tenants(make_app, drive):
    app = make_app()
    for entry in entries(app):
        if not entry.path.startswith("/api/v1/admin/"):
            continue
        if entry.method != "GET" and not entry.path.endswith("/explain"):
            answer = await drive(app, entry.method, concrete(entry.path), {"authorization": "Bearer analyst", **JSON}, b"{}")
            assert (entry.path, answer.status in (403, 422)) == (entry.path, True)
        if "/tenants" in entry.path:
            answer = await drive(app, entry.method, concrete(entry.path), {"authorization": "Bearer owner", **JSON}, b"{}")
            assert (entry.path, answer.status in (403, 422)) == (entry.path, True)


async def test_ids_that_are_none_are_simply_unknown(ask):
    for path in ("/api/v1/turns/../x", "/api/v1/turns/1", "/api/v1/conversations/%00", "/api/v1/uploads/x"):
        assert (await ask("GET", path, key="ada")).status == 404
    unknown = await ask("GET", f"/api/v1/turns/{SOME_ID}", key="ada")
    odd = await ask("GET", "/api/v1/turns/nothing", key="ada")
    assert {**unknown.json, "request_id": ""} == {**odd.json, "request_id": ""}


def test_every_operation_is_documented_with_an_answer(ask):
    document = ask.app.openapi()
    for entry in entries(ask.app):
        if entry.infra:
            continue
        operation = document["paths"][entry.path][entry.method.lower()]
        assert operation.get("description"), entry.path
        if not entry.public:
            assert {"401", "403"} <= operation["responses"].keys()
        for body in operation.get("requestBody", {}).get("content", {}).values():
            assert body["schema"]
