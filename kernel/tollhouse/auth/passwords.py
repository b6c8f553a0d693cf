"""Passwords: argon2id in a bounded pool of threads.

Hashing is made expensive on purpose, so it happens beside the event loop, on two threads, with a queue that says no before it
grows beyond what would be answered in time: signing in can neither fill the memory nor hold up turns.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib import resources
from typing import Final, TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from tollhouse.auth.errors import HashingBusy
from tollhouse.plugin.errors import InvalidInput

T = TypeVar("T")

MIN_CHARS: Final = 8
MAX_BYTES: Final = 1024
MIN_DIFFERENT: Final = 4
LONG: Final = 64
"""From here on a password may repeat itself: nobody guesses how often."""
INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks by their category, and nothing to see."""
THREADS: Final = 2
QUEUE: Final = 100
HASHER: Final = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))
# Of random bytes that nobody kept, with the parameters above: checked where there is no hash, so that it takes as long.
DECOY: Final = "$argon2id$v=19$m=19456,t=2,p=1$4nehPT+6TT8a8F9uPf3j1g$fNp90GRizO9cHy9a6s1X9wTab0AJiNEsBzrrvz6/fyk"


class Passwords:
    """Hashes and checks passwords. One per process; ``close`` at the end."""

    def __init__(self, *, hasher: PasswordHash = HASHER, queue: int = QUEUE) -> None:
        self._hasher = hasher
        self._queue = queue
        self._waiting = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")

    def close(self) -> None:
        """Finish what is being hashed and let the threads go."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """The hash to store. Check the password with :func:`check_password` first."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Whether it is the password; and a new hash if the stored one was made with other parameters.

        ``stored`` None is an account that is not there or has no password: the same work is done for it, and the answer is no.
        """
        if not _hashable(password):
            password, stored = "", None
        matches, fresh = await self._run(lambda: self._hasher.verify_and_update(password, stored or DECOY))
        return (matches, fresh) if stored is not None else (False, None)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._queue:
            raise HashingBusy(retry_after=2)
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Counted down when the thread is done, not when the one who waits goes away: a hang-up does not free a thread.
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # retrieved here in case that nobody waits any more


def check_password(password: str, *, email: str | None = None, names: Iterable[str] = (), field: str = "password") -> None:
    """Whether it may become somebody's password: long enough, with something in it, not among the most common, and not what
    everybody knows of them: ``email``, or ``names`` (the tenant's, say). No other rule; it is stored as it is, to the letter.

    Raises:
        InvalidInput: it may not; says why.
    """
    if len(password) < MIN_CHARS:
        raise InvalidInput(f"A password needs at least {MIN_CHARS} characters", field=field)
    if not _hashable(password):
        raise InvalidInput(f"A password is at most {MAX_BYTES} bytes of valid text", field=field)
    seen = _seen(password)
    if not seen:
        raise InvalidInput("A password needs characters that can be seen", field=field)
    if len(set(seen)) < MIN_DIFFERENT and len(password) < LONG:
        raise InvalidInput(f"A password needs at least {MIN_DIFFERENT} different characters", field=field)
    if email is not None and seen in {_seen(part) for part in (email, *email.split("@"))}:
        raise InvalidInput("The password must not be your e-mail", field=field)
    if seen in {_seen(name) for name in names}:
        raise InvalidInput("The password must not be a name that everybody knows", field=field)
    if password.casefold() in common_passwords() or seen in common_passwords():
        raise InvalidInput("That is one of the most common passwords; choose one that is harder to guess", field=field)


def _seen(text: str) -> str:
    """What of a text the eye tells apart: no case, no width, no blanks, nothing invisible."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in plain if unicodedata.category(char)[0] not in "CZ" and not INVISIBLE.fullmatch(char))


@lru_cache(maxsize=1)
def common_passwords() -> frozenset[str]:
    """The shipped list of common passwords, in lower case."""
    text = resources.files("tollhouse.auth").joinpath("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("# "))


def _hashable(password: str) -> bool:
    try:
        return len(password.encode()) <= MAX_BYTES
    except UnicodeEncodeError:
        return False
