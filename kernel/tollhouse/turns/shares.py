"""What customers see of limits of model cost: how much of it is used, in percent, and never what it costs."""

from __future__ import annotations

from dataclasses import replace

from tollhouse.plugin.access import Decision, LimitStatus, Principal

WHOLE = 100


def shown_to(principal: Principal, decision: Decision) -> Decision:
    """The decision as this person may see it: staff see money."""
    if _is_staff(principal) or not any(limit.metric == "cost" for limit in (*decision.limits, decision.limit) if limit):
        return decision
    limit = None if decision.limit is None else _share(decision.limit)
    return replace(decision, limit=limit, limits=tuple(map(_share, decision.limits)))


def limits_for(principal: Principal, limits: tuple[LimitStatus, ...]) -> tuple[LimitStatus, ...]:
    """The limits as this person may see them."""
    return limits if _is_staff(principal) else tuple(map(_share, limits))


def _is_staff(principal: Principal) -> bool:
    return principal.role is not None or principal.operator


def _share(limit: LimitStatus) -> LimitStatus:
    """In whole percent. Nothing is left only where nothing is left: less than one percent is one."""
    if limit.metric != "cost":
        return limit
    if limit.amount <= 0:
        return replace(limit, amount=WHOLE, used=WHOLE, held=0, remaining=0, unit="percent")
    left = -(-limit.remaining * WHOLE // limit.amount)
    used = min(WHOLE - left, limit.used * WHOLE // limit.amount)
    return replace(limit, amount=WHOLE, used=used, held=WHOLE - left - used, remaining=left, unit="percent")
