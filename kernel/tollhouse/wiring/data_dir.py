"""Whether DATA_DIR can be used: tried at the start, where it is one line, and not in the middle of something."""

from __future__ import annotations

import logging
import os
import tempfile

from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings

log = logging.getLogger(__name__)

PROBE_BYTES = 64 * 1024


def check_data_dir(settings: Settings) -> None:
    """Write a little there, and take it back.

    Raises:
        ConfigError: nothing can be written, and the embedded database or the master key needs it.
    """
    if (fault := _fault(settings)) is None:
        return
    line = f"DATA_DIR {settings.data_dir} cannot be written: {fault}"
    needed = settings.database_url is None or settings.master_key is None
    if needed and not (settings.database_url is not None and (settings.data_dir / "master.key").exists()):
        raise ConfigError(f"{line}; it holds the embedded database, the master key and uploads")
    log.warning("%s; uploads will be refused", line)


def _fault(settings: Settings) -> str | None:
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (settings.data_dir / "blobs").mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=settings.data_dir, prefix=".probe-") as file:
            file.write(os.urandom(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
