"""What is raised when no model answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.plugin.errors import BackendError

if TYPE_CHECKING:
    from tollhouse.runtime.call import CallRecord


class RunFailed(Exception):
    """No reply. ``error`` is what the person is told; ``calls`` are those that were made all the same, and may have cost."""

    def __init__(self, error: BackendError, calls: tuple[CallRecord, ...]) -> None:
        super().__init__(str(error))
        self.error = error
        self.calls = calls
