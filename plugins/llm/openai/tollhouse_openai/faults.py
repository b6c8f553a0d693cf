"""From what went wrong to the one error that says it. Whatever the provider wrote goes into ``private`` only.

An answer of 4xx says that the request was refused: it did not run. One of 5xx, or of a content filter, may have cost its prompt
and says nothing, so it counts no output. Only 504 and 408 leave open how much the model had said by then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tollhouse.plugin import (
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    ContentFiltered,
    ContextTooLong,
    TokenUsage,
)

MAX_RETRY_AFTER = 86_400

_BY_STATUS: Mapping[int, type[BackendError]] = {
    401: BackendAuthFailed,
    402: BackendAuthFailed,  # out of money: nothing but its owner helps
    403: BackendAuthFailed,
    408: BackendTimeout,
    409: BackendUnavailable,
    413: ContextTooLong,
    425: BackendUnavailable,
    429: BackendRateLimited,
    504: BackendTimeout,
    508: BackendRejected,  # the address leads back to us, and will again
}

_BY_CODE: Mapping[str, type[BackendError]] = {
    "context_length_exceeded": ContextTooLong,
    "string_above_max_length": ContextTooLong,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "insufficient_quota": BackendAuthFailed,
    "billing_hard_limit_reached": BackendAuthFailed,
    "invalid_api_key": BackendAuthFailed,
    "rate_limit_exceeded": BackendRateLimited,
    "server_error": BackendUnavailable,
}

_TOO_LONG = ("maximum context length", "context window", "context length", "prompt is too long", "too many tokens")
"""How servers without OpenAI's error codes (vLLM, llama.cpp, Ollama …) say it, in a 400."""


def error_of_status(status: int, headers: Mapping[str, str], payload: Any, text: str, now: datetime) -> BackendError:
    """The error for an answer that is not 2xx. ``payload`` is its JSON, None if it has none."""
    error = error_object(payload)
    private = f"HTTP {status}: {describe(error) or text}"
    return _made(status, _kind(status, error), private, retry_after(headers, now))


def error_of_payload(error: Mapping[str, Any]) -> BackendError:
    """The error for an ``error`` object inside a 200, as some gateways send it."""
    code = error.get("code")
    status = code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else 502
    return _made(status, _kind(status, error), f"an error inside HTTP 200: {describe(error)}")


def _made(status: int, kind: type[BackendError], private: str, retry_after: int | None = None) -> BackendError:
    if kind is BackendTimeout:
        return kind(private=private, retry_after=retry_after)
    may_have_run = kind.may_have_run and (status >= 500 or kind is ContentFiltered)
    said = TokenUsage(output=0) if may_have_run else None
    return kind(private=private, retry_after=retry_after, usage=said, may_have_run=may_have_run)


def _kind(status: int, error: Mapping[str, Any]) -> type[BackendError]:
    code = error.get("code")
    if isinstance(code, str) and code in _BY_CODE and status in (400, 404, 422, 429, 502):
        return _BY_CODE[code]
    if status in (400, 422):
        message = str(error.get("message", "")).lower()
        return ContextTooLong if any(words in message for words in _TOO_LONG) else BackendRejected
    if status >= 500:
        return _BY_STATUS.get(status, BackendUnavailable)
    return _BY_STATUS.get(status, BackendRejected)  # a redirect, too, is a wrong base URL and stays one


def error_object(payload: Any) -> Mapping[str, Any]:
    """The error of a body, in OpenAI's form or a near one; empty if there is none."""
    if not isinstance(payload, dict):
        return {}
    error = payload.get("error", payload.get("detail", payload.get("message")))
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}


def describe(error: Mapping[str, Any]) -> str:
    """Code, type and message on one line, for the log."""
    return " ".join(str(error[key]) for key in ("code", "type", "message") if error.get(key))


def retry_after(headers: Mapping[str, str], now: datetime) -> int | None:
    """Whole seconds to wait: ``retry-after-ms``, or ``Retry-After`` in seconds or as a date (RFC 9110, section 10.2.3)."""
    for name, unit in (("retry-after-ms", 1000), ("Retry-After", 1)):
        raw = headers.get(name)
        if raw is None:
            continue
        try:
            seconds = float(raw) / unit
        except ValueError:
            seconds = _until(raw, now)
        if math.isfinite(seconds) and seconds >= 0:
            return min(math.ceil(seconds), MAX_RETRY_AFTER)
    return None


def _until(raw: str, now: datetime) -> float:
    try:
        return max((parsedate_to_datetime(raw) - now).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return math.nan
