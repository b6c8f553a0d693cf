"""The public contract between Tollhouse and its plugins: everything a plugin may import, and nothing else.

A plugin is an installed package with an entry point in the group ``tollhouse.plugins`` whose value is a *plugin object*:

    from tollhouse import plugin as th

    class Plugin:
        contract = (1, 0)                 # the contract version it was written for
        Settings = Settings               # optional: operator settings, a pydantic model with extra="forbid"
        ports = (th.Turns,)               # optional: the kernel's use cases it needs
        events = ("order.paid",)          # optional: what on_event is called for

        @th.impl
        def register_channels(self, settings):
            return [MyChannel()]

    plugin = Plugin()

The entry's name is the plugin's name: the key in ``plugins.toml``. Nothing is imported that is not enabled there. Plugins are
trusted code: they run in the server's process, and no sandbox is promised.
"""

from __future__ import annotations

from typing import Final

from tollhouse.plugin.access import METRICS, WINDOWS, Decision, LimitStatus, Metric, Principal, Role, Window
from tollhouse.plugin.auth_providers import AuthProvider, ExternalIdentity, SignInRequest
from tollhouse.plugin.base64 import decode_base64, encode_base64
from tollhouse.plugin.channels import (
    Answer,
    Attachment,
    Channel,
    ChannelCapabilities,
    Delivered,
    Messenger,
    Outgoing,
    RawRequest,
    RawResponse,
    Received,
    Receives,
)
from tollhouse.plugin.connectable import Connectable, Health
from tollhouse.plugin.content import (
    MODALITIES,
    FileRef,
    Media,
    Message,
    Modality,
    Part,
    Reply,
    Text,
    file_as_text,
    part_from_json,
    part_to_json,
)
from tollhouse.plugin.context import PluginContext, State, TenantInfo, context_of
from tollhouse.plugin.errors import (
    AccessDenied,
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    ConfigError,
    Conflict,
    ContentFiltered,
    ContextTooLong,
    FieldError,
    Forbidden,
    InvalidInput,
    NotFound,
    RateLimited,
    TollhouseError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from tollhouse.plugin.events import DeliveryFailed, Event, EventName, InboundEvent, InboundMessage, PaymentEvent, Sender
from tollhouse.plugin.hookspecs import NAME, impl
from tollhouse.plugin.llm import (
    ChecksMedia,
    Completion,
    CompletionRequest,
    CountsTokens,
    DescribesModels,
    LLMBackend,
    ModelInfo,
    ModelPrice,
    SuggestsPrices,
    TokenUsage,
)
from tollhouse.plugin.money import Money
from tollhouse.plugin.mounts import Command, Mount
from tollhouse.plugin.paths import local_path
from tollhouse.plugin.payments import (
    CheckoutOrder,
    NextAction,
    PaymentCapabilities,
    PaymentProvider,
    PaymentState,
    short_reference,
)
from tollhouse.plugin.pointers import pointer_of, steps_of
from tollhouse.plugin.ports import (
    PORTS,
    Accounts,
    AgentInfo,
    Catalog,
    ConversationInfo,
    Conversations,
    Files,
    KeyInfo,
    Keys,
    LimitInfo,
    OrderInfo,
    Page,
    PlanInfo,
    Profile,
    SessionInfo,
    Sessions,
    SignedIn,
    StoredMessage,
    Subscribed,
    SubscriptionInfo,
    Subscriptions,
    TurnRequest,
    TurnResult,
    Turns,
    Usage,
)

CONTRACT: Final = (1, 0)
"""The version of this contract. A plugin that asks for a newer one stops the start."""

GROUP: Final = "tollhouse.plugins"
"""The entry-point group in which plugins are found."""

__all__ = [
    "CONTRACT",
    "GROUP",
    "METRICS",
    "MODALITIES",
    "NAME",
    "PORTS",
    "WINDOWS",
    "AccessDenied",
    "Accounts",
    "AgentInfo",
    "Answer",
    "Attachment",
    "AuthProvider",
    "BackendAuthFailed",
    "BackendError",
    "BackendRateLimited",
    "BackendRejected",
    "BackendTimeout",
    "BackendUnavailable",
    "BadCompletion",
    "Catalog",
    "Channel",
    "ChannelCapabilities",
    "CheckoutOrder",
    "ChecksMedia",
    "Command",
    "Completion",
    "CompletionRequest",
    "ConfigError",
    "Conflict",
    "Connectable",
    "ContentFiltered",
    "ContextTooLong",
    "ConversationInfo",
    "Conversations",
    "CountsTokens",
    "Decision",
    "Delivered",
    "DeliveryFailed",
    "DescribesModels",
    "Event",
    "EventName",
    "ExternalIdentity",
    "FieldError",
    "FileRef",
    "Files",
    "Forbidden",
    "Health",
    "InboundEvent",
    "InboundMessage",
    "InvalidInput",
    "KeyInfo",
    "Keys",
    "LLMBackend",
    "LimitInfo",
    "LimitStatus",
    "Media",
    "Message",
    "Messenger",
    "Metric",
    "Modality",
    "ModelInfo",
    "ModelPrice",
    "Money",
    "Mount",
    "NextAction",
    "NotFound",
    "OrderInfo",
    "Outgoing",
    "Page",
    "Part",
    "PaymentCapabilities",
    "PaymentEvent",
    "PaymentProvider",
    "PaymentState",
    "PlanInfo",
    "PluginContext",
    "Principal",
    "Profile",
    "RateLimited",
    "RawRequest",
    "RawResponse",
    "Received",
    "Receives",
    "Reply",
    "Role",
    "Sender",
    "SessionInfo",
    "Sessions",
    "SignInRequest",
    "SignedIn",
    "State",
    "StoredMessage",
    "Subscribed",
    "SubscriptionInfo",
    "Subscriptions",
    "SuggestsPrices",
    "TenantInfo",
    "Text",
    "TokenUsage",
    "TollhouseError",
    "TooLarge",
    "TurnRequest",
    "TurnResult",
    "Turns",
    "Unauthenticated",
    "Unavailable",
    "Usage",
    "Window",
    "context_of",
    "decode_base64",
    "encode_base64",
    "file_as_text",
    "impl",
    "local_path",
    "part_from_json",
    "part_to_json",
    "pointer_of",
    "short_reference",
    "steps_of",
]
