"""Logging of a process: one line each, as text or JSON, with secrets scrubbed on the handler."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from tollhouse.host.logs import install_scrubber
from tollhouse.settings import Settings


class JsonFormatter(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(settings: Settings) -> None:
    """Set up the root logger of this process."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("procrastinate", "asyncio", "uvicorn.error", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    install_scrubber()
