"""Nobody reaches into another tenant: every route, with its ids, at its address, by everybody of this one.

What is asked for by another tenant's id is answered as what does not exist is, to the letter; nothing of that tenant is ever in
an answer; and at the end not one of its rows has changed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conftest import Cluster
from tests.flows.driver import Answer, Client
from tests.flows.examples import FRAGMENTS, Example, Ids, examples
from tests.flows.furnished import Furnished, House, digest, furnish, open_house
from tollhouse.auth.tokens import new_token
from tollhouse.store.ids import new_id

SIGN_UP = {"POST /register", "POST /api/v1/auth/register"}
"""Anybody may become a user of a tenant; another tenant's session is no part of that, so it is as good as none."""

LEAVES = re.compile(r"/(logout|sign-out)$")
"""Ends the session that asks: tried last."""

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CHANGING = re.compile(
    r"req_[0-9a-f]+|\d{4}-\d\d-\d\dT[\d:.]+(Z|\+\d\d:\d\d)|th[so]?_\w{22,}|name=\"key\" value=\"\w+\"|[0-9a-f]{32}"
)
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
    browsers = {name: Client.browser(house.app, address, tenant.tokens[name], prefix, **more) for name in ("owner", "plain")}
    return {**browsers, "key": Client.program(house.app, address, tenant.tokens["owner_key"], prefix, **more)}


def reached_for(own: Ids, other: Ids) -> dict[str, str]:
    """Another tenant's ids, used at one's own address."""
    return {**other, "address": own["address"], "fresh": own["fresh"]}


def nowhere(theirs: Ids, secret: str) -> dict[str, str]:
    """Ids that nobody has, in the places of another tenant's."""
    strange = {
        name: str(new_id()) if UUID.fullmatch(value) else value.replace(secret, f"nobody{new_id().hex[-12:]}")
        for name, value in theirs.items()
    }
    face = f"facex{new_id().hex[-12:]}"
    strange |= {"agent": f"guide-{face}", "plan": f"free-{face}", "slug": f"nob{new_id().hex[-8:]}"}
    return strange | {"link": new_token("link", new_id())}


def names_of(ids: Ids) -> list[str]:
    return sorted(
        (ids[name] for name in ("agent", "plan", "slug", "email", "search", "model_name", "link")), key=len, reverse=True
    )


def ways(one: Example, own: Ids, theirs: Ids, strange: Ids) -> Iterator[tuple[tuple[Ids, Ids], tuple[Ids, Ids] | None]]:
    """How another tenant's ids get into a request (of the path, of the body), and the same with ids that nobody has."""
    in_path = one.path(theirs) != one.path(strange)
    in_body = one.body(theirs).data != one.body(strange).data
    if not in_path and not in_body:
        yield (own, own), None
        return
    yield (theirs, theirs), (strange, strange)
    if in_path and in_body:
        yield (own, theirs), (own, strange)


async def try_ids(client: Client, one: Example, path: Ids, body: Ids) -> Answer:
    return await client.send(one.entry.method, one.path(path), one.body(body), **one.headers(body))


def in_order(house: House) -> Iterator[Example]:
    yield from sorted(examples(house.app), key=lambda one: LEAVES.search(one.entry.path) is not None)


async def test_another_tenants_ids_are_unknown_ids(cluster: Cluster, tmp_path: Path) -> None:
    await another_tenants_ids_are_unknown(cluster.dsn, tmp_path)


async def test_so_they_are_where_only_the_statements_keep_tenants_apart(one_wall_dsn: str, tmp_path: Path) -> None:
    """Row-level security hides a statement that has forgotten its tenant; here nothing does."""
    await another_tenants_ids_are_unknown(one_wall_dsn, tmp_path)


async def another_tenants_ids_are_unknown(dsn: str, tmp_path: Path) -> None:
    async with open_house(dsn, tmp_path) as house:
        own, other = await furnish(house, "own"), await furnish(house, "other")
        before = await digest(house.store, other.tenant_id)
        theirs = reached_for(own.ids, other.ids)
        strange = nowhere(theirs, other.secret)
        wrong: list[str] = []
        for one in in_order(house):
            for name, client in visitors(house, own, own.slug).items():
                for foreign, unknown in ways(one, own.ids, theirs, strange):
                    answer = await try_ids(client, one, *foreign)
                    where = f"{name}: {one.name}{' (own path)' if foreign[0] is own.ids else ''}"
                    asked = one.path(foreign[0]) + one.body(foreign[1]).data.decode("latin-1")
                    wrong += [f"{where}: {fault}" for fault in shown(other, asked, answer)]
                    if foreign[0] is theirs and one.has_ids and answer.status not in (401, 403, 404):
                        wrong.append(f"{where}: status {answer.status} {answer.text[-300:]!r}")
                    if unknown is not None:
                        missing = await try_ids(client, one, *unknown)
                        wrong += [f"{where}: {fault}" for fault in differences(answer, missing, theirs, strange)]
        assert not wrong, "\n".join(wrong)
        assert await digest(house.store, other.tenant_id) == before


def shown(other: Furnished, asked: str, answer: Answer) -> Iterator[str]:
    """What of the other tenant is in an answer. What was sent may come back in a form: that is known already."""
    if answer.status >= 500:
        yield f"status {answer.status}"
    for marker in (other.secret, other.face):
        if marker in answer.everything and marker not in asked:
            yield f"shows {marker}"


def differences(foreign: Answer, unknown: Answer, theirs: Ids, strange: Ids) -> Iterator[str]:
    """Whether one can tell that there is something."""
    one, two = normal(foreign, *names_of(theirs)), normal(unknown, *names_of(strange))
    if one != two:
        lines = difflib.unified_diff(two[1].splitlines(), one[1].splitlines(), "unknown", "foreign", n=0, lineterm="")
        yield f"{foreign.status}, but {unknown.status} for an unknown id: {' | '.join(lines)[:1500]}"


async def test_ones_own_ids_show_what_another_tenant_must_not_see(cluster: Cluster, tmp_path: Path) -> None:
    # Else the sweep would look for texts that no answer ever has.
    async with open_house(cluster.dsn, tmp_path) as house:
        own = await furnish(house, "own")
        seen = set()
        for one in examples(house.app):
            if one.entry.method == "GET" and one.entry.plugin is None and "{in_tenant}" not in one.entry.path:
                answer = await try_ids(visitors(house, own, own.slug)["owner"], one, own.ids, own.ids)
                if own.secret in answer.text:
                    seen.add(one.key)
        assert len(seen) >= 40, sorted(seen)


async def kept(house: House, tenant: Furnished) -> Mapping[str, str]:
    """What there is, but for the record of who has tried its doors in vain: whoever comes to them may leave a line there."""
    found = await digest(house.store, tenant.tenant_id)
    return {name: one for name, one in found.items() if name != "sign_in_failures"}


async def test_at_another_tenants_address_one_is_nobody(cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(cluster.dsn, tmp_path) as house:
        own, other = await furnish(house, "own"), await furnish(house, "other")
        before = await kept(house, other)
        there = {**other.ids, "link": own.ids["link"]}
        wrong: list[str] = []
        for header in (None, other.slug):
            nobody = Client.browser(house.app, other.slug, None, None if header is None else "", **_header(header))
            for one in in_order(house):
                for name, client in visitors(house, own, other.slug, header).items():
                    if one.key in SIGN_UP and name != "key":
                        continue
                    answer = await try_ids(client, one, there, own.ids)
                    wrong += [f"{name} {header}: {one.name}: {fault}" for fault in elsewhere(one, other, name, answer)]
                    if one.entry.public and name != "key" and not one.destroys:
                        without = await try_ids(nobody, one, there, own.ids)
                        if normal(answer) != normal(without):
                            wrong.append(f"{name} {header}: {one.name}: another answer than nobody gets")
        assert not wrong, "\n".join(wrong)
        assert await kept(house, other) == before


def _header(header: str | None) -> Mapping[str, str]:
    return {} if header is None else {"x-tenant": header}


def _sign_in(one: Example) -> str | None:
    """Where a browser without a session is sent that opens this page; None for what is no such page."""
    entry = one.entry
    if entry.method != "GET" or entry.errors != "page" or one.key in FRAGMENTS:
        return None
    if entry.path.startswith("/console"):
        return None if "sign-in" in entry.path else "/console/sign-in"
    return None if entry.public else "/login"


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
    elif (sign_in := _sign_in(one)) is not None:
        if answer.status != 303 or not re.match(rf"(/t/[^/]+)?{sign_in}\?next=", answer.location):
            yield f"status {answer.status} to {answer.location!r}"
    elif not one.entry.public:
        if answer.status != 401:
            yield f"status {answer.status}"
    elif answer.status >= 500:
        yield f"status {answer.status}"
