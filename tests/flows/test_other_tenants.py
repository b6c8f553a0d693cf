"""Nobody reaches into another tenant: every route, with its ids, at its address, by everybody of this one.

What is asked for by another tenant's id is answered as what does not exist is, to the letter; nothing of that tenant is ever in
an answer; and at the end not one of its rows has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conftest import Cluster
from tests.flows.driver import Answer, Client
from tests.flows.examples import Example, Ids, examples
from tests.flows.furnished import Furnished, House, digest, furnish, open_house

from tollhouse.auth.tokens import new_token
from tollhouse.store.ids import new_id

SIGN_UP = {"POST /register", "POST /api/v1/auth/register"}
"""Anybody may become a user of a tenant; another tenant's session is no part of that, so it is as good as none."""

LEAVES = re.compile(r"/(logout|sign-out)$")
"""Ends the session that asks: tried last."""

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CHANGING = re.compile(r"req_[0-9a-f]+|\d{4}-\d\d-\d\dT[\d:.]+(Z|\+\d\d:\d\d)|th[so]?_\w{40,}|name=\"key\" value=\"\w+\"|[0-9a-f]{32}")
VARYING = frozenset({"x-request-id", "content-length", "date", "set-cookie", "server-timing"})


def normal(answer: Answer, *names: str) -> tuple[int, str]:
    """An answer without what differs from request to request, and without the names that were asked for."""
    text = "\n".join(f"{name}: {value}" for name, value in sorted(answer.headers.items()) if name not in VARYING)
    text += "\n\n" + answer.body.decode("latin-1")
    for name in names:
        text = text.replace(name, "NAME")
    return answer.status, CHANGING.sub("…", UUID.sub("ID", text))


def visitors(house: House, tenant: Furnished, address: str, header: str | None = None) -> dict[str, Client]:
    """The owner, a user and the owner's program. ``address``: at whose address; ``header``: named by ``X-Tenant`` instead."""
    prefix, more = (None, {}) if header is None else ("", {"x-tenant": header})
    browsers = {
        name: Client.browser(house.app, address, tenant.tokens[name], prefix, **more) for name in ("owner", "plain")
    }
    return {**browsers, "key": Client.program(house.app, address, tenant.tokens["owner_key"], prefix, **more)}


def nowhere(other: Furnished) -> dict[str, str]:
    """Ids that nobody has, in the places of another tenant's."""
    strange = {
        name: str(new_id()) if UUID.fullmatch(value) else value.replace(other.secret, f"nobody{new_id().hex[-12:]}")
        for name, value in other.ids.items()
    }
    face = f"facex{new_id().hex[-12:]}"
    strange |= {"agent": f"guide-{face}", "plan": f"free-{face}", "slug": f"nob{new_id().hex[-8:]}"}
    return strange | {"link": new_token("link", new_id())}


def names_of(ids: Ids) -> list[str]:
    return sorted({ids[name] for name in ("agent", "plan", "slug", "email", "search", "model_name", "link")}, key=len, reverse=True)


def mixed(own: Ids, foreign: Ids, one: Example) -> bool:
    """Whether the route's body names somebody's ids: then they are tried under a path of one's own as well."""
    return one.has_ids and one.body(own).data != one.body(foreign).data


async def try_ids(client: Client, one: Example, path: Ids, body: Ids) -> Answer:
    return await client.send(one.entry.method, one.path(path), one.body(body), **one.signature(body))


def in_order(house: House) -> Iterator[Example]:
    yield from sorted(examples(house.app), key=lambda one: LEAVES.search(one.entry.path) is not None)


async def test_another_tenants_ids_are_unknown_ids(cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(cluster.dsn, tmp_path) as house:
        own, other = await furnish(house, "own"), await furnish(house, "other")
        before = await digest(house.store, other.tenant_id)
        strange = nowhere(other)
        wrong: list[str] = []
        for one in in_order(house):
            for name, client in visitors(house, own, own.slug).items():
                for path in (False, True) if mixed(own.ids, other.ids, one) else (False,):
                    foreign = await try_ids(client, one, own.ids if path else other.ids, other.ids)
                    unknown = await try_ids(client, one, own.ids if path else strange, strange)
                    where = f"{name}: {one.name}{' (own path)' if path else ''}"
                    wrong += [f"{where}: {fault}" for fault in faults(one, other, strange, foreign, unknown, own_path=path)]
        assert not wrong, "\n".join(wrong)
        assert await digest(house.store, other.tenant_id) == before


def faults(
    one: Example, other: Furnished, strange: Ids, foreign: Answer, unknown: Answer, *, own_path: bool
) -> Iterator[str]:
    """What is wrong with the answer to another tenant's ids."""
    if normal(foreign, *names_of(other.ids)) != normal(unknown, *names_of(strange)):
        yield f"differs from an unknown id: {foreign.status} {foreign.text[-600:]!r} / {unknown.status} {unknown.text[-600:]!r}"
    if foreign.status >= 500:
        yield f"status {foreign.status}"
    if one.has_ids and not own_path and foreign.status not in (401, 403, 404):
        yield f"status {foreign.status}: {foreign.text[-300:]!r}"
    asked = one.path(other.ids) + one.body(other.ids).data.decode("latin-1")
    for marker in (other.secret, other.face):
        # What was sent may come back in a form; anything else is the other tenant's.
        if marker in foreign.everything and marker not in asked:
            yield f"shows {marker}"


async def test_at_another_tenants_address_one_is_nobody(cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(cluster.dsn, tmp_path) as house:
        own, other = await furnish(house, "own"), await furnish(house, "other")
        before = await digest(house.store, other.tenant_id)
        wrong: list[str] = []
        for header in (None, other.slug):
            nobody = Client.browser(house.app, other.slug, None, None if header is None else "", **_header(header))
            for one in in_order(house):
                for name, client in visitors(house, own, other.slug, header).items():
                    if one.key in SIGN_UP and name != "key":
                        continue
                    answer = await try_ids(client, one, other.ids, own.ids)
                    wrong += [f"{name} {header}: {one.name}: {fault}" for fault in elsewhere(one, other, name, answer)]
                    if one.entry.public and name != "key" and not one.destroys:
                        without = await try_ids(nobody, one, other.ids, own.ids)
                        if normal(answer) != normal(without):
                            wrong.append(f"{name} {header}: {one.name}: another answer than nobody gets")
        assert not wrong, "\n".join(wrong)
        assert await digest(house.store, other.tenant_id) == before


def _header(header: str | None) -> Mapping[str, str]:
    return {} if header is None else {"x-tenant": header}


def elsewhere(one: Example, other: Furnished, name: str, answer: Answer) -> Iterator[str]:
    """What is wrong with an answer at the other tenant's address."""
    if other.secret in answer.everything and other.secret not in one.path(other.ids):
        yield "shows a secret"
    if one.entry.tenantless:
        if answer.status >= 500 or (one.has_ids and answer.status not in (401, 404)):
            yield f"status {answer.status}"
    elif name == "key":
        if answer.status != 401:
            yield f"a key of another tenant: status {answer.status}"
    elif one.entry.path.startswith("/console") and one.entry.method == "GET" and "sign-in" not in one.entry.path:
        if answer.status != 303 or not re.search(r"/console/sign-in\?next=", answer.location):
            yield f"status {answer.status} to {answer.location!r}"
    elif not one.entry.public:
        if answer.status != 401:
            yield f"status {answer.status}"
    elif answer.status >= 500:
        yield f"status {answer.status}"
