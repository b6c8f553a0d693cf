"""Plans: what people can buy."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from starlette.responses import Response

from tollhouse.billing.plan_service import check_plan
from tollhouse.billing.plans import INTERVALS, Plan
from tollhouse.billing.terms import MAX_PRICE, Terms
from tollhouse.console.desk import Area, Desk
from tollhouse.console.format import INTERVALS as INTERVAL_WORDS
from tollhouse.console.format import decimal
from tollhouse.console.forms import Form
from tollhouse.console.limits import choices, fill_limits, more_rows, place_limit_errors, read_limits, rows_shown, texts
from tollhouse.plugin.errors import Conflict, InvalidInput
from tollhouse.plugin.money import EXPONENTS, exponent
from tollhouse.store.ids import parse_id

area = Area()


@area.get("/plans")
async def index(desk: Desk) -> Response:
    """Every plan, the archived ones last."""
    plans = sorted(await desk.parts.plans.list(desk.tenant.id, archived=True), key=lambda plan: plan.status != "active")
    agents = (await desk.parts.agents.list(desk.tenant.id, limit=200)).items
    words = {plan.id: texts(desk, plan.version.limits, agents) for plan in plans}
    return desk.page("plans.html", section="plans", plans=plans, words=words)


@area.get("/plans/new", "manage")
async def new(desk: Desk) -> Response:
    """The form of a new plan."""
    values = {"currency": desk.tenant.currency, "interval": "month", "public": "on", "reach": "all", "grace_days": 3}
    return await _form(desk, Form.of(price="0", channel_reach="all", **values))


@area.post("/plans")
async def create(desk: Desk) -> Response:
    """Make it."""
    form = await desk.form()
    if more_rows(form):
        return await _form(desk, form)
    terms, values = _terms(form), _values(form)
    try:
        slug, name = form.text("slug"), values["name"]
        form.weigh(lambda: check_plan(slug, values, terms), partial(_placed, form))
        form.check()
        del values["name"]
        plan = await desk.parts.plans.create(desk.caller, slug, name, terms, channels=_channels(desk), **values)
    except (InvalidInput, Conflict) as error:
        return await _form(desk, _placed(form, error))
    return desk.done(f"/plans/{plan.id}", "created")


@area.get("/plans/{id}")
async def show(desk: Desk) -> Response:
    """A plan, what it gives, and who has which version of it."""
    plan = await desk.parts.plans.get(desk.tenant.id, desk.id())
    subscribers = await desk.parts.plans.subscribers(desk.tenant.id, plan.id)
    agents = (await desk.parts.agents.list(desk.tenant.id, limit=200)).items
    values: dict[str, Any] = {
        "plan": plan,
        "subscribers": subscribers,
        "agents": [one for one in agents if one.id in plan.version.agents],
    }
    values["channels"] = {name: found.obj.title for name, found in desk.parts.host.channels.items()}
    return desk.page("plan.html", section="plans", limit_texts=texts(desk, plan.version.limits, agents), **values)


@area.get("/plans/{id}/edit", "manage")
async def edit(desk: Desk) -> Response:
    """The form of a plan."""
    plan = await desk.parts.plans.get(desk.tenant.id, desk.id())
    return await _form(desk, _form_of(plan), plan)


@area.post("/plans/{id}")
async def update(desk: Desk) -> Response:
    """Save it: other terms become a new version, and subscribers keep theirs."""
    plan = await desk.parts.plans.get(desk.tenant.id, desk.id())
    form = await desk.form()
    if more_rows(form):
        return await _form(desk, form, plan)
    terms, values = _terms(form), _values(form)
    try:
        form.weigh(lambda: check_plan(None, values, terms), partial(_placed, form))
        form.check()
        changed = await desk.parts.plans.update(desk.caller, plan.id, terms=terms, channels=_channels(desk), **values)
    except (InvalidInput, Conflict) as error:
        return await _form(desk, _placed(form, error), plan)
    return desk.done(f"/plans/{plan.id}", "version" if changed.version.number != plan.version.number else "saved")


@area.post("/plans/{id}/archive")
async def archive(desk: Desk) -> Response:
    """Take it off the offer."""
    await desk.parts.plans.archive(desk.caller, desk.id())
    return desk.done(f"/plans/{desk.id()}", "archived")


@area.post("/plans/{id}/restore")
async def restore(desk: Desk) -> Response:
    """Put it back on the offer."""
    await desk.parts.plans.archive(desk.caller, desk.id(), archived=False)
    return desk.done(f"/plans/{desk.id()}", "restored")


def _channels(desk: Desk) -> tuple[str, ...]:
    return tuple(desk.parts.host.channels)


def _form_of(plan: Plan) -> Form:
    version = plan.version
    form = Form.of(
        slug=plan.slug,
        name=plan.name,
        description=plan.description,
        position=plan.position,
        public="on" if plan.public else "",
        default="on" if plan.default else "",
        price=decimal(version.price_minor, exponent(version.currency)),
        currency=version.currency,
        interval=version.interval,
        grace_days=version.grace_days,
        verified_email="on" if version.verified_email else "",
        reach="all" if version.all_agents else "some",
        agents=sorted(version.agents),
        channel_reach="all" if version.channels is None else "some",
        channels=sorted(version.channels or ()),
    )
    return fill_limits(form, version.limits)


def _values(form: Form) -> dict[str, Any]:
    return {
        "name": form.text("name"),
        "description": form.text("description"),
        "public": form.has("public"),
        "default": form.has("default"),
        "position": form.integer("position") or 0,
    }


def _terms(form: Form) -> Terms:
    currency = form.text("currency").upper()
    everything = form.get("reach") == "all"
    agents: frozenset[UUID] = frozenset(found for one in form.all("agents") if (found := parse_id(one)) is not None)
    grace = form.integer("grace_days")
    return Terms(
        price_minor=form.amount("price", exponent(currency)) or 0,
        currency=currency,
        interval=form.text("interval"),
        grace_days=3 if grace is None else grace,
        all_agents=everything,
        agents=frozenset() if everything else agents,
        channels=None if form.get("channel_reach") == "all" else frozenset(form.all("channels")),
        verified_email=form.has("verified_email"),
        limits=read_limits(form),
    )


def _placed(form: Form, error: InvalidInput | Conflict) -> Form:
    place_limit_errors(form, error, "limits", {"plan_exists": "slug"})
    if "price_minor" in form.errors:
        del form.errors["price_minor"]
        most = MAX_PRICE // 10 ** exponent(form.text("currency").upper())
        form.refuse("price", f"Write a price from 0 to {most:,}")
    return form


async def _form(desk: Desk, form: Form, plan: Plan | None = None) -> Response:
    older = 0
    if plan is not None:
        older = sum(one.subscribers for one in await desk.parts.plans.subscribers(desk.tenant.id, plan.id))
    values = {"form": form, "plan": plan, "rows": rows_shown(form), "subscribers": older, **await choices(desk)}
    values |= {"currencies": sorted(EXPONENTS), "intervals": {name: INTERVAL_WORDS[name] for name in INTERVALS}}
    return desk.page("plan_form.html", status=form.status, section="plans", **values)
