"""From litellm's exceptions to ours, by the names of their classes, so that litellm need not be imported for it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tollhouse.plugin import (
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    ContentFiltered,
    ContextTooLong,
    TokenUsage,
)

MAX_PRIVATE = 1_000

_BY_NAME: Mapping[str, type[BackendError]] = {
    "AuthenticationError": BackendAuthFailed,
    "PermissionDeniedError": BackendAuthFailed,
    "PaymentRequiredError": BackendAuthFailed,
    "ContextWindowExceededError": ContextTooLong,
    "ContentPolicyViolationError": ContentFiltered,
    "RateLimitError": BackendRateLimited,
    "Timeout": BackendTimeout,
    "APITimeoutError": BackendTimeout,
    "TimeoutError": BackendTimeout,
    "ServiceUnavailableError": BackendUnavailable,
    "BadGatewayError": BackendUnavailable,
    "InternalServerError": BackendUnavailable,
    "APIConnectionError": BackendUnavailable,
    "APIResponseValidationError": BadCompletion,
    "JSONSchemaValidationError": BadCompletion,
    "NotFoundError": BackendRejected,
    "UnprocessableEntityError": BackendRejected,
    "BadRequestError": BackendRejected,
    "ValueError": BackendRejected,
    "TypeError": BackendRejected,
}
"""The first class of an exception's ancestry that is in here decides, so children come before ``BadRequestError``."""


_BY_STATUS: Mapping[int, type[BackendError]] = {
    401: BackendAuthFailed,
    402: BackendAuthFailed,
    403: BackendAuthFailed,
    408: BackendTimeout,
    429: BackendRateLimited,
}
"""For errors without a class of their own: a 403 of an OpenAI-compatible host, say, arrives as a bare ``APIError``."""

_TOO_LONG = ("context length", "context window", "context_length_exceeded", "prompt is too long")


_NOT_SENT = frozenset(
    {
        "ConnectError", "ConnectTimeout", "ClientConnectorError", "ClientConnectorDNSError", "ClientConnectorSSLError",
        "ClientConnectorCertificateError", "ConnectionTimeoutError", "ConnectionRefusedError", "gaierror", "PoolTimeout",
        "UnsupportedParamsError",
    }
)  # fmt: skip
"""What is behind an exception if nothing was sent: nobody was reached, or litellm itself refused the request."""


def error_of(error: Exception, key: str) -> BackendError:
    """The error of our tree for anything that litellm raised. Its text, without the key, is private.

    What stands behind the exception says whether the request may have run: no connection, and it did not; an answer with a
    status of 4xx, and it was refused; all else, and nobody knows.
    """
    text = f"{type(error).__name__}: {error}"
    shown = text.replace(key, "***") if key else text
    kind, behind = _kind(error, text), {cls for one in _chain(error) for cls in _names(one)}
    answered = any(name.endswith("HTTPStatusError") for name in behind)
    guessed = kind is BackendRejected and not answered  # litellm says it of an error inside an answer of 200, too
    may_have_run = (kind.may_have_run or guessed) and not behind & _NOT_SENT
    silent = may_have_run and answered and kind is not BackendTimeout
    return kind(
        private=shown[:MAX_PRIVATE],
        retry_after=_retry_after(error),
        may_have_run=may_have_run,
        usage=TokenUsage(output=0) if silent else None,
    )


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and what it was raised from."""
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found


def _names(error: BaseException) -> list[str]:
    return [cls.__name__ for cls in type(error).__mro__]


def _kind(error: Exception, text: str) -> type[BackendError]:
    kind = next((_BY_NAME[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _BY_NAME), None)
    if kind is None:
        status = getattr(error, "status_code", None)
        if not isinstance(status, int) or not 400 <= status < 500:
            return BackendUnavailable
        kind = _BY_STATUS.get(status, BackendRejected)
    if kind is BackendRejected and any(words in text.lower() for words in _TOO_LONG):
        return ContextTooLong  # litellm knows only some providers' wording
    return kind


def _retry_after(error: Exception) -> int | None:
    """Whole seconds of the provider's ``Retry-After``, if litellm kept its headers."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    try:
        seconds = float(headers["retry-after"]) if headers is not None else math.nan
    except (KeyError, TypeError, ValueError):
        return None
    return min(math.ceil(seconds), 86_400) if math.isfinite(seconds) and seconds >= 0 else None
