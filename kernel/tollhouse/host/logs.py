"""Keeps secrets out of the log: a tenant's own values in that tenant's records, and what looks like a credential in all.

On the handlers, not on a logger: libraries log too, and some vendors put a token into the address itself.

A value is masked if it looks like a secret (see :func:`is_secret`), and in the tenant's own records only: else whoever enters
``endpoint`` as a key would take that word out of everybody's log. What is no text (ids, numbers, addresses, the fields of the
access log) is never touched.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

MASK: Final = "***"
SHORTEST: Final = 10
MOST_TENANTS, MOST_FORMS = 4_096, 96
ACCESS_LOG: Final = "tollhouse.access"
FIELDS: Final = frozenset(
    ("tenant", "plugin", "connection", "user", "address", "status", "route", "method", "request_id", "id")
)
"""Extra fields of records that hold no text of others."""

TENANT: Final[ContextVar[UUID | None]] = ContextVar("tenant_in_work", default=None)
"""For whom this task works now; set by the gateway, by jobs, and by whatever opens or uses a connection."""

_PATTERNS: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (
        re.compile(r"\b(th[a-z]?_|whsec_|(?:sk|rk|pk)_(?:live|test)_|gh[a-z]_|hf_|gsk_|xox[a-z]-|AIza)[\w+/=-]{16,}"),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(sk-)(?=[A-Za-z_-]{0,40}\d)[\w-]{16,}"), rf"\1{MASK}"),  # as OpenAI's and Anthropic's
    (re.compile(r"\b(eyJ)[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), rf"\1{MASK}"),  # a JSON web token
    (re.compile(r"(?<!\d)(\d{6,12}):[A-Za-z0-9_-]{30,}"), rf"\1:{MASK}"),  # a Telegram bot token, also inside an address
    (
        re.compile(r"(authorization\W{1,5}(?:(?:bearer|basic|digest|token|apikey)\s{1,9})?)[^\s'\",;}\]]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(bearer|basic)\s{1,9}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(r"([?&](?:api_?key|key|(?:access_|refresh_|id_)?token|(?:client_)?secret|password)=)[^&\s'\"]+", re.I),
        rf"\1{MASK}",
    ),
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), rf"\1{MASK}@"),  # a password in an address
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "masked_by"} | FIELDS
_BREAKS: Final = {code: f"\\x{code:02x}" for code in (*range(9), *range(10, 32), 127)} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


class _Shown(str):
    """What an object looked like, without its secrets; the same where its ``repr`` is wanted."""

    __slots__ = ()
    __repr__ = str.__str__


def is_secret(value: str) -> bool:
    """Whether a value looks like a secret: ten characters or more, seven of them different, with letters and digits; or
    sixteen or more without a space; and no network address."""
    if len(value) < SHORTEST or len(set(value)) < 7:
        return False
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    if not mixed and (len(value) < 16 or " " in value):
        return False
    try:
        ip_address(value.strip("[]"))
    except ValueError:
        return True
    return False


class Scrubber(logging.Filter):
    """Masks secrets in log records. Knows the secrets that this process has decrypted, by tenant; the latest of each."""

    def __init__(self) -> None:
        super().__init__()
        self._known: OrderedDict[UUID, OrderedDict[str, None]] = OrderedDict()
        self._formatter = logging.Formatter()

    def __repr__(self) -> str:
        return f"Scrubber(secrets of {len(self._known)} tenants)"

    def remember(self, tenant_id: UUID, secrets: Iterable[str]) -> None:
        """Mask these from now on, in the records of this tenant, which is the one that is worked for."""
        TENANT.set(tenant_id)
        for secret in filter(is_secret, secrets):
            forms = self._known.setdefault(tenant_id, OrderedDict())
            self._known.move_to_end(tenant_id)
            for form in {secret, quote(secret, safe=""), repr(secret)[1:-1]}:
                forms[form] = None
                forms.move_to_end(form)
            while len(forms) > MOST_FORMS:
                forms.popitem(last=False)
        while len(self._known) > MOST_TENANTS:
            self._known.popitem(last=False)

    def scrub(self, text: str, tenant_id: UUID | None = None) -> str:
        """``text`` without the secrets of a tenant (of the one that is worked for, unless named), and without credentials."""
        known = self._known.get(tenant_id or TENANT.get() or UUID(int=0), ())
        # Longest first: one secret may begin like another, and no end of it may stay behind.
        for secret in sorted((each for each in tuple(known) if each in text), key=len, reverse=True):
            text = text.replace(secret, MASK)
        for pattern, mask in _PATTERNS:
            text = pattern.sub(mask, text)
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask everything that a formatter could print: message, traceback, and extra fields."""
        if getattr(record, "masked_by", None) == id(self):
            return True  # another handler was first; what were ids and numbers then is one text now
        record.masked_by = id(self)
        tenant = _tenant_of(record)
        if record.name != ACCESS_LOG:
            self._mask_message(record, tenant)
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            # Only the text is left, so that no formatter renders the exception itself again.
            record.exc_text, record.exc_info = self.scrub(record.exc_text, tenant), None
        if record.stack_info:
            record.stack_info = self.scrub(record.stack_info, tenant)
        for key, value in vars(record).items():
            if key not in _STANDARD:
                setattr(record, key, self._plain(value, tenant))
        return True

    def _mask_message(self, record: logging.LogRecord, tenant: UUID | None) -> None:
        """In the text itself and in what is put into it, but never in an id or a number that stands beside."""
        args: Any = record.args
        if isinstance(args, Mapping):
            args = {key: self._plain(value, tenant) for key, value in args.items()}
        elif args:
            args = tuple(self._plain(value, tenant) for value in args)
        record.msg, record.args = self._plain(record.msg, tenant), args
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit: say so rather than lose the record
            text = f"{record.msg} {args!r}"
        for pattern, mask in _PATTERNS:  # a credential may be put together by the message
            text = pattern.sub(mask, text)
        record.msg, record.args = text.translate(_BREAKS), None  # one record stays one line

    def _plain(self, value: Any, tenant: UUID | None) -> Any:
        if value is None or isinstance(value, bool | int | float | UUID):
            return value
        text = value if isinstance(value, str) else f"{value!s} {value!r}"
        clean = self.scrub(text, tenant)
        if clean == text:
            return value
        return clean if isinstance(value, str) else _Shown(self.scrub(str(value), tenant))


def _tenant_of(record: logging.LogRecord) -> UUID | None:
    """Whose record it is: what a plugin's logger says, else the tenant that is worked for."""
    try:
        return UUID(record.tenant)  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        return TENANT.get()


SCRUBBER: Final = Scrubber()
"""The process's own: log handlers belong to the process too."""


def install_scrubber(scrubber: Scrubber = SCRUBBER) -> Scrubber:
    """Put the filter on every handler of the root logger. To be called after logging is set up; twice is fine."""
    for handler in logging.getLogger().handlers:
        if scrubber not in handler.filters:
            handler.addFilter(scrubber)
    return scrubber
