"""Trying a connection for real."""

from __future__ import annotations

import asyncio
from typing import Final

from tollhouse.host.values import Bound
from tollhouse.plugin import Connectable, Health, TollhouseError

TEST_SECONDS: Final = 30.0


async def tried(bound: Bound, obj: Connectable) -> Health:
    """A failure of the plugin is an outcome here: the admin asked whether it works."""
    try:
        async with asyncio.timeout(TEST_SECONDS):
            outcome = await obj.test(bound.ctx)
    except TimeoutError:
        return Health(False, f"No answer within {TEST_SECONDS:.0f} seconds.")
    except TollhouseError as error:
        return Health(False, error.detail)
    except (Exception, SystemExit) as error:
        bound.ctx.log.exception("test of the connection failed")
        return Health(False, f"The plugin failed: {type(error).__name__}")
    return outcome if isinstance(outcome, Health) else Health(False, "The plugin failed: it gave no Health.")
