"""The navigation, and what is said after a write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

Entry = tuple[str, str, str, str]
"""Name, label, path, icon."""

_MAIN: Final[Sequence[tuple[str, Sequence[Entry]]]] = (
    ("", (("overview", "Overview", "", "home"),)),
    (
        "Sell",
        (
            ("agents", "Agents", "/agents", "agent"),
            ("plans", "Plans", "/plans", "plan"),
            ("connections", "Connections", "/connections", "plug"),
        ),
    ),
    (
        "Customers",
        (
            ("users", "Users", "/users", "users"),
            ("subscriptions", "Subscriptions", "/subscriptions", "check"),
            ("orders", "Orders", "/orders", "receipt"),
        ),
    ),
    (
        "Numbers",
        (
            ("usage", "Usage", "/usage", "chart"),
            ("prices", "Model prices", "/prices", "key"),
        ),
    ),
    (
        "Business",
        (
            ("deliveries", "Deliveries", "/deliveries", "send"),
            ("audit", "Audit", "/audit", "audit"),
            ("settings", "Settings", "/settings", "gear"),
        ),
    ),
)
_MANAGED: Final = frozenset({"audit"})
_OPERATOR: Final[tuple[str, Sequence[Entry]]] = ("Installation", (("tenants", "Tenants", "/tenants", "shield"),))

TOASTS: Final[Mapping[str, str]] = {
    "saved": "Saved",
    "created": "Created",
    "draft": "Draft saved; nobody gets it before you activate it",
    "activated": "Active from the next message on",
    "published": "Published",
    "unpublished": "Taken back; nobody can talk to it now",
    "archived": "Archived",
    "restored": "Back in use",
    "deleted": "Deleted",
    "enabled": "Switched on",
    "disabled": "Switched off",
    "version": "Saved as a new version; subscribers keep the one they have",
    "paid": "Confirmed as paid",
    "canceled": "Canceled",
    "refunded": "Marked as refunded",
    "blocked": "Blocked, and signed out everywhere",
    "unblocked": "Unblocked",
    "email_confirmed": "E-mail confirmed",
    "sessions": "Signed out everywhere",
    "revoked": "Key revoked",
    "erased": "Erased",
    "assigned": "Plan assigned",
    "extended": "Extended",
    "ended": "Ended",
    "resolved": "Resolved",
    "replayed": "It will be tried again",
    "dismissed": "It is put away",
    "suspended": "Suspended",
    "resumed": "Back in business",
    "price": "Price set, from now on",
}


def navigation(*, manages: bool, operator: bool) -> Sequence[tuple[str, Sequence[Entry]]]:
    """The groups of the left side: what leads to a refusal is not shown."""
    main = [(label, [one for one in entries if manages or one[0] not in _MANAGED]) for label, entries in _MAIN]
    return [*main, _OPERATOR] if operator else main
