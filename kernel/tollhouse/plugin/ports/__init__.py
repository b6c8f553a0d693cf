"""Ports: the kernel's use cases, as plugins see them.

Each port is a small Protocol, got by ``ctx.port(Turns)`` and bound to the context's tenant and principal. The kernel's own
services satisfy them; ``tollhouse.testing`` ships a fake of each, which passes the same conformance suite. All ids are strings
(UUIDs). Every method may raise ``Unauthenticated`` (the port needs a principal and there is none), ``NotFound`` and
``Unavailable``; what else it raises is said with the method.
"""

from typing import Any

from tollhouse.plugin.ports.page import Page
from tollhouse.plugin.ports.people import Accounts, KeyInfo, Keys, Profile, SessionInfo, Sessions, SignedIn
from tollhouse.plugin.ports.shop import (
    AgentInfo,
    Catalog,
    LimitInfo,
    OrderInfo,
    PlanInfo,
    Subscribed,
    SubscriptionInfo,
    Subscriptions,
    Usage,
)
from tollhouse.plugin.ports.talk import ConversationInfo, Conversations, Files, StoredMessage, TurnRequest, TurnResult, Turns

__all__ = [
    "PORTS",
    "Accounts",
    "AgentInfo",
    "Catalog",
    "ConversationInfo",
    "Conversations",
    "Files",
    "KeyInfo",
    "Keys",
    "LimitInfo",
    "OrderInfo",
    "Page",
    "PlanInfo",
    "Profile",
    "SessionInfo",
    "Sessions",
    "SignedIn",
    "StoredMessage",
    "Subscribed",
    "SubscriptionInfo",
    "Subscriptions",
    "TurnRequest",
    "TurnResult",
    "Turns",
    "Usage",
]

PORTS: tuple[type[Any], ...] = (
    Accounts,
    Sessions,
    Catalog,
    Turns,
    Conversations,
    Subscriptions,
    Usage,
    Keys,
    Files,
)
