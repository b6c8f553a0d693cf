"""Giving back what only starting needed.

A process that serves is small beside what it takes to become one: a sixth of its resident memory after the start is code of
libraries that ran once, while they were imported. Those pages are the files' own; taken out of the process they stay in the
system's cache, and the few that are needed again come back from there without touching the disk. Linux with glibc; elsewhere
nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

M_MMAP_THRESHOLD: Final = -3  # malloc.h
LARGE: Final = 1024 * 1024
MADV_DONTNEED: Final = 4  # asm-generic/mman-common.h
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)")


def trim() -> None:
    """Return free heap, and pages that nobody wrote to, to the system; and later, what is large as soon as it is free.

    By itself, glibc keeps blocks of up to 32 MB for the next time once it has seen one: bodies and pictures.
    """
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.malloc_trim(0)
        libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        with Path("/proc/self/smaps").open(encoding="utf-8", errors="replace") as lines:
            found = list(untouched(lines))
        for start, end in found:
            libc.madvise(start, end - start, MADV_DONTNEED)  # what cannot be given back (a locked page) stays


def untouched(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """The mappings (start, end) that hold nothing but what their file holds, and that nobody can write to.

    A page that was written to before its mapping became read-only, as the linker does, is this process's own and would be lost:
    such mappings have ``Anonymous`` pages (proc_pid_smaps(5)).
    """
    mapping: tuple[int, int] | None = None
    for line in smaps:
        if match := _MAPPING.match(line):
            start, end, permissions, inode = match.groups()
            clean = permissions in ("r-xp", "r--p") and inode != "0"
            mapping = (int(start, 16), int(end, 16)) if clean else None
        elif mapping is not None and line.startswith("Anonymous:") and line.split()[1] == "0":
            yield mapping
