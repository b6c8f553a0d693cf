"""Routes whose JSON bodies may be large: what FastAPI would read on the loop, in one go, is read beside it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from tollhouse.gateway.exchange import JSON

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class LargeJsonRoute(APIRoute):
    """``APIRouter(route_class=LargeJsonRoute)``."""

    def get_route_handler(self) -> Handler:
        """FastAPI's own, which finds the document of a large body where it would have put it itself."""
        handle = super().get_route_handler()

        async def read_before(request: Request) -> Response:
            document = request.scope.get(JSON)
            if document is not None:
                request._json = await document()
                request._body = b"{}"  # there was one
            return await handle(request)

        return read_before


def forget_json(request: Request) -> None:
    """Let go of a document that is not needed any more: what is in it may be large, and a model takes its time."""
    document = getattr(request, "_json", None)
    if isinstance(document, dict):
        document.clear()
