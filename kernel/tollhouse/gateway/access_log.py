"""One line for each request: by the route's template, so that no token in a path or a query is ever written."""

from __future__ import annotations

import logging

from tollhouse.gateway.exchange import Exchange
from tollhouse.host.logs import ACCESS_LOG

log = logging.getLogger(ACCESS_LOG)


def write(exchange: Exchange, method: str, status: int, seconds: float) -> None:
    """Write the line, if anybody reads it."""
    if not log.isEnabledFor(logging.INFO):
        return
    entry, caller = exchange.entry, exchange.caller
    log.info(
        "%s %s %d %.1fms tenant=%s user=%s address=%s id=%s",
        method if method.isalpha() and len(method) < 16 else "?",
        entry.path if entry else "-",
        status,
        seconds * 1000,
        caller.tenant.slug if caller else "-",
        caller.principal.user_id if caller and caller.principal else "-",
        exchange.address or "-",
        exchange.request_id,
    )
