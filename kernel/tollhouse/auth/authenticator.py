"""From a token to a Principal: who it is, never what one may."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from tollhouse.auth import repository
from tollhouse.auth.tokens import ParsedToken, parse
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import TollhouseError, Unauthenticated
from tollhouse.settings import Settings
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store

log = logging.getLogger(__name__)

CACHE_SECONDS: Final = 1.0
CACHE_SIZE: Final = 10_000
TOUCH_EVERY: Final = timedelta(minutes=1)
MAX_TOUCHES: Final = 100


@dataclass(slots=True)
class _Known:
    """A look-up under way or done. How old it is counts from before it was ``asked``."""

    asked: float
    task: asyncio.Task[Principal]


class Authenticator:
    """Says who a token belongs to. One per process; ``aclose`` at the end.

    An answer is remembered for at most a second, so that a revoked key, an ended session, a blocked user or a changed role is
    effective in every process within it; services of the same process call :meth:`forget`, which is at once.
    """

    def __init__(
        self, store: Store, settings: Settings, *, clock: Callable[[], float] = time.monotonic, size: int = CACHE_SIZE
    ) -> None:
        self._store = store
        self._idle = timedelta(hours=settings.session_idle_hours)
        self._clock = clock
        self._size = size
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._touching: dict[UUID, asyncio.Task[None]] = {}

    async def authenticate(self, token: str, *, max_age: float = CACHE_SECONDS) -> Principal:
        """Who this is. ``max_age``: seconds for which an answer is believed, where admission reads the credential again.

        Raises:
            Unauthenticated: the token is malformed (found without the database), unknown, expired or ended, or its user is
                blocked.
        """
        parsed = parse(token)
        if parsed.kind == "link":
            raise Unauthenticated()
        known = self._known.get(parsed.digest)
        if known is None or self._clock() >= known.asked + max_age:
            known = self._ask(parsed)
        return known.task.result() if known.task.done() else await asyncio.shield(known.task)

    def forget(self, user_id: UUID) -> None:
        """Believe nothing any more that this process remembers of a user."""
        stale = [digest for digest, known in self._known.items() if _is_of(known.task, user_id)]
        for digest in stale:
            del self._known[digest]

    async def aclose(self) -> None:
        """Finish what is being written."""
        await asyncio.gather(*self._touching.values(), *(known.task for known in self._known.values()), return_exceptions=True)

    def _ask(self, parsed: ParsedToken) -> _Known:
        known = _Known(self._clock(), asyncio.create_task(self._look_up(parsed)))
        self._known[parsed.digest] = known
        self._known.move_to_end(parsed.digest)
        if len(self._known) > self._size:
            self._known.popitem(last=False)

        def forget_failure(task: asyncio.Task[Principal]) -> None:
            if (task.cancelled() or task.exception() is not None) and self._known.get(parsed.digest) is known:
                del self._known[parsed.digest]

        known.task.add_done_callback(forget_failure)
        return known

    async def _look_up(self, parsed: ParsedToken) -> Principal:
        is_session = parsed.kind == "session"
        query = repository.AUTHENTICATE_SESSION if is_session else repository.AUTHENTICATE_KEY
        arguments = (self._idle, TOUCH_EVERY) if is_session else (TOUCH_EVERY,)

        async def work(conn: Any) -> Any:
            return await conn.fetchrow(query, parsed.tenant_id, parsed.digest, *arguments)

        row = await self._store.run(tenant_scope(parsed.tenant_id), work)
        if row is None:
            raise Unauthenticated()
        if row["stale"]:
            self._touch(parsed, row["id"], row["user_id"])
        return _principal(parsed, row)

    def _touch(self, parsed: ParsedToken, credential_id: UUID, user_id: UUID) -> None:
        """Note the use of the credential, beside the request. Skipped while many wait: the next request does it."""
        if credential_id not in self._touching and len(self._touching) < MAX_TOUCHES:
            task = asyncio.create_task(self._write_touch(parsed, credential_id, user_id))
            self._touching[credential_id] = task
            task.add_done_callback(lambda _: self._touching.pop(credential_id, None))

    async def _write_touch(self, parsed: ParsedToken, credential_id: UUID, user_id: UUID) -> None:
        touch = repository.touch_session if parsed.kind == "session" else repository.touch_key
        try:
            async with self._store.transaction(parsed.tenant_id) as conn:
                await touch(conn, parsed.tenant_id, credential_id, user_id)
        except TollhouseError:
            log.warning("the last use of a credential could not be noted", exc_info=True)
        except Exception:
            log.exception("the last use of a credential could not be noted")


def _principal(parsed: ParsedToken, row: Any) -> Principal:
    is_key = parsed.kind == "api_key"
    scopes = frozenset(row["scopes"]) if is_key and row["scopes"] is not None else None
    # A key that is not meant for the admin's side does not even carry the role: no check of a role can be fooled by it.
    return Principal(
        tenant_id=parsed.tenant_id,
        user_id=row["user_id"],
        auth_provider="api_key" if is_key else row["auth_provider"],
        channel="web" if not is_key and row["kind"] == "cookie" else "api",
        email=row["email"],
        name=row["name"] or None,
        role=row["role"] if scopes is None or "admin" in scopes else None,
        operator=row["operator"] and (scopes is None or "operator" in scopes),
        scopes=scopes,
        credential_id=row["id"],
        language=row["language"],
        credential_kind="api_key" if is_key else "session",
    )


def _is_of(task: asyncio.Task[Principal], user_id: UUID) -> bool:
    """Whether it is about this user, or may still turn out to be."""
    if not task.done():
        return True
    return not task.cancelled() and task.exception() is None and task.result().user_id == user_id
