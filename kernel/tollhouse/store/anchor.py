"""The anchor: what the ends of all chains are, written down outside of the database.

A file of lines in the data directory. Each line is a JSON object that holds the ends that have moved, the hash of the line
before and a signature; lines are only ever added. A file that has become long is put aside, and the next one begins with the
ends of all chains. Whoever has the database alone cannot make it fit one that was cut, emptied or put back to an earlier day.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from tollhouse.store.signing import Signer, signed

FILE: Final = "ledger.anchor"
LONG: Final = 1024 * 1024
"""Bytes of a file after which the next one is begun."""


class ChainId(NamedTuple):
    """Whose chain, and over which log."""

    tenant_id: UUID
    log: str


class End(NamedTuple):
    """The last link of a chain: its number, how many rows all links hold, and its digest."""

    number: int
    total: int
    digest: str


@dataclass(slots=True)
class Anchored:
    """What the file says. ``sequence`` is the last line's number, 0 without one; ``faults`` is what is wrong with the file."""

    sequence: int = 0
    last: str = ""
    ends: dict[ChainId, End] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class Anchor:
    """The file. Not for the event loop: everything here waits for the disk."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self.path = folder / FILE
        self._signer = signer

    def read(self) -> Anchored:
        """What stands there, checked. A line that was not written to its end is none."""
        found = Anchored()
        lines = [(text, _parse(text)) for text in _lines(self.path)]
        # A signature of today's key vouches for all the lines before it, which may be of keys that are gone.
        vouched = max((place for place, (_, line) in enumerate(lines, 1) if line and self._ours(line)), default=0)
        for place, (text, line) in enumerate(lines[:vouched], 1):
            if line is None or not (line["all"] if place == 1 else line["previous"] == found.last):
                found.faults.append(f"line {place} of {self.path.name} does not follow from the one before")
            if line is None:
                continue
            if line["all"]:
                found.ends.clear()
            for tenant, log, *end in line["ends"]:
                found.ends[ChainId(UUID(tenant), log)] = End(*end)
            found.sequence, found.last = line["sequence"], _hash(text)
        if vouched < len(lines):
            found.faults.append(f"{self.path.name} has lines after {vouched} that no key of this installation has signed")
        return found

    def _ours(self, line: Mapping[str, Any]) -> bool:
        return self._signer.trusts(bytes.fromhex(line["public_key"]))

    def append(self, ends: Mapping[ChainId, End], at: str, *, every: Mapping[ChainId, End], reason: str = "") -> int:
        """Add a line; its number. ``ends`` are those that have moved, ``every`` all that there are. With a ``reason``
        a new file is begun, whatever became of the old one: it is kept beside."""
        with self._alone():
            before = self.read()
            anew = bool(reason) or not before.sequence or self.path.stat().st_size > LONG
            line = {
                "sequence": before.sequence + 1,
                "at": at,
                "all": anew,
                "reason": reason,
                "ends": [[str(key.tenant_id), key.log, *end] for key, end in sorted((every if anew else ends).items())],
                "previous": before.last,
                "public_key": self._signer.public.hex(),
            }
            line["signature"] = self._signer.sign(_signable(line)).hex()
            text = json.dumps(line, separators=(",", ":")) + "\n"
            if anew:
                self._begin(text, before.sequence)
            else:
                self._add(text)
            return before.sequence + 1

    def after(self, sequence: int) -> list[tuple[int, str]]:
        """The lines of this file with greater numbers: what an endpoint has not been told yet."""
        found = [(line["sequence"], text) for text in _lines(self.path) if (line := _parse(text)) is not None]
        return [(number, text) for number, text in found if number > sequence]

    def _add(self, text: str) -> None:
        with self.path.open("r+b") as file:
            whole = file.read()
            file.truncate(whole.rfind(b"\n") + 1)  # what a crash has left half written
            file.seek(0, os.SEEK_END)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def _begin(self, text: str, sequence: int) -> None:
        """Complete at once: there is never no file, and never half a one."""
        fresh = self.path.with_name(f"{FILE}.new")
        with fresh.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        aside = self.path.with_name(f"{FILE}.{sequence}")
        while aside.exists():  # one that was put back has its numbers twice
            aside = aside.with_name(f"{aside.name}.again")
        if self.path.exists():
            os.link(self.path, aside)
        fresh.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time, of all processes that share this folder."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _lines(path: Path) -> list[str]:
    try:
        whole = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return whole[: whole.rfind("\n") + 1].splitlines()


def _parse(text: str) -> dict[str, Any] | None:
    """A line, if its signature fits."""
    try:
        line = json.loads(text)
        public, signature = bytes.fromhex(line["public_key"]), bytes.fromhex(line["signature"])
        fits = signed(public, _signable(line), signature)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return line if fits else None


def _signable(line: Mapping[str, Any]) -> bytes:
    plain = {name: value for name, value in line.items() if name != "signature"}
    return sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).digest()


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
