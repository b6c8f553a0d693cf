"""Every reason code, with its status and its sentence. The reference page of reasons is made from this table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request is denied. ``status``: 402 wants a plan or more of it, 429 comes back by itself, 403 is a rule.

    ``sentence`` is for the person; ``meaning`` is for the reference page.
    """

    code: str
    status: int
    sentence: str
    meaning: str
    retryable: bool = False


TENANT_SUSPENDED = Reason(
    "tenant_suspended", 403, "This service is paused at the moment.", "The operator suspended the tenant."
)
TENANT_CAP = Reason(
    "tenant_cap_reached",
    403,
    "This service has reached its own limit for today; please come back tomorrow.",
    "The tenant's daily cost cap leaves no room for this turn.",
)
SCOPE = Reason("scope_missing", 403, "This key may not talk to agents.", "The API key lacks the scope `turns`.")
ROLE = Reason("role_missing", 403, "Only the team that manages this agent may try it out.", "A try-out needs a managing role.")
USER_BLOCKED = Reason("user_blocked", 403, "This account is blocked.", "An admin blocked the user.")
UNVERIFIED = Reason(
    "email_unverified",
    403,
    "Your e-mail address has to be confirmed first; ask us to do that.",
    "The plan wants a verified e-mail address.",
)
CHANNEL_MISSING = Reason(
    "channel_not_installed", 403, "This way of talking is not available here.", "The channel's plugin is not switched on."
)
NO_AGENT = Reason("agent_not_found", 404, "There is no such agent.", "The agent is unknown, foreign or not published.")
NO_VERSION = Reason(
    "agent_not_ready", 403, "This agent is being prepared; please try again later.", "The agent has no active prompt version."
)
NO_SUBSCRIPTION = Reason("no_subscription", 402, "Choose a plan first.", "The user has no current subscription.")
SUBSCRIPTION_PENDING = Reason(
    "subscription_pending", 402, "Your plan begins once the payment has arrived.", "The subscription is not paid yet."
)
SUBSCRIPTION_ENDED = Reason("subscription_ended", 402, "Your plan has ended.", "The subscription's time is over.")
PAYMENT_OVERDUE = Reason(
    "payment_overdue", 402, "Your plan is on hold because a payment is missing.", "Past due, and the grace period is over."
)
NOT_IN_PLAN = Reason("agent_not_in_plan", 403, "This agent is not part of your plan.", "The plan does not contain the agent.")
CHANNEL_NOT_IN_PLAN = Reason(
    "channel_not_in_plan", 403, "Your plan does not include this way of talking.", "The plan does not permit the channel."
)
LIMIT = Reason(
    "limit_reached",
    402,
    "Your allowance is used up.",
    "A limit has no room: 402 when its window is longer than an hour, 429 with `Retry-After` when it is shorter.",
)
PRICE_UNKNOWN = Reason(
    "price_unknown",
    403,
    "This agent cannot be used until its owner has set a price for its model.",
    "A cost limit applies and the price of the model is not known, so the cost cannot be bounded.",
)

REASONS: tuple[Reason, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Reason))
BY_CODE = {reason.code: reason for reason in REASONS}
