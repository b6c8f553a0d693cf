"""Running a prepared call: retries, the fallback, one repair, post-processing. No transaction is open, and no policy known."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from uuid import UUID

from tollhouse.plugin.content import Message, Reply, Text
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import (
    BackendAuthFailed,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    TollhouseError,
    Unavailable,
)
from tollhouse.plugin.llm import Completion
from tollhouse.records import record
from tollhouse.runtime.bounds import text_bound
from tollhouse.runtime.call import Bound, Call, CallRecord, make
from tollhouse.runtime.errors import RunFailed
from tollhouse.runtime.polish import joined, polish
from tollhouse.runtime.prepare import REPAIR_TOKENS, Candidate, Planned, Prepared

log = logging.getLogger(__name__)

RETRIES: Final = 2
ASKED_AGAIN: Final = 1
"""How often for an answer that cannot be used: each is paid for, and most would be the same again."""
BACKOFF: Final = 0.5
MAX_WAIT: Final = 5.0
"""A provider that asks to wait longer than this (seconds) is not waited for."""
LEAST: Final = 1.0
"""With less time left than this (seconds) no further call is begun."""
LEAST_OUTPUT: Final = 16
MAX_PROBLEM: Final = 600

Connect: TypeAlias = Callable[[TenantInfo, UUID, int | None], Awaitable[Bound]]


@record(frozen=True, slots=True)
class Outcome:
    """A reply, the candidate that gave it, and every call it took (the last one is its own, or its repair)."""

    reply: Reply
    calls: tuple[CallRecord, ...]
    candidate: Candidate


class Runtime:
    """Calls models. Holds no state of a tenant."""

    def __init__(
        self,
        connect: Connect,
        *,
        deadline: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``connect`` gives a connection's backend and context (by tenant, connection and its revision). ``deadline``: seconds
        for one run with all its retries; by default twice what one call may take."""
        self.connect = connect
        self.deadline = deadline
        self.sleep = sleep

    async def run(self, prepared: Prepared, max_output_tokens: int, attempt_id: str) -> Outcome:
        """Get a reply of at most ``max_output_tokens``, all calls for it that are charged together.

        Raises:
            RunFailed: no model answered; ``error`` says why, ``calls`` what was tried.
        """
        run = _Run(self, prepared, max_output_tokens, attempt_id)
        try:
            reply, candidate = await run.answer()
        except BackendError as error:
            raise RunFailed(error, tuple(run.calls)) from error
        except Exception as bug:
            if not run.calls:
                raise
            # What the calls used is owed to their provider, whatever went wrong with their answer here.
            log.exception("a model's answer could not be made a reply")
            spoilt = BadCompletion(private=f"{type(bug).__name__}, after the model had answered")
            raise RunFailed(spoilt, tuple(run.calls)) from bug
        return Outcome(reply, tuple(run.calls), candidate)


class _Run:
    """One run: what it may still use, and what it did."""

    def __init__(self, runtime: Runtime, prepared: Prepared, granted: int, attempt_id: str) -> None:
        self.runtime = runtime
        self.prepared = prepared
        self.granted = granted
        self.attempt_id = attempt_id
        self.calls: list[CallRecord] = []
        # Time for one model to take all of its own, and for another call as long as that.
        self.end = time.monotonic() + (runtime.deadline or prepared.timeout * 2 + LEAST)

    async def answer(self) -> tuple[Reply, Candidate]:
        bound, call, completion = await self._first_answer()
        polished = await polish(self.prepared.version, completion)
        if polished.problem is not None:
            completion = await self._repaired(bound, call, completion, polished.problem)
            polished = await polish(self.prepared.version, completion)
            if polished.problem is not None:
                raise BadCompletion(private=f"the repaired reply does not match the schema: {polished.problem}"[:MAX_PROBLEM])
        return polished.reply, call.planned.candidate

    async def _first_answer(self) -> tuple[Bound, Call, Completion]:
        """The first candidate's answer, else the next one's."""
        failure: BackendError | None = None
        for place, planned in enumerate(self.prepared.estimate.per_candidate):
            if failure is not None and self._left() < LEAST:
                break
            try:
                return await self._ask(planned, place)
            except BackendError as error:
                if not (error.may_retry or isinstance(error, BackendAuthFailed | BadCompletion)):
                    raise
                failure = error
                log.warning("model %s failed: %s", planned.candidate.model, error.http_code)
        assert failure is not None, "a prepared call has candidates"
        raise failure

    async def _ask(self, planned: Planned, place: int) -> tuple[Bound, Call, Completion]:
        bound = await self._connected(planned.candidate)
        call = Call(
            planned=planned,
            messages=planned.messages,
            prompt_tokens=planned.prompt_tokens,
            max_output_tokens=min(self.granted, planned.max_output_tokens),
            parameters=self.prepared.parameters,
            attempt_id=f"{self.attempt_id}.{place}" if place else self.attempt_id,  # another request, another key
        )
        for tries in range(RETRIES + 1):
            try:
                return bound, call, await self._make(bound, call)
            except BackendError as error:
                # Whoever has just been too slow is not asked again while another is waiting to be asked.
                others = place + 1 < len(self.prepared.estimate.per_candidate)
                wait = None if others and isinstance(error, BackendTimeout) else self._pause(error, tries)
                if wait is None:
                    raise
                await self.runtime.sleep(wait)
        raise AssertionError("unreachable")

    async def _connected(self, candidate: Candidate) -> Bound:
        try:
            return await self.runtime.connect(self.prepared.tenant, candidate.connection_id, candidate.revision)
        except BackendError:
            raise
        except Unavailable as error:
            raise BackendUnavailable(private=error.detail) from error
        except TollhouseError as error:
            raise BackendAuthFailed(private=f"{error.http_code}: {error.detail}") from error

    async def _make(self, bound: Bound, call: Call) -> Completion:
        left = self._left()
        if left <= 0:
            raise BackendTimeout(private="the time for this turn is used up")
        return await make(bound, call, min(self.prepared.timeout, left), self.calls)

    def _pause(self, error: BackendError, tries: int) -> float | None:
        """How long to wait before asking the same model again; None: do not."""
        asked = error.retry_after or 0
        most = ASKED_AGAIN if isinstance(error, BadCompletion) else RETRIES if error.may_retry else 0
        if tries >= most or asked > MAX_WAIT:
            return None
        wait = max(float(asked), BACKOFF * 2**tries * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
        return wait if self._left() - wait >= LEAST else None

    def _left(self) -> float:
        return self.end - time.monotonic()

    async def _repaired(self, bound: Bound, call: Call, completion: Completion, problem: str) -> Completion:
        """Ask the same model once to correct its JSON, with what is left of the output that was set aside."""
        text = joined(completion.parts)
        said = completion.usage.output if completion.usage is not None else None
        if said is None or type(said) is not int or not 0 <= said <= call.max_output_tokens:  # none, or not to be believed
            said = text_bound(text, call.planned.candidate.count)
        prompt = call.prompt_tokens + min(said, call.max_output_tokens) + REPAIR_TOKENS
        left = call.max_output_tokens - said
        if call.planned.window is not None:
            left = min(left, call.planned.window - prompt)
        if left < LEAST_OUTPUT:
            raise BadCompletion(private=f"no room to repair a reply that does not match the schema: {problem}"[:MAX_PROBLEM])
        hint = problem.encode("utf-8", "replace")[:MAX_PROBLEM].decode("utf-8", "ignore")
        ask = f"That does not match the required JSON schema. {hint}\nAnswer again with the corrected JSON only."
        repair = Call(
            planned=call.planned,
            messages=(*call.messages, Message("assistant", (Text(text),)), Message("user", (Text(ask),))),
            prompt_tokens=prompt,
            max_output_tokens=left,
            parameters=call.parameters,
            attempt_id=f"{call.attempt_id}.repair",
            repair=True,
        )
        return await self._make(bound, repair)
