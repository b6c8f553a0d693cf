"""All bodies that a process holds fit into one budget; what does not is refused unread, and every ending gives back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.growth import HOLD_SECONDS, longest_hold
from tests.kernel.gateway.conftest import Note, call
from tollhouse.gateway import bodies
from tollhouse.gateway.body_memory import SMALL, BodyMemory
from tollhouse.gateway.errors import Overloaded
from tollhouse.gateway.exchange import JSON
from tollhouse.gateway.large_json import LargeJsonRoute
from tollhouse.plugin import ConfigError, Mount
from tollhouse.runtime.bounds import COUNTED, text_bound
from tollhouse.serve import check_settings
from tollhouse.settings import Settings

MIB = 1024 * 1024
HEADERS = {"content-type": "application/json", "authorization": "Bearer key"}
LIMITS = {"body_memory": 8 * MIB, "large_body_limit": 4 * MIB}


class Room:
    """Routes that wait until they are let go, so that their bodies are held."""

    def __init__(self) -> None:
        self.inside = 0
        self.go = asyncio.Event()

    def mount(self) -> Mount:
        router = APIRouter(
            routes=[
                Route("/wait", self.wait, methods=["POST"]),
                Route("/document", self.document, methods=["POST"]),
                Route("/fail", self.fail, methods=["POST"]),
            ]
        )
        names = frozenset({"POST /wait", "POST /document", "POST /fail"})
        return Mount("/room", router, large_bodies=names, public=frozenset({"POST /wait"}))

    async def wait(self, request: Request) -> Response:
        size = len(await request.body())
        self.inside += 1
        await self.go.wait()
        return JSONResponse(size)

    async def document(self, request: Request) -> Response:
        document = await request.scope[JSON]()
        return JSONResponse(len(document["text"]))

    async def fail(self, request: Request) -> Response:
        await request.body()
        raise RuntimeError("no luck")


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def app(build: Any, room: Room) -> Any:
    return build(mounts=[room.mount()], **LIMITS)


def body(size: int) -> bytes:
    return b'{"text": "' + b"x" * (size - 12) + b'"}'


async def _until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the edge has no event for it
            await asyncio.sleep(0.005)


async def test_what_does_not_fit_is_refused_unread_and_told_when_to_come_again(app: Any, room: Room) -> None:
    large = body(4 * MIB)
    first = asyncio.create_task(call(app, "POST", "/room/wait", headers=HEADERS, body=large))
    await _until(lambda: room.inside == 1)
    refused = await call(app, "POST", "/room/wait", headers=HEADERS, body=large)
    assert (refused.status, refused.read, refused.json["code"]) == (503, 0, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["connection"] == "close"
    small = asyncio.create_task(call(app, "POST", "/room/wait", headers=HEADERS, body=body(SMALL)))
    await _until(lambda: room.inside == 2)
    room.go.set()
    assert ((await first).json, (await small).json) == (len(large), SMALL)
    assert (await call(app, "POST", "/room/wait", headers=HEADERS, body=large)).status == 200
    assert app.edge.bodies.memory.used == 0


async def test_what_comes_in_pieces_counts_as_it_comes(app: Any, room: Room) -> None:
    large = body(4 * MIB)
    pieces = [large[start : start + MIB // 4] for start in range(0, len(large), MIB // 4)]
    first = asyncio.create_task(call(app, "POST", "/room/wait", headers=HEADERS, body=pieces))
    await _until(lambda: room.inside == 1)
    assert app.edge.bodies.memory.used == len(large)
    refused = await call(app, "POST", "/room/wait", headers=HEADERS, body=pieces)
    assert refused.status == 503
    assert 0 < refused.read < len(pieces)
    assert app.edge.bodies.memory.used == len(large)
    room.go.set()
    assert (await first).status == 200
    assert app.edge.bodies.memory.used == 0


async def test_strangers_leave_room_for_who_is_known(app: Any, room: Room) -> None:
    stranger = {"content-type": "application/json"}
    waiting = [asyncio.create_task(call(app, "POST", "/room/wait", headers=stranger, body=body(MIB))) for _ in range(2)]
    await _until(lambda: room.inside == 2)
    assert (await call(app, "POST", "/room/wait", headers=stranger, body=body(MIB))).status == 503
    waiting.append(asyncio.create_task(call(app, "POST", "/room/wait", headers=HEADERS, body=body(4 * MIB))))
    await _until(lambda: room.inside == 3)
    room.go.set()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 3


ENDINGS = ["disconnect", "too late", "cancelled", "not JSON", "an error of the route", "too large", "told to wait"]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_every_ending_gives_back(app: Any, room: Room, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = app.edge.bodies.memory
    path, size = "/room/fail" if ending == "an error of the route" else "/room/wait", 2 * MIB
    pieces: Any = body(size)
    if ending == "disconnect":
        pieces = [pieces[:MIB]]
    elif ending == "not JSON":
        pieces = b'{"text": "\xff' + b"x" * size
    elif ending == "too large":
        pieces = [b"x" * MIB] * 6
    headers = {**HEADERS, "content-length": str(size)} if ending == "disconnect" else HEADERS
    if ending == "told to wait":
        [memory.share(stranger=False).take(MIB) for _ in range(6)]
        assert (await call(app, "POST", path, headers=headers, body=pieces)).status == 503
        assert memory.used == 6 * MIB
        return
    if ending == "too late":
        monkeypatch.setattr(bodies, "READ_SECONDS", -1.0)
        app = _stuck(app)
    if ending == "disconnect":
        with pytest.raises(IndexError):  # nobody is there to be answered
            await call(_cut_short(app), "POST", path, headers=headers, body=pieces[0])
    else:
        asking = asyncio.create_task(call(app, "POST", path, headers=headers, body=pieces))
        if ending == "cancelled":
            await _until(lambda: room.inside == 1)
            assert memory.used == size
            asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=20)
        assert done
    assert memory.used == memory.strangers == 0


def _stuck(app: Any) -> Any:
    """The same for a client that sends nothing."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, asyncio.Event().wait, send)

    return run


def _cut_short(app: Any) -> Any:
    """The same for a client that goes away in the middle of its body."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        first = True

        async def half() -> Any:
            nonlocal first
            if not first:
                return {"type": "http.disconnect"}
            first = False
            return (await receive()) | {"more_body": True}

        await app(scope, half, send)

    return run


def test_shares_never_pass_the_budget() -> None:
    memory = BodyMemory(1000 * SMALL)
    known, stranger = memory.share(stranger=False), memory.share(stranger=True)
    stranger.take(250 * SMALL)
    with pytest.raises(Overloaded):
        stranger.take(1)
    small = memory.share(stranger=True)
    small.take(SMALL)
    known.take(624 * SMALL)
    with pytest.raises(Overloaded):
        known.take(1)
    for _ in range(125):
        memory.share(stranger=False).take(SMALL)
    with pytest.raises(Overloaded):
        memory.share(stranger=False).take(1)
    known.release()
    stranger.release()
    small.release()
    assert (memory.used, memory.strangers) == (125 * SMALL, 0)


def test_a_budget_that_could_not_hold_a_single_body_stops_the_start() -> None:
    check_settings(Settings())
    for limits in (
        {"large_body_limit": 100 * MIB},
        {"body_memory": 32 * MIB},
        {"body_limit": 40 * MIB, "body_memory": 128 * MIB},
    ):
        with pytest.raises(ConfigError, match="body_memory"):
            check_settings(Settings(**limits))


# -- large documents ------------------------------------------------------------------------------------------------------


async def test_a_large_document_is_read_whichever_way_a_route_asks_for_it(app: Any, room: Room, build: Any) -> None:
    room.go.set()
    sent = body(2 * MIB)
    assert (await call(app, "POST", "/room/document", headers=HEADERS, body=sent)).json == 2 * MIB - 12
    assert (await call(app, "POST", "/room/wait", headers=HEADERS, body=sent)).json == 2 * MIB
    for path in ("/room/document", "/room/wait"):
        for wrong in (b"[" * 2 * MIB, b'{"text": "\\ud800' + sent[10:], sent[:-2] + b'\xff"}'):
            answer = await call(app, "POST", path, headers=HEADERS, body=wrong)
            assert answer.status == 400, (path, answer.text)


def _fastapi() -> Mount:
    router = APIRouter(route_class=LargeJsonRoute)

    @router.post("/notes")
    async def note(note: Note) -> int:
        return len(note.text)

    return Mount("/large", router, large_bodies=frozenset({"POST /notes"}))


async def test_fastapi_finds_a_large_document_where_it_looks(build: Any) -> None:
    app = build(mounts=[_fastapi()])
    for size in (100, 2 * MIB):
        text = "é😀\n" * (size // 10)
        sent = json.dumps({"text": text}).encode()
        assert (await call(app, "POST", "/large/notes", headers=HEADERS, body=sent)).json == len(text)
        wrong = await call(app, "POST", "/large/notes", headers=HEADERS, body=json.dumps({"text": text, "odd": 1}).encode())
        assert (wrong.status, [one["pointer"] for one in wrong.json["errors"]]) == (422, ["#/odd"])
        missing = await call(app, "POST", "/large/notes", headers=HEADERS, body=json.dumps({"txt": text}).encode())
        assert missing.status == 422
    assert (await call(app, "POST", "/large/notes", headers=HEADERS, body=b"{" + sent)).status == 400


LARGE_BODIES = {
    "a picture": body(24 * MIB),
    "escapes": b'{"text": "' + b'\\"' * (12 * MIB) + b'"}',
    "Chinese": json.dumps({"text": "你" * (2 * MIB)}).encode(),
    "an open string": b'{"text": "' + b'\\"' * (12 * MIB),
    "spaces": b"{" + b" " * (8 * MIB) + b"}",
    "numbers": b"[" + (b"9" * 400 + b" ") * (8 * MIB // 401) + b"]",
}


@pytest.mark.parametrize("name", LARGE_BODIES)
async def test_the_loop_goes_round_while_a_large_body_is_read(build: Any, name: str) -> None:
    app = build(mounts=[_fastapi()])
    held = await longest_hold(lambda: call(app, "POST", "/large/notes", headers=HEADERS, body=LARGE_BODIES[name]))
    assert held < HOLD_SECONDS


def test_a_text_that_is_too_long_to_be_counted_costs_its_bytes() -> None:
    assert text_bound("x" * COUNTED, lambda text: 7) == 7
    assert text_bound("é" * (COUNTED + 1), lambda text: 7) == 2 * (COUNTED + 1)
