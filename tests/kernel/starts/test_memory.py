"""A process that serves gives back what only starting needed, and needs nothing of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.kernel.starts.conftest import Program, address, get
from tollhouse.wiring.memory import untouched

SMAPS = """\
55d0c0a00000-55d0c0a01000 r-xp 00001000 08:01 1311 /usr/bin/python3
Rss:                   4 kB
Anonymous:             0 kB
7f0000000000-7f0000010000 r-xp 00020000 08:01 2622 /usr/lib/with a space (deleted).so
Rss:                  64 kB
Anonymous:             0 kB
7f0000010000-7f0000012000 r--p 00030000 08:01 2622 /usr/lib/relocated.so
Rss:                   8 kB
Anonymous:             8 kB
7f0000012000-7f0000014000 rw-p 00032000 08:01 2622 /usr/lib/written.so
Rss:                   8 kB
Anonymous:             0 kB
7f0000014000-7f0000016000 r--s 00000000 08:01 3933 /usr/lib/shared.cache
Rss:                   8 kB
Anonymous:             0 kB
7f0000016000-7f0000018000 r--p 00000000 00:00 0
Rss:                   8 kB
Anonymous:             0 kB
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0 [vdso]
Rss:                   4 kB
Anonymous:             0 kB
"""
MEGABYTE = 1_000_000
PAGES = ("/", "/login", "/register", "/console/sign-in", "/metrics", "/openapi.json", "/readyz")


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_only_what_the_files_hold_too_is_given_back() -> None:
    assert list(untouched(SMAPS.splitlines(keepends=True))) == [
        (0x55D0C0A00000, 0x55D0C0A01000),
        (0x7F0000000000, 0x7F0000010000),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_serving_process_stays_under_130_megabytes(program: Program) -> None:
    """Even the one that made the installation first, with every plugin that is on by default."""
    program.plugins.write_text('enabled = ["api", "web", "manual", "demo", "openai"]\n')
    process = await program.begin("serve", "--prepare")
    try:
        url = await address(process)
        for page in PAGES:
            assert (await get(url + page))[0] == 200, page
        assert resident(process.pid) < 130 * MEGABYTE
    finally:
        process.terminate()
        await process.wait()
