"""Request ids: a sane one that came in is kept, so that traces join; every answer carries one."""

from __future__ import annotations

import os
import re
from typing import Final

SANE: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{7,63}", re.ASCII)


def request_id(inbound: bytes | None) -> str:
    """The inbound id if it is one, else a new one."""
    if inbound is not None and SANE.fullmatch(inbound):
        return inbound.decode()
    return "req_" + os.urandom(12).hex()
