"""Replies as they are shown: rendered in a thread, within a budget of time for each page, and remembered.

A page whose replies take too long shows the oldest ones as they were written; the next look at it finds more of them rendered.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from markupsafe import Markup

PATIENCE = 1.5
"""Seconds that the replies of one page may take, with the wait for other pages' replies."""
SHORT = 400
"""So many characters in all are rendered at once: less than changing threads twice takes."""
REMEMBERED = 4 * 1024 * 1024
"""Characters of rendered replies that are kept: the page of a chat is looked at again and again."""


class Prose:
    """Renders replies one after the other: however many pages are asked for, one thread works on them."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._thread: ThreadPoolExecutor | None = None
        self._known: OrderedDict[bytes, Markup] = OrderedDict()
        self._size = 0

    async def of(self, texts: Sequence[str]) -> list[Markup]:
        """Each of ``texts`` as HTML. They are in the order of the page: the newest last."""
        if sum(map(len, texts)) <= SHORT:
            return self._all(texts, time.monotonic() + self.patience)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "prose")
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._all, texts, time.monotonic() + self.patience
        )

    def _all(self, texts: Sequence[str], end: float) -> list[Markup]:
        # Imported by the first reply that is shown: a process that only serves the API does without the parser's 2 MB.
        from tollhouse_web import markdown

        shown = []
        for text in reversed(texts):
            key = sha256(text.encode("utf-8", "surrogatepass")).digest()
            html = self._known.get(key)
            if html is not None:
                self._known.move_to_end(key)
            elif time.monotonic() > end:
                html = markdown.plain(text)
            else:
                html = markdown.to_html(text)
                self._remember(key, html)
            shown.append(html)
        return shown[::-1]

    def _remember(self, key: bytes, html: Markup) -> None:
        if len(html) > REMEMBERED // 8 or key in self._known:
            return
        self._known[key] = html
        self._size += len(html)
        while self._size > REMEMBERED:
            self._size -= len(self._known.popitem(last=False)[1])


PROSE = Prose()
