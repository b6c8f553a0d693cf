"""What pages show of the kernel's values: plans, limits, subscriptions, denials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tollhouse.plugin import AgentInfo, Decision, LimitInfo, LimitStatus, OrderInfo, PlanInfo, SubscriptionInfo
from tollhouse_web import formats, words


@dataclass(frozen=True, slots=True)
class Tick:
    """One line of a plan. ``no``: what it lacks."""

    text: str
    no: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class PlanCard:
    """A plan on offer."""

    slug: str
    name: str
    description: str
    price: str
    per: str
    free: bool
    current: bool
    ticks: Sequence[Tick]
    order_id: str = ""
    """The reader's order of it that waits for its payment."""
    blocked: str = ""
    """Why it cannot be taken now."""


@dataclass(frozen=True, slots=True)
class Meter:
    """A limit as a bar with words."""

    label: str
    text: str
    value: int
    amount: int
    low: float
    high: float
    resets_at: datetime | None
    note: str = ""
    no_reset: str = words.NO_RESET


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do."""

    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Card:
    """What stands in the place of an answer: a denial, or with ``failed`` an error."""

    title: str
    text: str
    failed: bool = False
    meter: Meter | None = None
    help: str = ""
    actions: Sequence[Action] = ()
    again: bool = False
    """Whether a button sends the composer once more."""
    retry: str = ""
    """Where a button of its own tries the same turn again; empty for none."""
    about: str = ""
    """How the message begins that the button is for."""


@dataclass(frozen=True, slots=True)
class State:
    """A subscription or an order in words."""

    id: str
    name: str
    price: str
    tone: str
    status: str
    when: str
    at: datetime | None
    can_cancel: bool = False
    can_resume: bool = False
    confirm: str = ""


def agent_names(agents: Iterable[AgentInfo]) -> dict[str, str]:
    """Names by slug and by id: the contract permits either where an agent is meant."""
    return {key: agent.name for agent in agents for key in (agent.slug, agent.id)}


@dataclass(frozen=True, slots=True)
class Bought:
    """What the reader has bought: the paid subscription that runs, and the orders that wait for their payment."""

    paid: SubscriptionInfo | None = None
    waiting: Sequence[OrderInfo] = ()


NOTHING = Bought()
RUNNING = frozenset({"active", "past_due", "canceled"})


def bought(subscriptions: Sequence[SubscriptionInfo], orders: Sequence[OrderInfo]) -> Bought:
    """What counts for the page of plans."""
    paid = next((one for one in subscriptions if one.price.minor and one.status in RUNNING), None)
    return Bought(paid, [one for one in orders if one.state == "pending"])


def plan_cards(plans: Sequence[PlanInfo], names: Mapping[str, str], has: Bought = NOTHING) -> list[PlanCard]:
    """Plans in the tenant's order; next to the current one they say what is different."""
    current = next((plan for plan in plans if plan.current), None)
    waiting = {order.plan: order.id for order in has.waiting}
    return [
        PlanCard(
            slug=plan.slug,
            name=plan.name,
            description=plan.description,
            price=formats.money(plan.price),
            per="" if plan.price.minor == 0 else words.per(plan.interval),
            free=plan.price.minor == 0,
            current=plan.current,
            ticks=_ticks(plan, current, names),
            order_id=waiting.get(plan.slug) or waiting.get(plan.id) or "",
            blocked=_blocked(plan, has.paid),
        )
        for plan in plans
    ]


def can_change(cards: Sequence[PlanCard]) -> bool:
    """Whether there is another plan that could be taken now."""
    return any(not card.current and not card.blocked for card in cards)


def plans_lead(cards: Sequence[PlanCard], has: Bought, reads: bool) -> str:
    """What is true of changing plans for who reads; ``reads``: whether that is somebody with an account."""
    if has.paid is not None:
        return words.PLANS_LEAD_PAID if can_change(cards) else words.PLANS_LEAD_END
    return words.PLANS_LEAD_FREE if reads and any(card.current for card in cards) else words.PLANS_LEAD


def _blocked(plan: PlanInfo, paid: SubscriptionInfo | None) -> str:
    """A plan without a price is not taken while a paid one runs: it would be given away by accident."""
    if paid is None or plan.current or plan.price.minor:
        return ""
    ending = paid.cancel_at_period_end or paid.status == "canceled"
    return words.free_after(paid.plan_name, ending)


def _ticks(plan: PlanInfo, current: PlanInfo | None, names: Mapping[str, str]) -> list[Tick]:
    before = {_what(limit): limit for limit in current.limits} if current and not plan.current else {}
    ticks = []
    for limit in plan.limits:
        had = before.get(_what(limit))
        hint = words.you_have(had.text) if had and had.amount != limit.amount else ""
        ticks.append(Tick(limit.text, no=limit.amount == 0, hint=hint))
    if not ticks:
        ticks.append(Tick(words.NO_LIMITS))
    if plan.verified_email:
        ticks.append(Tick(words.NEEDS_EMAIL))
    inside = [names[agent] for agent in plan.agents if agent in names]
    everybody = list(dict.fromkeys(names.values()))
    if inside:
        ticks.append(Tick(words.EVERY_AGENT if len(inside) == len(everybody) > 1 else words.listed(inside)))
    ticks.append(Tick(words.EVERY_CHANNEL if plan.channels is None else words.channels_text(plan.channels)))
    lost = [name for name in _agents_of(current, names) if name not in inside] if current and not plan.current else []
    return [*(tick for tick in ticks if tick.text), *(Tick(words.missing(name), no=True) for name in lost)]


def _agents_of(plan: PlanInfo | None, names: Mapping[str, str]) -> list[str]:
    return [names[agent] for agent in plan.agents if agent in names] if plan else []


def _what(limit: LimitInfo) -> tuple[str, str, str | None, str | None]:
    return limit.metric, limit.window, limit.agent, limit.channel


def meter(limit: LimitStatus, names: Mapping[str, str]) -> Meter:
    """One limit. A cost is shown as a share: what a model costs is the seller's business."""
    taken = min(limit.used + limit.held, limit.amount)
    scope = words.scope_text(
        names.get(agent, agent) if (agent := limit.scope.get("agent")) else None, limit.scope.get("channel")
    )
    if limit.metric == "cost":
        text = words.percent_used(100 if limit.amount == 0 else taken * 100 // limit.amount)
    else:
        text = words.used_of(formats.number(limit.used), formats.number(limit.amount))
    held = limit.held and limit.metric not in ("cost", "concurrent")
    return Meter(
        label=words.limit_label(limit.metric, limit.window, scope),
        text=text,
        value=taken,
        amount=max(limit.amount, 1),
        low=limit.amount * 0.8,
        high=limit.amount * 0.95,
        resets_at=limit.resets_at,
        no_reset=words.NO_RESET_NOW if limit.metric == "concurrent" else words.NO_RESET,
        note=words.in_progress(limit.held) if held and limit.metric == "calls" else "",
    )


def left_line(limits: Sequence[LimitStatus], agent: AgentInfo) -> str:
    """What is left of the limit that ends first, for this agent on the web; counted in messages where one is."""
    here = [
        limit
        for limit in limits
        if limit.scope.get("agent", agent.slug) in (agent.slug, agent.id)
        and limit.scope.get("channel", "web") == "web"
        and limit.metric not in ("cost", "concurrent")
        and limit.amount > 0
    ]
    tightest = min(here, key=lambda limit: (limit.metric != "calls", limit.remaining / limit.amount), default=None)
    if tightest is None:
        return ""
    return words.left(max(tightest.remaining, 0), tightest.amount, tightest.metric, tightest.window)


_NEEDS_PLAN = frozenset({"no_subscription", "subscription_ended", "agent_not_in_plan", "channel_not_in_plan"})
_NEEDS_PAYMENT = frozenset({"subscription_pending", "payment_overdue"})


def denial(decision: Decision, agent: AgentInfo, plans: Sequence[PlanInfo], names: Mapping[str, str]) -> Card:
    """A decision as the card in the place of an answer."""
    limit, by_limit = decision.limit, decision.reason == "limit_reached" and decision.limit is not None
    title = words.denial_title(decision.reason)
    if by_limit and limit is not None:
        title = words.limit_title(limit.metric, limit.window, limit.amount, limit.remaining)
    # The message names a time of the tenant's zone; the meter says the same in the reader's.
    comes_back = by_limit and limit is not None and limit.amount and limit.resets_at is not None
    return Card(
        title=title,
        text="" if comes_back else decision.message,
        meter=meter(limit, names) if limit is not None and limit.amount else None,
        help=_help(decision, agent, plans),
        actions=_actions(decision),
        again=decision.retryable,
    )


def _actions(decision: Decision) -> list[Action]:
    plans, usage = Action(words.SEE_PLANS, "/plans"), Action(words.YOUR_USAGE, "/usage")
    if decision.reason in _NEEDS_PAYMENT:
        return [Action(words.HOW_TO_PAY, "/orders"), usage]
    if decision.reason in _NEEDS_PLAN:
        return [plans]
    if decision.reason == "limit_reached":
        return [usage] if decision.retryable else [plans, usage]
    if decision.reason == "email_unverified":
        return [Action(words.ACCOUNT, "/account")]
    return [Action(words.AGENTS, "/agents")]


def _help(decision: Decision, agent: AgentInfo, plans: Sequence[PlanInfo]) -> str:
    """What a plan would change, said in one sentence."""
    if decision.reason in ("agent_not_in_plan", "no_subscription"):
        having = plans_with(plans, agent)
        return words.included_in(having) if having else ""
    denied = decision.limit
    if decision.reason != "limit_reached" or denied is None or decision.retryable:
        return ""
    for plan in plans:
        if not plan.current and has_agent(plan, agent) and (more := _more(plan, denied)):
            return words.would_give(plan.name, more)
    return ""


def _more(plan: PlanInfo, denied: LimitStatus) -> str:
    """What a plan gives beyond the limit that said no; empty if it does not."""
    same = [limit for limit in plan.limits if limit.metric == denied.metric]
    if not same:
        return words.unlimited(denied.metric)
    of_window = [limit for limit in same if limit.window == denied.window]
    if of_window and of_window[0].amount <= denied.amount:
        return ""
    return (of_window or same)[0].text


def plans_with(plans: Sequence[PlanInfo], agent: AgentInfo) -> list[str]:
    """Names of the plans that contain an agent."""
    return [plan.name for plan in plans if has_agent(plan, agent)]


def has_agent(plan: PlanInfo, agent: AgentInfo) -> bool:
    """Whether a plan contains an agent."""
    return agent.slug in plan.agents or agent.id in plan.agents


def subscription(info: SubscriptionInfo) -> State:
    """A subscription, its state and what its owner can do."""
    paid = info.price.minor > 0
    tone, status = words.STATUSES.get(info.status, ("", info.status))
    running = info.status in RUNNING
    ending = info.cancel_at_period_end or info.status == "canceled"
    if running and ending:
        tone, status = words.STATUSES["canceled"]
    when = words.status_text(info.status, ending, paid)
    return State(
        id=info.id,
        name=info.plan_name,
        price=price(info),
        tone=tone,
        status=status,
        when=when if info.period_end else "",
        at=info.period_end,
        can_cancel=running and not ending and paid,
        can_resume=running and ending,
        confirm=words.cancel_confirm(info.plan_name),
    )


def price(info: SubscriptionInfo) -> str:
    """``€19 a month``, ``€0``."""
    return f"{formats.money(info.price)} {words.per(info.interval)}" if info.price.minor else formats.money(info.price)


def order(info: OrderInfo) -> State:
    """An order and its state."""
    tone, status = words.ORDER_STATES.get(info.state, ("", info.state))
    return State(
        info.id,
        info.plan_name,
        formats.money(info.amount, exact=True),
        tone,
        status,
        "",
        info.created_at,
        can_cancel=info.state == "pending",
    )
