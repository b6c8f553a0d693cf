"""Servers that others wrote, and that our plugins must get on with.

They run on Node.js (20 or newer), from ``node_modules`` beside this file, which ``make test`` fills.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

AIMOCK = Path(__file__).parent / "node_modules" / "@copilotkit" / "aimock"
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
KEY = "sk-peer-0123456789"

needs_aimock = pytest.mark.skipif(
    shutil.which("node") is None or not AIMOCK.exists(),
    reason="aimock is an npm package: it needs Node.js 20 with npm, and make test to install it",
)


@dataclass(frozen=True)
class AIMock:
    """An OpenAI-style server. It answers as its fixtures say, and refuses everything else."""

    address: str

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    async def received(self) -> list[dict[str, Any]]:
        """The bodies of the completions that it was asked for, oldest first."""
        journal = f"{self.address}/__aimock/journal?path=/v1/chat/completions"
        headers = {"authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession() as session, session.get(journal, headers=headers) as answer:
            return [entry["body"] for entry in await answer.json()]


@asynccontextmanager
async def aimock(folder: Path, fixtures: Sequence[Mapping[str, Any]]) -> AsyncIterator[AIMock]:
    """The server, while the block runs. It takes requests with :data:`KEY` only."""
    path = folder / "fixtures.json"
    path.write_text(json.dumps({"fixtures": fixtures}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ("node", str(AIMOCK / "dist" / "cli.js"), "--port", str(port), "--fixtures", str(path), "--strict")
    process = await asyncio.create_subprocess_exec(
        *command, "--log-level", "info", env={**os.environ, "AIMOCK_API_KEYS": KEY}, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            while b"listening" not in (line := await process.stdout.readline()):
                assert line, "aimock did not start"
        drain = asyncio.create_task(process.stdout.read())
        yield AIMock(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        await process.wait()
    await drain
