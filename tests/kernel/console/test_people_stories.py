"""How people come, get power and go, told by what staff see."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.kernel.console.conftest import Browser, House
from tests.world import Shop
from tollhouse.plugin.errors import RateLimited, Unavailable
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id


async def test_an_invitation_is_taken_over_by_its_person_alone(house: House) -> None:
    owner = await house.browser("owner")
    made = await owner.post("/console/users/invite", email="new@example.test", name="Nina", role="support")
    link = re.search(r"/invite/(tho_\w+)", made.text)
    assert link is not None
    nobody = house.nobody()
    for _ in range(2):  # looking uses nothing up
        assert "new@example.test" in (await nobody.get(f"/invite/{link[1]}")).text
    weak = await nobody.post(f"/invite/{link[1]}", password="short")
    assert weak.status == 422
    joined = await nobody.post(f"/invite/{link[1]}", password="a long enough pass 99", name="Nina")
    assert joined.location == f"/t/{house.slug}/console"
    token = re.search(rf"__Host-th-{house.slug}=([^;]+)", joined.headers["set-cookie"])
    assert token is not None
    nina = Browser(house.process.app, house.slug, token[1])
    assert (await nina.get("/console")).status == 200
    assert (await nina.get("/console/settings")).status == 200
    assert (await nina.post("/console/settings", name="Mine now")).status == 403
    assert (await nobody.post(f"/invite/{link[1]}", password="another long pass 99")).status == 401


async def test_whoever_joins_is_in_however_many_tried_to_sign_in(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def throttled(*args: Any, **more: Any) -> Any:
        raise RateLimited("Too many tries.")

    sessions = house.container.sessions
    monkeypatch.setattr(sessions, "login", throttled)
    owner = await house.browser("owner")
    made = await owner.post("/console/users/invite", email="ina@example.test", name="Ina", role="support")
    link = re.search(r"/invite/(tho_\w+)", made.text)
    assert link is not None
    joined = await house.nobody().post(f"/invite/{link[1]}", password="a long enough pass 99")
    assert joined.location == f"/t/{house.slug}/console"
    assert "set-cookie" in joined.headers


async def test_an_account_whose_session_could_not_begin_is_said_to_be_ready(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*args: Any, **more: Any) -> Any:
        raise Unavailable()

    owner = await house.browser("owner")
    made = await owner.post("/console/users/invite", email="ina@example.test", name="Ina", role="support")
    link = re.search(r"/invite/(tho_\w+)", made.text)
    assert link is not None
    monkeypatch.setattr(house.container.sessions, "begin", failing)
    joined = await house.nobody().post(f"/invite/{link[1]}", password="a long enough pass 99")
    assert joined.location == f"/t/{house.slug}/console/sign-in?ready=1"
    page = await house.nobody().get("/console/sign-in?ready=1")
    assert "Your account is ready; sign in." in page.text
    good = {"email": "ina@example.test", "password": "a long enough pass 99"}
    assert (await house.nobody().post("/console/sign-in", **good)).status == 303


async def test_a_sign_in_link_is_redeemed_by_its_button_only(house: House, other: Shop) -> None:
    owner = await house.browser("owner")
    customer, _ = await house.person()
    made = await owner.post(f"/console/users/{customer}/link")
    link = re.search(r"/link/(tho_\w+)", made.text)
    assert link is not None
    nobody = house.nobody()
    looked = await nobody.get(f"/link/{link[1]}")
    assert looked.status == 200
    assert "set-cookie" not in looked.headers
    signed_in = await nobody.post(f"/link/{link[1]}")
    assert signed_in.location == f"/t/{house.slug}/"
    assert "set-cookie" in signed_in.headers
    assert (await nobody.get(f"/link/{link[1]}")).status == 401


async def test_signing_in_leads_to_where_one_wanted_and_nowhere_else(house: House) -> None:
    await house.container.accounts.make_owner(house.shop.tenant_id, "olga@example.test", "a long enough pass 99", actor=CLI)
    nobody = house.nobody()
    sent = await nobody.get("/console/plans")
    assert sent.location == f"/t/{house.slug}/console/sign-in?next=%2Fconsole%2Fplans"
    wrong = await nobody.post("/console/sign-in", email="olga@example.test", password="not this one 99", next="/console/plans")
    assert wrong.status == 401
    assert "olga@example.test" in wrong.text
    assert "not this one" not in wrong.text
    good = {"email": "olga@example.test", "password": "a long enough pass 99"}
    assert (await nobody.post("/console/sign-in", **good, next="/console/plans")).location == f"/t/{house.slug}/console/plans"
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "/console/../../evil", "/consolex"):
        answer = await nobody.post("/console/sign-in", **good, next=elsewhere)
        assert answer.location.startswith(f"/t/{house.slug}/console"), elsewhere


async def test_a_new_tenant_begins_with_its_owner_s_link(house: House) -> None:
    operator = await house.browser("owner", operator=True)
    slug = f"n{new_id().hex[-10:]}"
    form = {"name": "New business", "slug": slug, "currency": "EUR", "timezone": "Europe/Berlin", "language": "de"}
    made = await operator.post("/console/tenants", **form)
    token = re.search(rf"/t/{slug}/claim/(tho_\w+)", made.text)
    assert token is not None
    door = Browser(house.process.app, slug)
    assert "Take over New business" in (await door.get(f"/claim/{token[1]}")).text
    claimed = await door.post(f"/claim/{token[1]}", email="boss@example.test", password="a long enough pass 99", name="Boss")
    assert claimed.location == f"/t/{slug}/console"
    assert (await door.get(f"/claim/{token[1]}")).status == 401
    found = await house.container.directory.by_slug(slug)
    assert (await operator.post(f"/console/tenants/{found.id}/suspend", reason="Unpaid")).status == 303
    assert (await house.container.tenants.get(found.id)).status == "suspended"


async def test_whoever_is_given_power_is_named_first(house: House) -> None:
    owner, admin = await house.browser("owner"), await house.browser("admin")
    customer, _ = await house.person()
    email = (await house.container.users.get(house.shop.tenant_id, customer)).email
    page = (await owner.get(f"/console/users/{customer}")).text
    button = re.search(r'<button[^>]*name="role" value="owner"[^>]*>', page)
    assert button is not None
    assert f'data-confirm-title="Make {email} an owner?"' in button[0]
    assert f'data-confirm="{email} can then do everything, also making owners."' in button[0]
    assert 'value="owner"' not in (await admin.get(f"/console/users/{customer}")).text
    assert (await owner.post(f"/console/users/{customer}/role", role="support")).status == 409
    assert f"/console/users/invite?email={email.replace('@', '%40')}" in page
    await house.container.users.confirm_email(house.shop.tenant_id, customer, by=None, actor=CLI)
    assert (await owner.post(f"/console/users/{customer}/role", role="support")).status == 303
    assert (await house.container.users.get(house.shop.tenant_id, customer)).role == "support"
    again = (await owner.get(f"/console/users/{customer}")).text
    assert f'data-confirm-title="Make {email} a customer?"' in again
    assert f'data-confirm-title="Make {email} support?"' not in again


async def test_an_erased_person_is_named_first(house: House) -> None:
    owner = await house.browser("owner")
    customer, _ = await house.person()
    email = (await house.container.users.get(house.shop.tenant_id, customer)).email
    exported = await owner.post(f"/console/users/{customer}/export")
    assert exported.headers["content-disposition"].startswith("attachment")
    assert str(email) in exported.text
    assert (await owner.post(f"/console/users/{customer}/erase", confirm="wrong")).status == 422
    assert (await owner.post(f"/console/users/{customer}/erase", confirm=email)).status == 303
    assert (await owner.get(f"/console/users/{customer}")).status == 200
    assert (await house.container.users.get(house.shop.tenant_id, customer)).status == "erased"
