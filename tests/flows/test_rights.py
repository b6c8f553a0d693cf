"""Who may call which route: a list that a person reads, held against what the installation answers.

``rights.txt`` is written by hand and never made from the product's own tables, so that a right that is wrong there shows here.
And every write, whoever's it is, leaves its entry in the audit log, or stands in a list that says why it does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import func, insert, select, update

from tests.conftest import Cluster, make_tenant
from tests.flows.driver import Answer, Client
from tests.flows.examples import Example, examples
from tests.flows.furnished import Furnished, House, digest, furnish, open_house
from tests.flows.test_other_tenants import LEAVES
from tollhouse.auth import repository as auth_rows
from tollhouse.auth.keys import issue
from tollhouse.auth.models import users
from tollhouse.auth.roles import SCOPES
from tollhouse.billing.models import plans
from tollhouse.gateway.route_table import UNSAFE
from tollhouse.host.models import connections
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id
from tollhouse.tenants.models import tenants

LIST = Path(__file__).with_name("rights.txt")
PEOPLE = ("anybody", "user", "analyst", "support", "admin", "owner", "operator")
"""Each may what those before may. The operator of these stories is an owner too; an owner is no operator."""


@dataclass(frozen=True)
class Right:
    """A line of the list."""

    person: str
    scopes: str

    def allows(self, person: str) -> bool:
        return self.person in PEOPLE and PEOPLE.index(person) >= PEOPLE.index(self.person)


def read_rights() -> dict[str, Right]:
    found: dict[str, Right] = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            method, path, person, scopes = line.split()
            assert f"{method} {path}" not in found, f"twice in {LIST.name}: {line}"
            assert person in (*PEOPLE, "token"), line
            assert scopes in ("any", "none", "-") or set(scopes.split(",")) <= SCOPES.keys(), line
            found[f"{method} {path}"] = Right(person, scopes)
    return found


RIGHTS = read_rights()

BY_KEY_ONLY = frozenset({"GET /metrics"})
"""No session opens these, whosever it is."""

FIRST: Mapping[str, str] = {
    "POST /api/v1/admin/connections/{connection_id}/enable": "POST /api/v1/admin/connections/{connection_id}/disable",
    "POST /api/v1/admin/plans/{plan_id}/restore": "POST /api/v1/admin/plans/{plan_id}/archive",
    "POST /api/v1/admin/tenants/{tenant_id}/resume": "POST /api/v1/admin/tenants/{tenant_id}/suspend",
    "POST /api/v1/admin/users/{user_id}/unblock": "POST /api/v1/admin/users/{user_id}/block",
    "PUT /api/v1/admin/users/{user_id}/role": "POST /api/v1/admin/users/{user_id}/confirm-email",
    "POST /console/users/{id}/role": "POST /console/users/{id}/confirm-email",
    "POST /api/v1/admin/orders/{order_id}/refund": "POST /api/v1/admin/orders/{order_id}/confirm",
    "POST /console/orders/{id}/refund": "POST /console/orders/{id}/confirm",
    "POST /console/connections/{id}/enable": "POST /console/connections/{id}/disable",
    "POST /console/plans/{id}/restore": "POST /console/plans/{id}/archive",
    "POST /console/tenants/{id}/resume": "POST /console/tenants/{id}/suspend",
    "POST /console/users/{id}/unblock": "POST /console/users/{id}/block",
}
"""What has to be done before a write has something to change."""

CHANGES_NOTHING = frozenset(
    {
        "POST /api/v1/admin/connections/{connection_id}/test",
        "POST /api/v1/admin/explain",
        "POST /api/v1/policy/check",
        "POST /api/v1/subscriptions",  # there is one already; what an order writes is told by tests/kernel/billing
        "POST /console/connections/{id}/test",
        "POST /subscribe/{plan}",
        "POST /api/v1/subscriptions/{subscription_id}/resume",  # there is an order for what comes next
        "POST /subscriptions/{subscription_id}/resume",
        "POST /console/users/{id}/export",
        "POST /account/password",  # needs the right password: tests/kernel/auth
        *(f"{method} /v1/{{rest:path}}" for method in ("POST", "PUT", "PATCH", "DELETE")),
    }
)

NOT_AUDITED = frozenset(
    {
        # Conversations and turns are records themselves: who said what, when, at what cost.
        "POST /api/v1/turns",
        "POST /v1/chat/completions",
        "POST /chat",
        "POST /chat/begin",
        "POST /chat/{conversation_id}/turns/{turn_id}/again",
        "POST /console/versions/{id}/try",
        "POST /api/v1/conversations",
        "PATCH /api/v1/conversations/{conversation_id}",
        "DELETE /api/v1/conversations/{conversation_id}",
        "POST /chat/{conversation_id}/edit",
        "POST /chat/{conversation_id}/delete",
        "POST /api/v1/uploads",
        # What customers do with what is theirs is in the orders and subscriptions.
        "POST /api/v1/subscriptions/{subscription_id}/cancel",
        "POST /api/v1/orders/{order_id}/cancel",
        "POST /subscriptions/{subscription_id}/cancel",
        "POST /orders/{order_id}/withdraw",
        # A wrong password is written down beside the audit log: tests/kernel/auth/test_failures.py.
        "POST /account/password",
        # What ends a session ends a row of its own.
        "DELETE /api/v1/sessions/{session_id}",
        "POST /account/sessions/{session_id}/end",
        "POST /api/v1/auth/logout",
        "POST /console/sign-out",
        "POST /logout",
    }
)


async def session_of(house: House, tenant: Furnished, person: str) -> str | None:
    """A session of somebody like this."""
    if person == "anybody":
        return None
    role = {"user": None, "operator": "owner"}.get(person, person)
    row = {"tenant_id": tenant.tenant_id, "id": new_id(), "email": f"{person}-{new_id().hex}@example.test", "role": role}
    async with house.store.transaction(tenant.tenant_id) as conn:
        await conn.execute(insert(users).values(row))
    if person == "operator":
        async with house.store.operator() as conn:
            await auth_rows.add_operator(conn, tenant.tenant_id, row["id"])
    async with house.store.transaction(tenant.tenant_id) as conn:
        found = await auth_rows.get_user(conn, tenant.tenant_id, row["id"])
        assert found is not None
        return (await house.container.sessions.open(conn, found, "password", "cookie")).token


async def tenant_with_everything(house: House, name: str, **more: bool) -> Furnished:
    tenant = await furnish(house, name, **more)
    tenant.ids["tenants"] = str(await make_tenant(house.store))  # the operator suspends another one, not this
    return tenant


def in_order(house: House) -> Sequence[Example]:
    """What destroys comes later, and what ends the session that asks comes last."""
    ours = [one for one in examples(house.app) if one.key == one.name]
    return sorted(ours, key=lambda one: (LEAVES.search(one.entry.path) is not None, one.destroys))


async def try_one(client: Client, one: Example, tenant: Furnished) -> Answer:
    return await client.send(one.entry.method, one.path(tenant.ids), one.body(tenant.ids), **one.headers(tenant.ids))


def was_refused(answer: Answer) -> bool:
    """Whether they were told that they may not, whatever it is that they asked for."""
    if answer.status == 401 or (answer.status == 303 and ("sign-in?" in answer.location or "/login?" in answer.location)):
        return True
    if answer.status != 403:
        return False
    if "json" not in answer.headers["content-type"]:
        return True
    problem = answer.json.get("error", answer.json)
    # What a plan denies is another story.
    return problem["code"] in ("forbidden", "session_required", "scope_missing", "role_missing")


async def test_the_list_names_every_route_and_no_other(cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(cluster.dsn, tmp_path) as house:
        served = {one.name for one in in_order(house)}
    assert sorted(served - RIGHTS.keys()) == [], f"say in {LIST} who may call these"
    assert sorted(RIGHTS.keys() - served) == [], f"{LIST} has routes that there are not"


@pytest.mark.parametrize("person", PEOPLE)
async def test_people_get_what_the_list_gives_them_and_nothing_else(cluster: Cluster, tmp_path: Path, person: str) -> None:
    async with open_house(cluster.dsn, tmp_path) as house:
        tenant = await tenant_with_everything(house, person)
        client = Client.browser(house.app, tenant.slug, await session_of(house, tenant, person))
        wrong = []
        for one in in_order(house):
            right = RIGHTS[one.name]
            if right.person == "token" or one.name in BY_KEY_ONLY:
                continue
            answer = await try_one(client, one, tenant)
            if was_refused(answer) == right.allows(person):
                wrong.append(f"{one.name}: {person} got {answer.status}, the list says {right.person}")
        assert wrong == []


@pytest.mark.parametrize("scope", sorted(SCOPES))
async def test_keys_get_what_the_list_gives_their_scope_and_nothing_else(cluster: Cluster, tmp_path: Path, scope: str) -> None:
    async with open_house(cluster.dsn, tmp_path) as house:
        tenant = await tenant_with_everything(house, "keys", operator=True)
        async with house.store.transaction(tenant.tenant_id) as conn:
            _, key = await issue(conn, tenant.tenant_id, tenant.owner_id, "A narrow key", actor=CLI, scopes=[scope])
        client = Client.program(house.app, tenant.slug, key)
        wrong = []
        for one in in_order(house):
            scopes = RIGHTS[one.name].scopes
            if scopes == "-":
                continue
            answer = await try_one(client, one, tenant)
            if was_refused(answer) == (scopes == "any" or scope in scopes.split(",")):
                wrong.append(f"{one.name}: a key for {scope!r} got {answer.status}, the list says {scopes}")
        assert wrong == []


@dataclass(frozen=True)
class Written:
    """What a write left behind."""

    status: int
    changed: bool
    audited: bool


async def write(house: House, one: Example, watch: asyncpg.Connection) -> Written:
    """Do it in a tenant of its own, as somebody who may, after what has to come first."""
    tenant = await tenant_with_everything(house, "write", operator=True)
    tenant.ids |= await spares(house, tenant)
    is_staffs = PEOPLE.index(RIGHTS[one.name].person) > PEOPLE.index("user")
    client = Client.browser(house.app, tenant.slug, tenant.tokens["owner" if is_staffs else "plain"])
    if one.name in FIRST:
        before = next(other for other in examples(house.app) if other.name == FIRST[one.name])
        assert (await try_one(client, before, tenant)).status < 400, before.name
    state, entries = await digests(house, tenant), await watch.fetchval("SELECT count(*) FROM audit")
    answer = await try_one(client, one, tenant)
    audited = await watch.fetchval("SELECT count(*) FROM audit") > entries
    return Written(answer.status, await digests(house, tenant) != state, audited)


async def spares(house: House, tenant: Furnished) -> dict[str, str]:
    """Things that nothing stands on, so that they can be archived and deleted."""
    spare = new_id()
    async with house.store.transaction(tenant.tenant_id) as conn:
        await conn.execute(update(plans).values(default=False))
        row = {"tenant_id": tenant.tenant_id, "id": spare, "kind": "llm", "plugin": "scripted", "name": "Something"}
        await conn.execute(insert(connections).values(row))
    return {"model": str(spare), "prompt_versions": tenant.ids["draft"]}


async def digests(house: House, tenant: Furnished) -> tuple[object, ...]:
    """What there is, but for the audit log: of the tenant, of the one that the operator acts on, and how many there are."""
    async with house.store.operator() as conn:
        number = (await conn.execute(select(func.count()).select_from(tenants))).scalar_one()
    own = await digest(house.store, tenant.tenant_id)
    del own["audit"]
    return own, (await digest(house.store, UUID(tenant.ids["tenants"])))["tenants"], number


async def test_every_write_leaves_its_entry_in_the_audit_log(cluster: Cluster, tmp_path: Path) -> None:
    before, _, after = cluster.superuser_dsn.partition("/postgres?")
    watch = await asyncpg.connect(f"{before}/{cluster.dsn.partition('@/')[2].partition('?')[0]}?{after}")
    try:
        async with open_house(cluster.dsn, tmp_path) as house:
            writes = [one for one in in_order(house) if one.entry.method in UNSAFE and RIGHTS[one.name].person != "token"]
            found = {one.name: await write(house, one, watch) for one in writes}
    finally:
        await watch.close()
    assert len(found) > 100
    idle = {name: one.status for name, one in found.items() if not one.changed and name not in CHANGES_NOTHING}
    assert idle == {}, "these changed nothing, so this story says nothing of them"
    assert {name for name, one in found.items() if one.changed and not one.audited} == NOT_AUDITED
