"""With which status each error is answered: a list that a person reads, held against answers over HTTP.

``statuses.txt`` is written by hand, so that a status that is wrong in a class shows here; it has the reasons of denials too.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

import tollhouse
from tests.kernel.gateway.conftest import Build, call
from tollhouse.gateway.problems import AS_OPENAI
from tollhouse.gateway.rate_limits import Policy, RateLimitReached
from tollhouse.plugin import AccessDenied, Decision, Mount
from tollhouse.plugin.errors import TollhouseError
from tollhouse.policy import reasons

LIST = Path(__file__).with_name("statuses.txt")
NEVER_ANSWERED = 500
"""What stops a start or is a bug; nobody is told more than that something went wrong."""


def read_list() -> dict[str, int]:
    found: dict[str, int] = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            code, status, *_ = line.split()
            assert code not in found, f"twice: {code}"
            found[code] = int(status)
    return found


STATUSES = read_list()


def classes() -> list[type[TollhouseError]]:
    """Every error of the kernel."""
    for module in pkgutil.walk_packages(tollhouse.__path__, "tollhouse."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = {one for one in _below(TollhouseError) if one.__module__.startswith("tollhouse.")}
    return sorted(found, key=lambda one: (one.__module__, one.__name__))


def _below(root: type[TollhouseError]) -> Iterator[type[TollhouseError]]:
    yield root
    for one in root.__subclasses__():
        yield from _below(one)


def instances() -> list[TollhouseError]:
    """One of each that can be answered, and one denial for each reason."""
    found = [_make(one) for one in classes() if one is not AccessDenied and one.status != NEVER_ANSWERED]
    denials = [one for _, one in inspect.getmembers(reasons) if isinstance(one, reasons.Reason)]
    return found + [AccessDenied(Decision(False, one.code, one.sentence, one.status)) for one in denials]


def _make(error: type[TollhouseError]) -> TollhouseError:
    """With something for each argument that it asks for."""
    if error is RateLimitReached:
        return error(Policy.of("anonymous", 60), 5)  # type: ignore[arg-type, call-arg]
    asked = inspect.signature(error).parameters.values()
    needed = [one for one in asked if one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return error(**{one.name: _something(str(one.annotation)) for one in needed})


def _something(kind: str) -> Any:
    if kind in ("int", "float"):
        return 1
    return {} if kind.startswith("Mapping") else ["x"] if kind.startswith("Sequence") else "x"


def test_the_list_has_every_code_and_no_other() -> None:
    used = {one.http_code for one in instances()} | {one.code for one in classes() if one.status == NEVER_ANSWERED}
    assert sorted(used - STATUSES.keys()) == [], f"say in {LIST} with which status these are answered"
    assert sorted(STATUSES.keys() - used) == [], f"{LIST} has codes that there are not"


@pytest.mark.parametrize("kind", ["problem", "page", "openai"])
async def test_each_error_is_answered_with_the_status_of_the_list(build: Build, kind: Any) -> None:
    errors = instances()
    router = APIRouter()

    @router.get("/raise/{number}")
    async def fail(number: int) -> None:
        raise errors[number]

    app = build(mounts=[Mount("/x", router, public=frozenset({"GET /raise/{number}"}), errors=kind)], rate_limit_anonymous=0)
    wrong = []
    for number, error in enumerate(errors):
        answer = await call(app, "GET", f"/x/raise/{number}", headers={"hx-request": "true"})
        expected = (AS_OPENAI if kind == "openai" else {}).get(error.http_code, STATUSES[error.http_code])
        if answer.status != expected:
            wrong.append((error.http_code, answer.status, expected))
        if kind != "page":
            assert (answer.json["code"], answer.json["status"]) == (error.http_code, expected)
        if expected in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1
        if expected == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
    assert wrong == []


async def test_what_is_no_answer_is_a_bare_500(build: Build) -> None:
    found = [one for one in classes() if one.status == NEVER_ANSWERED]
    assert len(found) >= 4
    router = APIRouter()

    @router.get("/raise/{number}")
    async def fail(number: int) -> None:
        raise found[number]("the secret is 4711")

    app = build(mounts=[Mount("/x", router, public=frozenset({"GET /raise/{number}"}))], rate_limit_anonymous=0)
    for number in range(len(found)):
        answer = await call(app, "GET", f"/x/raise/{number}")
        assert (answer.status, answer.json["code"], "4711" in answer.text) == (500, "internal_error", False)
