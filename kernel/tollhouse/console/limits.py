"""Rows of limits in a form, for plans and for one subscriber's overrides; and the page of those overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from tollhouse.agents.rows import AgentRow
from tollhouse.billing.plans import PlanLimit, limit_text
from tollhouse.billing.terms import MAX_AMOUNT, LimitTerms
from tollhouse.console.desk import Area, Desk
from tollhouse.console.format import NANO, decimal
from tollhouse.console.forms import Form
from tollhouse.plugin.errors import Conflict, InvalidInput

area = Area()
ROWS: Final = "limits.rows"
SPARE: Final = 2
MOST: Final = 100

METRICS: Final[Mapping[str, str]] = {
    "calls": "messages",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "total_tokens": "tokens in all",
    "cost": "model cost",
    "concurrent": "at the same time",
}
WINDOWS: Final[Mapping[str, str]] = {
    "minute": "a minute",
    "hour": "an hour",
    "day": "a day",
    "month": "a month",
    "period": "a billing period",
    "lifetime": "in total",
    "now": "at any moment",
}


def fill_limits(form: Form, limits: Sequence[PlanLimit]) -> Form:
    """Show these limits."""
    for number, limit in enumerate(limits):
        amount = decimal(limit.amount, NANO) if limit.metric == "cost" else limit.amount
        values = {"metric": limit.metric, "amount": amount, "window": limit.window, "agent_id": limit.agent_id}
        values |= {"channel": limit.channel, "hard": "hard" if limit.hard else "soft"}
        form.fill({f"limits.{number}.{name}": value for name, value in values.items()})
    return form.fill({ROWS: len(limits)})


def rows_shown(form: Form) -> int:
    """How many rows the form has: those in use, and some to fill in."""
    used = form.integer(ROWS) or 0
    return min(max(used, 0) + SPARE, MOST)


def read_limits(form: Form) -> tuple[LimitTerms, ...]:
    """The limits of the form; a row without an amount is none. What cannot be read is an error of the form."""
    found = {number: _limit(form, number) for number in _given(form)}
    return tuple(found[number] for number in _readable(form))


def place_limit_errors(
    form: Form, error: InvalidInput | Conflict, inside: str, beside: Mapping[str, str] | None = None
) -> Form:
    """Errors beside the rows: the service counts only those that were given."""
    names = {}
    for place, number in enumerate(_readable(form)):
        for field in ("metric", "amount", "window", "agent_id", "channel"):
            names[f"{inside}.{place}.{field}"] = f"limits.{number}.{field}"
        names[f"{inside}.{place}"] = f"limits.{number}.metric"
    return form.failed(error, names=names, beside=beside)


def more_rows(form: Form) -> bool:
    """Whether the button for more rows was pressed: then nothing is saved."""
    if not form.has("more"):
        return False
    form.fill({ROWS: rows_shown(form)})
    return True


async def choices(desk: Desk) -> dict[str, Any]:
    """What a row can choose from."""
    agents: Sequence[AgentRow] = (await desk.parts.agents.list(desk.tenant.id, limit=200)).items
    channels = {name: found.obj.title for name, found in desk.parts.host.channels.items()}
    return {"metrics": METRICS, "windows": WINDOWS, "agents": agents, "channels": channels}


def texts(desk: Desk, limits: Sequence[PlanLimit], agents: Sequence[AgentRow]) -> list[str]:
    """Limits in the reader's words."""
    names = {agent.id: agent.name for agent in agents}
    currency = desk.tenant.cost_currency
    return [limit_text(limit, currency, names) + ("" if limit.hard else " (only a warning)") for limit in limits]


@area.get("/subscriptions/{id}/limits", "manage")
async def edit_overrides(desk: Desk) -> Response:
    """The form of one subscriber's own limits."""
    detail = await desk.parts.subscription_admin.detail(desk.tenant.id, desk.id())
    form = fill_limits(Form(), [override.limit for override in detail.overrides])
    form.fill({"reason": detail.overrides[0].reason if detail.overrides else ""})
    return await _form(desk, form)


@area.post("/subscriptions/{id}/limits")
async def save_overrides(desk: Desk) -> Response:
    """Put them in place of all that were there before; none at all takes them away."""
    form = await desk.form()
    if more_rows(form):
        return await _form(desk, form)
    given = read_limits(form)
    try:
        form.check()
        names = tuple(desk.parts.host.channels)
        reason = form.text("reason")
        await desk.parts.subscription_admin.set_overrides(desk.caller, desk.id(), given, reason, channels=names)
    except (InvalidInput, Conflict) as error:
        return await _form(desk, place_limit_errors(form, error, "overrides"))
    return desk.done(f"/subscriptions/{desk.id()}")


async def _form(desk: Desk, form: Form) -> Response:
    detail = await desk.parts.subscription_admin.detail(desk.tenant.id, desk.id())
    user = await desk.parts.users.get(desk.tenant.id, detail.summary.user_id)
    more = await choices(desk)
    plan = await desk.parts.plans.get(desk.tenant.id, detail.summary.subscription.plan)
    own = {override.limit.id for override in detail.overrides}
    given = [limit for limit in detail.entitlement.limits if limit.id not in own]
    values = {"form": form, "detail": detail, "user": user, "plan": plan, "rows": rows_shown(form), **more}
    values["limit_texts"] = texts(desk, given, more["agents"])
    return desk.page("overrides.html", status=form.status, section="subscriptions", **values)


def _given(form: Form) -> list[int]:
    return [number for number in range(rows_shown(form)) if form.text(f"limits.{number}.amount")]


def _readable(form: Form) -> list[int]:
    """Rows whose amount could be read: of the others nothing can be said yet, also not that they are there twice."""
    return [number for number in _given(form) if f"limits.{number}.amount" not in form.errors]


def _limit(form: Form, number: int) -> LimitTerms:
    def name(field: str) -> str:
        return f"limits.{number}.{field}"

    metric = form.text(name("metric"))
    amount = form.amount(name("amount"), NANO) if metric == "cost" else form.integer(name("amount"))
    if amount is not None and not 0 <= amount <= MAX_AMOUNT:
        most = MAX_AMOUNT // 10**NANO if metric == "cost" else MAX_AMOUNT
        form.refuse(name("amount"), f"Write an amount from 0 to {most:,}")
    return LimitTerms(
        metric,
        amount or 0,
        # What runs at the same time has no other window: nobody should have to find that out.
        "now" if metric == "concurrent" else form.text(name("window")),
        form.id(name("agent_id")),
        form.optional(name("channel")),
        form.get(name("hard"), "hard") != "soft",
    )
