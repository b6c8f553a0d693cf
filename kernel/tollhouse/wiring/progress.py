"""How far a long command is: one line that is written over on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import TextIO

from tollhouse.store.pieces import Tell


class Progress:
    """Writes to ``out``; results stay apart on standard output."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._part = ("", "")
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()

    def of(self, tenant: str) -> Tell:
        """What tells of one tenant."""

        def tell(part: str, done: int = 0, of: int = 0) -> None:
            if not of:
                self._clear()
                self._write(f"{tenant}: {part}\n")
            elif self._terminal:
                self._over(f"{tenant} {part}: {done:,} of {of:,} entries")
            elif done == of or (tenant, part) != self._part:  # a log wants each month once
                self._part = (tenant, part)
                self._write(f"{tenant} {part}: {done:,} of {of:,} entries\n")

        return tell

    def _over(self, line: str) -> None:
        self._clear()
        self._write(line[: shutil.get_terminal_size().columns - 1])
        self._shown = True

    def _clear(self) -> None:
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _write(self, words: str) -> None:
        self._out.write(words)
        self._out.flush()
