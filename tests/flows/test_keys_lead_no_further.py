"""A key never leads to more than it has: every route that it can call, by a key that may do whatever its owner may.

After each call the rows that somebody could come in by are compared with those before. What may grow is a list that a person
reads; what is refused to keys is another one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from tests.conftest import Cluster, make_tenant
from tests.flows.driver import Answer, Client
from tests.flows.examples import examples
from tests.flows.furnished import Furnished, House, furnish, open_house
from tollhouse.auth import keys
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id

TAKES_A_SESSION = {
    "POST /account/password",
    "POST /api/v1/admin/tenants",
    "POST /api/v1/admin/users",
    "POST /api/v1/admin/users/{user_id}/link",
    "PUT /api/v1/admin/users/{user_id}/role",
    "POST /console/tenants",
    "POST /console/users/invite",
    "POST /console/users/{id}/link",
    "POST /console/users/{id}/role",
    "POST /console/as/{in_tenant}/tenants",
    "POST /console/as/{in_tenant}/users/invite",
    "POST /console/as/{in_tenant}/users/{id}/link",
    "POST /console/as/{in_tenant}/users/{id}/role",
}
"""What makes a credential for a person, or changes who is what. No key may, whatever its scopes."""

BY_ITS_OWN_PROOF = {
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/register",
    "POST /claim/{token}",
    "POST /console/sign-in",
    "POST /invite/{token}",
    "POST /link/{token}",
    "POST /login",
    "POST /register",
}
"""Open to anybody who has the password or the link, or is new: the key adds nothing."""

NO_MORE_THAN_ITSELF = {"POST /api/v1/api-keys", "POST /account/keys"}
"""Keys of the same person with no more scopes and no longer a life, which end with the key that made them."""

VOUCHES = {
    "POST /api/v1/admin/users/{user_id}/confirm-email",
    "POST /api/v1/admin/users/{user_id}/unblock",
    "POST /console/users/{id}/confirm-email",
    "POST /console/users/{id}/unblock",
    "POST /console/as/{in_tenant}/users/{id}/confirm-email",
    "POST /console/as/{in_tenant}/users/{id}/unblock",
}
"""Work of every day with customers: nobody gets a credential, and whoever had one before a block does not get it back."""

STANDING = """
    SELECT 'session', id::text, '' FROM sessions WHERE tenant_id = :tenant AND revoked_at IS NULL
    UNION ALL SELECT 'key', id::text, '' FROM api_keys WHERE tenant_id = :tenant AND revoked_at IS NULL
    UNION ALL SELECT 'link', id::text, '' FROM one_time_tokens WHERE tenant_id = :tenant AND used_at IS NULL
    UNION ALL SELECT 'proof', id::text, coalesce(secret, '') FROM identities WHERE tenant_id = :tenant
    UNION ALL SELECT 'person', id::text, concat_ws('/', email, role, email_verified_at) FROM users
        WHERE tenant_id = :tenant AND status = 'active'
    UNION ALL SELECT 'operator', id::text, '' FROM operators WHERE tenant_id = :tenant
"""


async def standing(house: House, tenant_id: UUID) -> set[tuple[str, str, str]]:
    """What anybody could come in by, and as what."""
    async with house.store.transaction(tenant_id) as conn:
        return {(row[0], row[1], row[2]) for row in (await conn.execute(text(STANDING), {"tenant": tenant_id})).all()}


async def tried(house: House, tenant: Furnished, client: Client) -> tuple[dict[str, Answer], dict[str, set[str]]]:
    """Every route, what it answered, and what kinds of credential are there after it that were not before."""
    answers: dict[str, Answer] = {}
    grown: dict[str, set[str]] = {}
    for one in sorted(examples(house.app), key=lambda one: one.destroys):
        before = await standing(house, tenant.tenant_id)
        ids = {**tenant.ids, "fresh": new_id().hex[-12:]}
        answers[one.name] = await client.send(one.entry.method, one.path(ids), one.body(ids), **one.headers(ids))
        if new := await standing(house, tenant.tenant_id) - before:
            grown[one.name] = {kind for kind, *_ in new}
    return answers, grown


async def test_no_route_gives_a_key_more_than_it_has(cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(cluster.dsn, tmp_path) as house:
        tenant = await furnish(house, "keys", operator=True)
        tenant.ids["tenants"] = str(await make_tenant(house.store))  # the operator suspends another one, not this
        expires = datetime.now(UTC) + timedelta(hours=1)
        async with house.store.transaction(tenant.tenant_id) as conn:
            info, key = await keys.issue(conn, tenant.tenant_id, tenant.owner_id, "Soon over", actor=CLI, expires_at=expires)
        client = Client.program(house.app, tenant.slug, key)
        answers, grown = await tried(house, tenant, client)
        may_grow = BY_ITS_OWN_PROOF | NO_MORE_THAN_ITSELF | VOUCHES
        assert grown.keys() <= may_grow, {name: grown[name] for name in grown.keys() - may_grow}
        assert grown.keys() >= {"POST /api/v1/auth/login", "POST /register"}, "it can see what grows"
        refused = {name for name, answer in answers.items() if "No API key can do that" in answer.text}
        assert refused == TAKES_A_SESSION
        assert {answers[name].status for name in refused} == {403}
        for name in sorted(refused):
            if name.startswith(("POST /api", "PUT /api")):
                assert answers[name].json["code"] == "session_required"
        await _its_keys_end_with_it(house, tenant, client, UUID(info.id))


async def _its_keys_end_with_it(house: House, tenant: Furnished, client: Client, key_id: UUID) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    made = await client.post("/api/v1/api-keys", {"name": "Its child", "scopes": ["read", "write"], "expires_at": soon})
    assert made.status == 201, made.text
    child = Client.program(house.app, tenant.slug, made.json["key"])
    grandchild = await child.post("/api/v1/api-keys", {"name": "And its", "scopes": ["read"], "expires_at": soon})
    last = Client.program(house.app, tenant.slug, grandchild.json["key"])
    wider = await child.post("/api/v1/api-keys", {"name": "No", "scopes": ["admin"], "expires_at": soon})
    longer = await child.post("/api/v1/api-keys", {"name": "No", "scopes": ["read"]})
    assert (wider.status, longer.status) == (403, 403)
    assert (await last.get("/api/v1/me")).status == 200
    await house.container.keys.revoke_of(tenant.tenant_id, tenant.owner_id, key_id, actor=CLI)
    for one in (client, child, last):
        assert (await one.get("/api/v1/me")).status == 401
