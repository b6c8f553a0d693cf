"""One call of a model: bounded in time, recorded whatever comes of it, and every failure a :class:`BackendError`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from tollhouse.border.calls import guarded
from tollhouse.border.errors import PluginFault
from tollhouse.plugin.content import Media, Message, Part, Text
from tollhouse.plugin.context import PluginContext
from tollhouse.plugin.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    ContentFiltered,
    TollhouseError,
)
from tollhouse.plugin.llm import Completion, CompletionRequest, LLMBackend, TokenUsage
from tollhouse.records import record
from tollhouse.runtime.bounds import text_bound
from tollhouse.runtime.polish import joined, with_text
from tollhouse.runtime.prepare import Planned
from tollhouse.runtime.thinking import without_thinking
from tollhouse.store.json_text import clean, clean_part

log = logging.getLogger(__name__)

MAX_PRIVATE = 500
MAX_WORD = 200
FINISHES = ("stop", "length", "content_filter", "tool_calls")
CHARACTERS_PER_TOKEN = 16
"""More than the text of any model has: prose has four or five, code with deep indents eight, rows of dashes some more."""
MAX_PARTS = 32
MAX_MEDIA = 20 * 1024 * 1024
MAX_MEDIA_NAME = 8_192
PROVIDERS_OWN = 4_096
"""Input tokens that a provider may add of its own (hidden instructions, what it looked up) and charge for."""


class Bound(Protocol):
    """A backend with the context of one of the tenant's connections, as the host hands it out."""

    @property
    def obj(self) -> LLMBackend: ...

    @property
    def ctx(self) -> PluginContext[Any]: ...


@record(frozen=True, slots=True)
class CallRecord:
    """One call that was really made to a provider, for the ledger.

    ``outcome`` is ``ok`` or the code of the error; ``error`` is its private text. ``answered``: the provider sent a completion,
    usable or not; ``may_have_run``: it may have worked on one. ``usage`` is None, or holds None, where the provider did not
    say; then ``input_bound`` and ``output_bound`` are the most it can have been (without an answer: all that was allowed).
    ``input_most`` and ``output_most`` are what the model can use at all, None if nobody knows: no more is believed.
    ``cut``: the provider sent more than it was asked for, and the rest was left out.
    """

    connection_id: UUID
    backend: str
    model: str
    usage: TokenUsage | None
    latency_ms: int
    outcome: str
    answered: bool
    input_bound: int
    output_bound: int
    may_have_run: bool = True
    input_most: int | None = None
    output_most: int | None = None
    error: str = ""
    reported_model: str | None = None
    request_id: str | None = None
    repair: bool = False
    cut: bool = False


@record(frozen=True, slots=True)
class Call:
    """What is asked of one candidate. ``prompt_tokens`` bounds ``messages``."""

    planned: Planned
    messages: tuple[Message, ...]
    prompt_tokens: int
    max_output_tokens: int
    parameters: Mapping[str, Any]
    attempt_id: str
    repair: bool = False


async def make(bound: Bound, call: Call, timeout: float, calls: list[CallRecord]) -> Completion:
    """Make the call once and append its record to ``calls``.

    Raises:
        BackendError: there is no usable completion; nothing else leaves here but a cancellation of the caller.
    """
    request = CompletionRequest(
        model=call.planned.candidate.model,
        messages=call.messages,
        max_output_tokens=call.max_output_tokens,
        timeout=timeout,
        attempt_id=call.attempt_id,
        parameters=deepcopy(dict(call.parameters)),  # the version's own, which is kept: not for a plugin to change
    )
    started = time.monotonic()
    completion: Completion | None = None
    cut = False
    try:
        completion, cut = _checked(await _bounded(bound, request), call)
        answer = _answer(completion)
        _refuse_empty(answer)
    except BackendError as error:
        error.detail, error.private = clean(error.detail), clean(error.private) if error.private is not None else None
        calls.append(_record(call, started, completion, error, cut))
        raise
    calls.append(_record(call, started, completion, None, cut))
    return answer


async def _bounded(bound: Bound, request: CompletionRequest) -> Any:
    """The backend's answer, with everything that can go wrong in a plugin turned into a ``BackendError``."""
    try:
        return await guarded(_name(bound), "complete", partial(bound.obj.complete, bound.ctx, request), request.timeout)
    except BackendError:
        raise
    except PluginFault as fault:
        if fault.timed_out or isinstance(fault.__cause__, TimeoutError):
            raise BackendTimeout(private=f"no answer within {request.timeout:g} s") from None
        raise _broken(fault.__cause__ or fault) from fault
    except TollhouseError as error:
        raise _broken(error) from error


def _broken(error: BaseException) -> BackendUnavailable:
    return BackendUnavailable(private=f"{type(error).__name__}: {error}"[:MAX_PRIVATE])


def _name(bound: Bound) -> str:
    return str(getattr(bound.obj, "name", type(bound.obj).__name__))


def _checked(found: Any, call: Call) -> tuple[Completion, bool]:
    """What the backend returned, if it is what the contract says, as far as it was granted; and whether there was more."""
    name = call.planned.candidate.backend_name
    if not isinstance(found, Completion) or not isinstance(found.parts, list | tuple) or not all(map(_is_part, found.parts)):
        log.error("llm backend %s returned %s instead of a Completion of parts", name, type(found).__name__)
        raise BadCompletion(private=f"the backend returned {type(found).__name__}")
    if found.usage is not None and not isinstance(found.usage, TokenUsage):
        log.error("llm backend %s returned usage of type %s", name, type(found.usage).__name__)
        raise BadCompletion(private=f"the backend returned usage of type {type(found.usage).__name__}")
    kept, cut = granted(found.parts, call.max_output_tokens)
    # What cannot be stored (a NUL, half a surrogate pair) goes here, so that an answer is the same when it is asked for again.
    finish = "length" if cut else found.finish if found.finish in FINISHES else "stop"
    parts, model, request_id = tuple(map(clean_part, kept)), _word(found.model), _word(found.request_id)
    return Completion(parts, found.usage, finish, model, request_id), cut


def _answer(completion: Completion) -> Completion:
    """Without what the model thought aloud; that was paid for, so the record of the call still has it."""
    text = joined(completion.parts)
    answer = without_thinking(text)
    return completion if answer == text else replace(completion, parts=with_text(completion.parts, answer))


def _word(found: Any) -> str | None:
    return clean(found[:MAX_WORD]) if isinstance(found, str) else None


def _is_part(part: Any) -> bool:
    return isinstance(part.text, str) if isinstance(part, Text) else isinstance(part, Media)


def granted(parts: Sequence[Part], tokens: int) -> tuple[list[Part], bool]:
    """As much of a reply as so many tokens can be, and whether there was more. A provider is held to what it was asked for:
    nothing larger is searched, stored or shown."""
    room, kept, cut = tokens * CHARACTERS_PER_TOKEN, list[Part](), len(parts) > MAX_PARTS
    for part in parts[:MAX_PARTS]:
        if isinstance(part, Text):
            cut = cut or len(part.text) > room
            part = part if len(part.text) <= room else Text(part.text[:room])
            room -= len(part.text)
        elif (isinstance(part.data, bytes) and len(part.data) > MAX_MEDIA) or len(f"{part.url}{part.name}") > MAX_MEDIA_NAME:
            cut = True
            continue
        kept.append(part)
    return kept, cut


def _refuse_empty(completion: Completion) -> None:
    """An empty reply is none, unless its length was used up (by reasoning): then asking again would be the same."""
    if completion.finish == "length" or any(isinstance(part, Media) or part.text.strip() for part in completion.parts):
        return
    if completion.finish == "content_filter":
        raise ContentFiltered(usage=completion.usage)
    raise BadCompletion(private=f"an empty completion, finish {completion.finish}", usage=completion.usage)


def _record(
    call: Call, started: float, completion: Completion | None, error: BackendError | None, cut: bool = False
) -> CallRecord:
    candidate = call.planned.candidate
    if completion is not None:
        usage, output = completion.usage, text_bound(joined(completion.parts), candidate.count)
    else:
        usage = error.usage if error is not None and isinstance(error.usage, TokenUsage) else None
        output = call.max_output_tokens
    input_most, output_most = _most(call)
    return CallRecord(
        connection_id=candidate.connection_id,
        backend=candidate.backend_name,
        model=candidate.model,
        usage=usage,
        latency_ms=int((time.monotonic() - started) * 1000),
        outcome="ok" if error is None else error.http_code,
        answered=completion is not None,
        input_bound=call.prompt_tokens,
        output_bound=min(output, call.max_output_tokens),
        may_have_run=error is None or error.may_have_run,
        input_most=input_most,
        output_most=output_most,
        error="" if error is None else (error.private or error.detail)[:MAX_PRIVATE],
        reported_model=None if completion is None else completion.model,
        request_id=None if completion is None else completion.request_id,
        repair=call.repair,
        cut=cut,
    )


def _most(call: Call) -> tuple[int | None, int | None]:
    """The most tokens that this call can have used, going in and coming out, as far as its model is known.

    Text has at most one token for each byte, beside what a provider adds of its own. Nobody knows that of media, which are read
    by the provider: they may fill the window.
    """
    info, window = call.planned.candidate.info, call.planned.window
    if info is not None and info.context_tokens is not None:
        window = info.context_tokens
    written = window if info is None or info.max_output_tokens is None else info.max_output_tokens
    if any(not isinstance(part, Text) for said in call.messages for part in said.parts):
        return window, written
    read = 2 * call.prompt_tokens + PROVIDERS_OWN
    return (read if window is None else min(read, window)), written
