"""The one error tree of Tollhouse.

Every expected failure carries a stable ``code`` (for programs), an HTTP ``status`` and a sentence for people; the gateway
renders it as an RFC 9457 problem or a page. Anything else that is raised is a bug and becomes a bare 500.

    TollhouseError
    ├── ConfigError              the installation is set up wrongly; at start it stops the process with its one line
    ├── InvalidInput         422 what was sent is malformed; ``errors`` names each field
    ├── Unauthenticated      401 no credential, or one that is not valid (any more)
    ├── Forbidden            403 known, but not allowed inside the own tenant
    ├── NotFound             404 unknown, or somebody else's: the two are never told apart
    ├── Conflict             409 the state does not permit it (now)
    ├── TooLarge             413 more bytes than the route takes
    ├── RateLimited          429 the gateway's protection of the server, never a plan's limit
    ├── AccessDenied     402/403/429 the policy engine said no; carries the Decision
    ├── Unavailable          503 something we depend on is down; nothing was charged
    └── BackendError         502 a model did not answer
        ├── BackendTimeout       504 retryable
        ├── BackendRateLimited   503 retryable
        ├── BackendUnavailable   502 retryable
        ├── BackendRejected      502 the model refuses this request; asking again gives the same
        ├── BackendAuthFailed    502 the connection's credentials are not accepted
        ├── ContextTooLong       422 more than the model can read
        ├── ContentFiltered      422 the provider's content filter stopped it
        └── BadCompletion        502 the reply could not be understood; asked once more here, never by the caller
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from tollhouse.plugin.access import Decision
    from tollhouse.plugin.llm import TokenUsage


class TollhouseError(Exception):
    """Root of the tree. ``detail`` is safe to show to the person who asked; private facts belong into the log."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str | None = None, *, retry_after: int | None = None, **extra: Any) -> None:
        """``retry_after`` is in seconds; ``extra`` becomes members of the problem document."""
        self.detail = detail or self.title
        self.retry_after = retry_after
        self.extra: Mapping[str, Any] = extra
        super().__init__(self.detail)

    @property
    def http_status(self) -> int:
        """The status to answer with; an instance may be more precise than its class."""
        return self.status

    @property
    def http_code(self) -> str:
        """The code to answer with; an instance may be more precise than its class."""
        return self.code

    @property
    def may_retry(self) -> bool:
        return self.retryable


class ConfigError(TollhouseError):
    """Bad configuration. Its text is one line that names the setting or plugin and says what to do."""

    code = "bad_configuration"
    title = "The installation is not set up correctly"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with the input. ``pointer`` is a JSON pointer (RFC 6901) such as ``#/parts/0/text``."""

    pointer: str
    detail: str


class InvalidInput(TollhouseError):
    """Malformed input: ``errors`` names each field. A single field may be given as ``field=`` for short."""

    code = "invalid_input"
    status = 422
    title = "That input is not valid"

    def __init__(
        self, detail: str | None = None, *, errors: Sequence[FieldError] = (), field: str | None = None, **extra: Any
    ) -> None:
        super().__init__(detail, **extra)
        if field is not None:
            errors = (*errors, FieldError("#/" + field.replace(".", "/"), self.detail))
        self.errors = tuple(errors)


def gather(*checks: Callable[[], object]) -> None:
    """Make every check, so that whoever filled in a form reads all that is wrong with it at once.

    Raises:
        InvalidInput: what the checks found, together.
    """
    found = []
    for check in checks:
        try:
            check()
        except InvalidInput as error:
            found.append(error)
    if len(found) == 1:
        raise found[0]
    if found:
        raise InvalidInput("Several fields are not valid", errors=[one for error in found for one in error.errors])


class Unauthenticated(TollhouseError):
    code = "unauthenticated"
    status = 401
    title = "Sign in first, or send a valid credential"


class Forbidden(TollhouseError):
    code = "forbidden"
    status = 403
    title = "You are not allowed to do that"


class NotFound(TollhouseError):
    """Unknown or foreign. The body never tells which: it does not repeat the id that was asked for."""

    code = "not_found"
    status = 404
    title = "There is nothing here"


class Conflict(TollhouseError):
    code = "conflict"
    status = 409
    title = "That is not possible in the present state"


class TooLarge(TollhouseError):
    code = "too_large"
    status = 413
    title = "That is larger than this address accepts"


class RateLimited(TollhouseError):
    code = "rate_limited"
    status = 429
    title = "Too many requests; slow down a little"
    retryable = True


class Unavailable(TollhouseError):
    code = "unavailable"
    status = 503
    title = "The service is not available for a moment; nothing was charged"
    retryable = True


class AccessDenied(TollhouseError):
    """The policy engine's no. Status and code come from the decision; see :class:`tollhouse.plugin.access.Decision`."""

    code = "access_denied"
    status = 403
    title = "Access denied"

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.message, retry_after=decision.retry_after)
        self.decision = decision

    @property
    def http_status(self) -> int:
        return self.decision.status

    @property
    def http_code(self) -> str:
        return self.decision.reason

    @property
    def may_retry(self) -> bool:
        return self.decision.retryable


class BackendError(TollhouseError):
    """A model did not answer. Raise one of the children; ``usage`` is what the provider charged all the same.

    ``private`` goes to the log and the ledger's error text, never to the user: providers put secrets into their texts.

    ``may_have_run``: whether the provider may have worked on it, and may charge the tenant. Say False only where the request
    surely never ran: it was not sent (connection refused, unknown host, TLS), or it was refused (a 4xx). What may have run is
    estimated: all of the prompt that was sent, and the most output that was allowed, but for what ``usage`` says of either.
    Each child has the default that is safe for it.
    """

    code = "model_failed"
    status = 502
    title = "The model did not answer; nothing was charged"
    may_have_run: bool = True

    def __init__(
        self,
        detail: str | None = None,
        *,
        private: str | None = None,
        usage: TokenUsage | None = None,
        retry_after: int | None = None,
        may_have_run: bool | None = None,
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.private = private
        self.usage = usage
        if may_have_run is not None:
            self.may_have_run = may_have_run


class BackendTimeout(BackendError):
    code = "model_timeout"
    status = 504
    title = "The model took too long; nothing was charged"
    retryable = True


class BackendRateLimited(BackendError):
    code = "model_busy"
    status = 503
    title = "The model is busy; try again in a moment"
    retryable = True
    may_have_run = False


class BackendUnavailable(BackendError):
    code = "model_unavailable"
    title = "The model cannot be reached; nothing was charged"
    retryable = True


class BackendRejected(BackendError):
    code = "model_rejected"
    title = "The model does not accept this request; nothing was charged"
    may_have_run = False


class BackendAuthFailed(BackendError):
    code = "model_not_connected"
    title = "This agent's model connection does not work; its owner has to renew it"
    may_have_run = False


class ContextTooLong(BackendError):
    code = "context_too_long"
    status = 422
    title = "That is more than the model can read; shorten it or start a new conversation"
    may_have_run = False


class ContentFiltered(BackendError):
    code = "content_filtered"
    status = 422
    title = "The model's content filter stopped this request"


class BadCompletion(BackendError):
    """The model answered, and was paid for it, but not with what can be shown. The runtime asks once more, and then the other
    model; whoever asked is not told to try again, for that would be paid for again."""

    code = "bad_completion"
    title = "The model's reply could not be understood; nothing was charged"
