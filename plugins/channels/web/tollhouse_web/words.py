"""Every English text of the pages, so that a translation has one place to begin."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

# -- Everywhere ---------------------------------------------------------------------------------------------------------

SKIP = "Skip to content"
MENU = "Menu"
MAIN = "Main"
YOU = "You"
COPY = "Copy"
CODE = "code"
BACK = "Back"
SAVE = "Save changes"
CHATS = "Chats"
NEW_CHAT = "New chat"
RECENT = "Recent"
AGENTS = "Agents"
PLANS = "Plans"
USAGE = "Plan and usage"
ACCOUNT = "Account"
CONSOLE = "Console"
LIGHT, DARK, SYSTEM = "Light", "Dark", "As the system"
SIGN_IN = "Sign in"
FORGOTTEN = "Forgot your password? Whoever runs this site can give you a link that signs you in once."
SIGN_OUT = "Sign out"
REGISTER = "Create account"
SEE_PLANS = "See plans"
YOUR_USAGE = "Your usage"
PAGE_NEXT = "Next"
TRY_AGAIN = "Try again"

DONE = {
    "profile": "Your profile is saved.",
    "password": "Your password is changed. Every other session was ended.",
    "session": "The session was ended.",
    "revoked": "The key was revoked. It stopped working at once.",
    "subscribed": "Your plan is active.",
    "canceled": "Your plan will not renew.",
    "ended": "Your plan has ended.",
    "resumed": "Your plan renews again.",
    "withdrawn": "The order was withdrawn.",
    "renamed": "The chat has a new title.",
    "deleted": "The chat was deleted.",
}

# -- Landing and signing in ---------------------------------------------------------------------------------------------

SIGN_UP_TITLE = "Welcome"
START = "Create account"
START_FREE = "Start free"
TALK_TO = "Who you can talk to"
WHAT_IT_COSTS = "What it costs"
ONE_ACCOUNT = "One account, one allowance"
ONE_ACCOUNT_TEXT = "Your plan counts the same wherever you write from. You always see what is left and when it comes back."
SAYS_WHY = "A clear answer, always"
SAYS_WHY_TEXT = "If an agent cannot answer, you read why, how much you have used, and what would help."
YOURS = "Your words stay yours"
YOURS_TEXT = "Rename or delete a chat whenever you like. You can see and end every session and key of your account."

EMAIL = "E-mail"
PASSWORD = "Password"  # noqa: S105
PASSWORD_HINT = "At least 8 characters. A few unrelated words are easy to remember and hard to guess."  # noqa: S105
NAME = "Name"
NAME_HINT = "What agents may call you. You can leave it empty."
NEW_HERE = "New here?"
HAVE_ACCOUNT = "You have an account?"
EMAIL_TAKEN = "There is an account with this address already. Sign in instead, or use another address."
TYPE_AGAIN = "Type it again: a password is never put back into a page."
COOKIES_DROPPED = "Signing in does not work at this address"
COOKIES_DROPPED_TEXT = (
    "This page came over plain http, where browsers drop the cookie that keeps you signed in. Use its https address, or ask "
    "whoever runs this service."
)
CLOSED = "New accounts are by invitation"
CLOSED_TEXT = "Ask whoever runs this service for an invitation. If you have an account, you can sign in."

# -- Plans, orders, subscriptions ---------------------------------------------------------------------------------------

PLANS_LEAD = "Start with one and take another later. What you have used stays used."
PLANS_LEAD_PAID = "Another paid plan takes the place of yours as soon as it is paid. A free one can begin when yours has ended."
PLANS_LEAD_END = "Your plan runs to the end of what you paid for. After that you can take another."
PLANS_LEAD_FREE = "You can take another plan whenever you like. What you have used stays used."
YOUR_PLAN = "Your plan"
SUBSCRIBE = "Subscribe"
EVERY_AGENT = "All agents"
EVERY_CHANNEL = "Every channel"
NO_LIMITS = "No limits on use"
NO_PLANS = "There are no plans yet"
NO_PLANS_TEXT = "Once there is one, it is shown here."
ORDER_STAYS = "If you have paid it, wait for that; if not, withdraw it. A new order does not replace it."
NEEDS_EMAIL = "For people whose e-mail address is confirmed"
CONFIRM_FREE = "It begins at once and costs nothing."
CONFIRM_PAID = "It begins once your payment has arrived. Nothing is charged before you confirm."
PAY_WITH = "How would you like to pay?"
START_PLAN = "Start this plan"
ORDER_PLAN = "Order with obligation to pay"
ALREADY = "You have this plan already."
ORDER = "Order"
AMOUNT = "Amount"
STATE = "State"
ORDERED = "Ordered"
PAY_BY = "Payment"
REFERENCE = "Order number"
LONG_REFERENCE = "Long number"
HOW_TO_PAY = "How to pay"
WITHDRAW = "Withdraw order"
WITHDRAW_CONFIRM = "Nothing is charged. If you have paid already, do not withdraw: your plan begins once the payment is seen."
CHECK_AGAIN = "Check again"
ORDERS = "Orders"
NO_SUBSCRIPTION = "You have no plan"
NO_SUBSCRIPTION_TEXT = "Choose one, and you can talk to its agents at once or as soon as it is paid."
CHANGE_PLAN = "Change plan"
CANCEL_PLAN = "Cancel plan"
RESUME_PLAN = "Keep my plan"
EARLIER_PLANS = "Earlier plans"
LIMITS = "What you have used"
LIMITS_NONE = "Nothing limits your use at the moment."
NO_RESET = "Does not come back by itself"
NO_RESET_NOW = "Free again as soon as an answer is there"
RESETS = "Resets"

ORDER_STATES = {"pending": ("warn", "Waiting for payment"), "paid": ("ok", "Paid"), "canceled": ("", "Withdrawn")}
ORDER_TEXTS = {
    "pending": "Your plan begins once the payment has arrived. You can close this page.",
    "paid": "Thank you. Your plan is active.",
    "canceled": "This order was withdrawn. Nothing is owed.",
}
STATUSES = {
    "pending": ("warn", "Waiting for payment"),
    "active": ("ok", "Active"),
    "past_due": ("bad", "Payment overdue"),
    "canceled": ("warn", "Canceled"),
    "ended": ("", "Ended"),
}
PROVIDERS = {"manual": "Bank transfer or invoice"}
CHANNELS = {"web": "Web", "api": "API", "mobile": "phone app", "telegram": "Telegram", "whatsapp": "WhatsApp"}
_ON = {"web": "on the web", "api": "by API", "mobile": "in the phone app"}
_INTERVALS = {"day": "a day", "week": "a week", "month": "a month", "year": "a year", "once": "once"}

# -- Agents and chat ----------------------------------------------------------------------------------------------------

AGENTS_LEAD = "Everybody you can talk to here."
START_CHAT = "Start a chat"
NOT_NOW = "Not available to you now"
NO_AGENTS = "Nobody to talk to yet"
NO_AGENTS_TEXT = "Once an agent is offered, it is shown here."
NO_CHATS = "No chats yet"
NO_CHATS_TEXT = "Choose an agent and write the first message."
WHOM = "Who would you like to talk to?"
EARLIER = "Show earlier messages"
NEWEST = "Back to the newest messages"
MESSAGE = "Message"
ATTACH = "Attach files"
SEND = "Send"
ACTIONS = "Actions"
AGENT_GONE = "This agent is no longer offered. You can still read what was said."
EDIT_CHAT = "Rename or delete"
TITLE = "Title"
DELETE = "Delete"
DELETE_CHAT = "Delete chat"
DELETE_TEXT = "What was said is gone for good. What it used still counts."
NOT_ANSWERED = "There is no answer"
NOTHING_COUNTED = "Nothing was counted. What you wrote is kept."
LOST = "The server could not be reached"
LOST_TEXT = "What you wrote is kept. If it has arrived after all, it is not sent twice."
ON_ITS_WAY = "It is on its way, and was sent once."
STILL_RUNNING = "Your message is still being answered"
STILL_RUNNING_TEXT = "It was sent once and is counted once. The answer appears in the chat."
SENT_BEFORE = "This was sent before"
SENT_BEFORE_TEXT = "Your first try has arrived after all. Look at the chat before you send it again."
OPEN_CHAT = "Open the chat"
EMPTY_MESSAGE = "Write something, or attach a file."
PICTURE = "Picture"
FILE_GONE = "A file that is gone"
TOO_LARGE = "That is too large"
WRONG_KIND = "This file cannot be sent"
ENTER_SENDS = "Enter sends"
ENTER_BREAKS = "Ctrl+Enter sends"
ENTER_SWITCH = "Change what Enter does"

# What went wrong, what to do about it, and whether the same message can have an answer later. Some of the words of the kernel
# are meant for whoever runs the agent.
_FAILURES = {
    "model_failed": ("The model did not answer", "Try again in a moment.", True),
    "model_timeout": ("The model took too long", "Try again in a moment.", True),
    "model_busy": ("The model is busy", "Try again in a moment.", True),
    "model_unavailable": ("The model cannot be reached", "Try again in a moment.", True),
    "bad_completion": ("The model’s reply could not be understood", "Try again.", True),
    "interrupted": ("The answer was interrupted", "Try again.", True),
    "model_rejected": ("The model does not accept this message", "Change it, and send it anew.", False),
    "model_not_connected": ("This agent cannot answer at the moment", "Whoever runs this service has to repair it.", False),
    "connection_invalid": ("This agent cannot answer at the moment", "Whoever runs this service has to repair it.", False),
    "plugin_not_enabled": ("This agent cannot answer at the moment", "Whoever runs this service has to repair it.", False),
    "plugin_failed": ("This agent did not answer", "Try again in a moment.", True),
    "context_too_long": ("That is more than the model can read", "Shorten it, or start a new chat.", False),
    "content_filtered": ("The model’s content filter stopped this message", "Say it in other words.", False),
    "erased": ("This message was erased", "", False),
}
_CHARGED_NOTHING = "nothing was charged"

# -- Account ------------------------------------------------------------------------------------------------------------

PROFILE = "Profile"
LANGUAGE = "Language"
LANGUAGE_HINT = "Agents may answer in it. These pages are in English."
LANGUAGE_NONE = "No preference"
CHANGE_PASSWORD = "Change password"  # noqa: S105
CHANGE_PASSWORD_HINT = "Every other session is ended."  # noqa: S105
CURRENT_PASSWORD = "Current password"  # noqa: S105
NEW_PASSWORD = "New password"  # noqa: S105
SESSIONS = "Sessions"
SESSIONS_TEXT = "Where you are signed in. End what you do not recognise, and change your password."
THIS_SESSION = "This session"
LAST_SEEN = "Last seen"
END = "End"
KEYS = "API keys"
KEYS_TEXT = "For programs that talk to agents with your plan and your allowance."
KEY_NAME = "Name"
KEY_NAME_HINT = "Where you use it, for example: my laptop"
CREATE_KEY = "Create key"
KEY_NO_NAME = "Give the key a name."
KEY_SHOWN_ONCE = "Copy your key now"
KEY_SHOWN_ONCE_TEXT = "It is shown this once. If you lose it, revoke it and create another."
NO_KEYS = "No keys yet."
KEY_LAST_USED = "Last used"
KEY_NEVER = "Never used"
CREATED = "Created"
REVOKE = "Revoke"
REVOKE_CONFIRM = "Programs that use this key stop working at once. This cannot be undone."
USE_KEY = "How to use a key"
LANGUAGES = {
    "ar": "العربية",
    "cs": "Čeština",
    "de": "Deutsch",
    "en": "English",
    "es": "Español",
    "fr": "Français",
    "hi": "हिन्दी",
    "it": "Italiano",
    "ja": "日本語",
    "ko": "한국어",
    "nl": "Nederlands",
    "pl": "Polski",
    "pt": "Português",
    "tr": "Türkçe",
    "uk": "Українська",
    "zh": "中文",
}

# -- Denials: the headline by reason ------------------------------------------------------------------------------------

_DENIALS = {
    "no_subscription": "You need a plan first",
    "subscription_pending": "Your plan is waiting for the payment",
    "subscription_ended": "Your plan has ended",
    "payment_overdue": "A payment is missing",
    "agent_not_in_plan": "This agent is not in your plan",
    "channel_not_in_plan": "Your plan does not include the web",
    "email_unverified": "Confirm your e-mail address first",
    "user_blocked": "This account is blocked",
    "tenant_suspended": "This service is paused",
    "tenant_cap_reached": "This service is used up for today",
    "agent_not_found": "There is no such agent",
    "agent_not_ready": "This agent is not ready yet",
}
_METRICS = {
    "calls": "Messages",
    "input_tokens": "Tokens read",
    "output_tokens": "Tokens written",
    "total_tokens": "Tokens",
    "cost": "Model allowance",
    "concurrent": "Messages at the same time",
}
_WINDOWS = {
    "minute": "this minute",
    "hour": "this hour",
    "day": "today",
    "month": "this month",
    "period": "this billing period",
    "lifetime": "in all",
    "now": "",
}
_OWNERS = {
    "minute": "this minute’s",
    "hour": "this hour’s",
    "day": "today’s",
    "month": "this month’s",
    "period": "this period’s",
}


def per(interval: str) -> str:
    """``a month``."""
    return _INTERVALS.get(interval, f"per {interval}")


def limit_label(metric: str, window: str, scope: str = "") -> str:
    """``Messages today with Atlas``."""
    return " ".join(part for part in (_METRICS.get(metric, metric), _WINDOWS.get(window, window), scope) if part)


def limit_title(metric: str, window: str, amount: int, remaining: int) -> str:
    """The headline of a denial by a limit: ``You have used today’s messages``."""
    what = _METRICS.get(metric, metric).lower()
    if amount == 0:
        return "Your plan does not include this"
    if metric == "concurrent":
        return "Another message is still being answered"
    if remaining > 0:
        return f"What is left of {_OWNERS.get(window, 'your')} {what} is not enough"
    return f"You have used {_OWNERS.get(window, 'all your')} {what}"


def denial_title(reason: str) -> str:
    """The headline of a denial by anything but a limit."""
    return _DENIALS.get(reason, "That is not possible")


def scope_text(agent: str | None, channel: str | None) -> str:
    """``with Atlas``, ``on Telegram``."""
    parts = [f"with {agent}"] if agent else []
    if channel:
        parts.append(_ON.get(channel) or f"on {CHANNELS.get(channel, channel)}")
    return " ".join(parts)


def used_of(used: str, amount: str) -> str:
    return f"{used} of {amount}"


def in_progress(count: int) -> str:
    return f"{count:,} in progress"


def percent_used(share: int) -> str:
    return f"{share}% used"


def left(remaining: int, amount: int, metric: str, window: str, scope: str = "") -> str:
    """The line under the composer: ``4 of 20 messages left today.``"""
    words = [f"{remaining:,} of {amount:,} {_METRICS.get(metric, metric).lower()} left", _WINDOWS.get(window, window), scope]
    return " ".join(word for word in words if word) + "."


def included_in(plans: Sequence[str]) -> str:
    return f"Included in {listed(plans)}."


def unlimited(metric: str) -> str:
    """What a plan without such a limit gives."""
    return f"{_METRICS.get(metric, metric).lower()} without a limit"


def try_in(seconds: int) -> str:
    return f"Try again in {seconds:,} {'second' if seconds == 1 else 'seconds'}."


def too_many_files(most: int) -> str:
    return f"One message holds at most {most} files. Take some away and send again."


def would_give(plan: str, text: str) -> str:
    return f"With {plan} you have {text}."


def attention(count: int) -> str:
    return "One thing needs your attention" if count == 1 else f"{count} things need your attention"


def listed(names: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


def channels_text(channels: Sequence[str]) -> str:
    names = listed([CHANNELS.get(name, name) for name in channels])
    return names[:1].upper() + names[1:]


def you_have(text: str) -> str:
    return f"you have {text}"


def missing(what: str) -> str:
    return f"Without {what}"


def tagline(agents: Sequence[str]) -> str:
    if not agents:
        return "Register, choose a plan, and start."
    return f"Ask {listed(agents[:3], 'or')} whenever you like. Begin in a minute, and always know what is left."


def subscribe_to(plan: str) -> str:
    return f"Subscribe to {plan}"


def write_to(agent: str) -> str:
    return f"Write to {agent}"


def failure(code: str, detail: str, usual: str | None = None) -> str:
    """``The model is busy; nothing was charged. Try again in a moment.``

    ``usual``: what the kernel says of every failure of this kind; a ``detail`` of another text is about this one, and is kept.
    """
    what, then, _ = _FAILURES.get(code, (detail, "", True))
    if usual is not None and detail != usual:
        what = detail
    what = what.rstrip(".")
    return " ".join(part for part in (f"{what}." if _CHARGED_NOTHING in what else f"{what}; {_CHARGED_NOTHING}.", then) if part)


def can_help(code: str) -> bool:
    """Whether the same message can have an answer later."""
    return _FAILURES.get(code, ("", "", True))[2]


def is_working(agent: str) -> str:
    return f"{agent} is working…"


def too_large(most: int) -> str:
    """``{size}`` is put in by the script, which knows it."""
    most_text = f"{most / 1024**2:.0f} MB"
    return f"These files are {{size}} together; one message holds at most {most_text}. Take one away or choose a smaller one."


_KINDS = {
    "image": ("pictures (PNG, JPEG, GIF, WebP)",),
    "audio": ("sound (WAV, MP3, Ogg, M4A, WebM)",),
    "file": ("PDF", "plain text"),
}


def wrong_kind(agent: str, modalities: Collection[str]) -> str:
    """``{name}`` is put in by the script."""
    kinds = [text for name, texts in _KINDS.items() if name in modalities for text in texts]
    takes = f"{agent} takes {listed(kinds)}" if kinds else f"{agent} reads what you write, and no files"
    return f"{{name}}: {takes}. Save it as one of these, or leave it out." if kinds else f"{{name}}: {takes}."


def chat_with(agent: str) -> str:
    return f"Chat with {agent}"


def status_text(status: str, canceling: bool, paid: bool) -> str:
    """What a subscription's state means for its owner; the date follows."""
    if status in ("active", "canceled") and canceling:
        return "Ends"
    return {"active": "Renews" if paid else "", "past_due": "On hold since", "ended": "Ended"}.get(status, "")


def free_after(plan: str, ending: bool) -> str:
    if ending:
        return f"You can start it when {plan} has ended."
    return f"You have {plan}. Cancel it first; it then runs to the end of what you paid for."


def order_waits(plan: str) -> str:
    return f"Your order of {plan} waits for your payment."


def cancel_confirm(plan: str) -> str:
    return f"You keep {plan} until the end of the period you paid for. It does not renew after that."


def end_session_label(what: str) -> str:
    return f"End session: {what}"


def delete_label(title: str) -> str:
    return f"Delete “{title}”?"


def revoke_label(what: str) -> str:
    return f"Revoke {what}"


def provider_name(name: str, titles: Mapping[str, str] | None = None) -> str:
    return (titles or {}).get(name) or PROVIDERS.get(name, name.replace("_", " ").capitalize())
