"""The anchor's lines, told to an endpoint of somebody else's: what nobody who runs this installation can take back."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from tollhouse.reports import seal_repository as rows
from tollhouse.reports.seal_repository import ENDPOINT, Mark
from tollhouse.reports.sealing import Sealer

TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
MOST: Final = 500
"""Lines of one round: one that was away for long is told the rest in the next ones."""


async def tell_endpoint(sealer: Sealer, url: str) -> str:
    """Post every line that it has not taken yet, each as it stands in the file, signed. What went wrong, or nothing.

    What was not taken is told again in the next round.
    """
    async with sealer.store.operator() as conn:
        taken = await rows.mark(conn, ENDPOINT)
    since = taken.xid if taken is not None and taken.cluster == url else 0
    lines = await asyncio.to_thread(sealer.anchor.after, since)
    async with aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session:
        for sequence, line in lines[:MOST]:
            if why := await _post(session, url, line):
                return f"line {sequence} of the anchor was not taken by the endpoint of TOLLHOUSE_ANCHOR_URL: {why}"
            async with sealer.store.operator() as conn:
                await rows.move(conn, ENDPOINT, Mark(sequence, url))
    return ""


async def _post(session: aiohttp.ClientSession, url: str, line: str) -> str:
    try:
        headers = {"Content-Type": "application/json"}
        async with session.post(url, data=line.encode(), headers=headers, allow_redirects=False) as answer:
            return "" if answer.status < 300 else f"it answered {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return type(error).__name__
