"""The one way in which the kernel calls a plugin's method: for so long, and with a look at what comes back (``returns.py``).

Whatever a plugin does there ends as a :class:`PluginFault` that names it, or as an error that the contract knows. Nothing is
retried here, and nothing is swallowed: the fault is the caller's to record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from tollhouse.border.bounded import TookTooLong, alarm, in_time
from tollhouse.border.errors import PluginFault
from tollhouse.border.returns import METHODS, Wrong, whole
from tollhouse.plugin import TollhouseError

log = logging.getLogger(__name__)


async def ask(plugin: str, method: str, obj: Any, *given: Any) -> Any:
    """Call an async method of what ``plugin`` registered.

    Raises:
        PluginFault: it raised what its contract does not know, took too long, or gave something else than it says.
        TollhouseError: what the contract knows.
    """
    rule = METHODS[method]
    found = await guarded(plugin, method, lambda: getattr(obj, method)(*given), rule.seconds)
    return _checked(plugin, method, found)


async def guarded(plugin: str, what: str, work: Callable[[], Any], seconds: float) -> Any:
    """The same for code that is no method of the contract; what it gives is the caller's to check."""
    try:
        return await in_time(work, seconds, partial(_held, plugin, what))
    except TookTooLong:
        raise PluginFault(plugin, what, f"took longer than {seconds:g} seconds", timed_out=True) from None
    except BaseException as error:  # SystemExit too: a plugin does not end the process
        task = asyncio.current_task()
        if isinstance(error, GeneratorExit) or (isinstance(error, asyncio.CancelledError) and task and task.cancelling()):
            raise
        raise _fault(plugin, what, error) from error


def ask_now(plugin: str, method: str, obj: Any, *given: Any) -> Any:
    """Call a pure method, in which nothing can be awaited: one that hangs is broken off.

    Raises:
        PluginFault, TollhouseError: as ``ask``.
    """
    rule = METHODS[method]
    try:
        with alarm(rule.seconds):
            found = getattr(obj, method)(*given)
    except TookTooLong:
        raise PluginFault(plugin, method, f"took longer than {rule.seconds:g} seconds", timed_out=True) from None
    except BaseException as error:
        raise _fault(plugin, method, error) from error
    return _checked(plugin, method, found)


def _checked(plugin: str, method: str, found: Any) -> Any:
    try:
        return METHODS[method].checked(found)
    except Wrong as wrong:
        raise PluginFault(plugin, method, str(wrong), returned=True) from None
    except Exception as error:  # an object that does not let itself be looked at
        raise PluginFault(plugin, method, "gave something that cannot be looked at", returned=True) from error


def _fault(plugin: str, what: str, error: BaseException) -> TollhouseError:
    """What the contract knows stays as it is, if it is whole; everything else names the plugin. Its text is for the log."""
    if isinstance(error, TollhouseError) and whole(error):
        return error
    log.error("plugin %r: %s raised %s", plugin, what, type(error).__name__, exc_info=error)
    return PluginFault(plugin, what, f"raised {type(error).__name__}")


def _held(plugin: str, what: str, took: float) -> None:
    log.error("plugin %r: %s held the event loop for %.1f seconds; nothing else could run meanwhile", plugin, what, took)
