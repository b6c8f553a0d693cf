"""BASE: what Python can do here at best. A bare Starlette + aiohttp pass-through, with nothing of ours in it."""

from __future__ import annotations

import os

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

UPSTREAM = os.environ["UPSTREAM"]
session: aiohttp.ClientSession | None = None


async def forward(request: Request) -> Response:
    global session
    if session is None:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    body = await request.body()
    headers = {"content-type": "application/json", "authorization": "Bearer upstream"}
    async with session.post(UPSTREAM + "/chat/completions", data=body, headers=headers) as answer:
        return Response(await answer.read(), answer.status, media_type="application/json")


app = Starlette(routes=[Route("/v1/chat/completions", forward, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
