"""An error as a card inside a page that is open: what happened, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from tollhouse.gateway.exchange import Exchange
from tollhouse.gateway.problems import Problem
from tollhouse.gateway.route_table import UNSAFE
from tollhouse.plugin.errors import RateLimited
from tollhouse.plugin.paths import local_path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Trouble:
    """The card. ``again``: a button sends the composer once more; ``link``: its label and address; ``reference``: whether
    somebody may have to look for it in the log."""

    title: str
    text: str
    again: bool = False
    link: tuple[str, str] | None = None
    reference: bool = False


def wants_part(exchange: Exchange) -> bool:
    """Whether a script asks for a part of a page that is open, and a whole page would land inside it."""
    return exchange.errors == "page" and exchange.headers.get(b"hx-request") == b"true"


def opens_page(exchange: Exchange, method: str) -> bool:
    """Whether somebody opens a page for who is signed in: then the way to it leads through the sign-in."""
    entry, headers = exchange.entry, exchange.headers
    if entry is None or entry.public or entry.errors != "page" or method not in ("GET", "HEAD"):
        return False
    return b"text/html" in headers.get(b"accept", b"") and b"authorization" not in headers and not wants_part(exchange)


def reloads_form(exchange: Exchange, method: str) -> bool:
    """Whether somebody opens or loads again the address that a form was sent to, which has no page of its own."""
    page = exchange.errors == "page" and b"text/html" in exchange.headers.get(b"accept", b"")
    return page and method in ("GET", "HEAD") and not wants_part(exchange)


def sign_in_address(path: str, root: str, wanted: str) -> str:
    """Where to sign in, and where to go on after that; ``wanted`` is a path of this tenant without its prefix."""
    return f"{root}{path}?next={quote(wanted, safe='/')}"


def open_page(exchange: Exchange, root: str) -> str:
    """The path of the page that is open, without the tenant's prefix. It is what the browser says, so only its path counts."""
    parts = urlsplit(exchange.headers.get(b"hx-current-url", b"").decode("latin-1"))
    path = parts.path.removeprefix(root) if root and parts.path.startswith(root + "/") else parts.path
    return local_path(f"{path}?{parts.query}" if parts.query else path) or "/"


def trouble_of(problem: Problem, here: str, sign_in: str) -> Trouble:
    """The card for a problem. ``here``: the address of the page that is open; ``sign_in``: the way to sign in and back."""
    wait = seconds_of(problem)
    if problem.status == 401:
        return Trouble("You are signed out", "Sign in again; you come back to this page.", link=("Sign in again", sign_in))
    if problem.status == 413:
        limit = problem.members.get("limit_bytes")
        if not isinstance(limit, int):
            return Trouble("That is too large", problem.detail)
        most = f"One message holds {most_text(limit)} with its files."
        return Trouble(
            "That is too large", f"Nothing was sent. {most} Take a file away or choose a smaller one, and send again."
        )
    if problem.status in (429, 503):
        title = "That was a lot at once" if problem.status == 429 else "This does not work at the moment"
        when = f"Try again in {wait_text(wait)}." if wait else "Try again in a moment."
        return Trouble(title, f"Nothing was counted. {when}", again=True)
    text = problem.detail if problem.detail != problem.title else ""
    return Trouble(problem.title, text, link=("Load the page again", here), reference=problem.status >= 500)


def page_words(problem: Problem, method: str) -> tuple[str, str]:
    """Headline and sentence of a whole page about a problem; the sentence is empty where the headline says it all."""
    if problem.status == 401 and method in UNSAFE:
        return "You were signed out", "What you wrote was not saved. Sign in and try again."
    limit = problem.members.get("limit_bytes")
    if problem.status == 413 and isinstance(limit, int):
        return "That is too large", f"Nothing was sent. What is sent at once holds {most_text(limit)}, with its files."
    if problem.status == 405:
        return "That is not possible here", "This address takes what a form sends. Go back to its page and use the form there."
    detail = problem.detail if problem.detail != problem.title else ""
    wait = seconds_of(problem)
    if problem.status == 429 and wait:
        title = "Too many requests" if problem.title == RateLimited.title else problem.title
        return title, f"{'' if problem.detail == RateLimited.title else _sentence(detail)}Try again in {wait_text(wait)}."
    return problem.title, detail


def _sentence(text: str) -> str:
    return f"{text.rstrip('.')}. " if text else ""


def most_text(limit: int) -> str:
    """``at most 32 MB``."""
    return f"at most {limit / MIB:.3g} MB" if limit >= MIB else f"at most {max(limit // 1024, 1)} kB"


def wait_text(seconds: int) -> str:
    """``4 minutes``: rounded up, so that nobody comes back too early."""
    steps = ((86400, 2 * 86400, "day"), (3600, 2 * 3600, "hour"), (60, 120, "minute"))
    size, unit = next(((size, unit) for size, least, unit in steps if seconds >= least), (1, "second"))
    count = -(-seconds // size)
    return f"{count} {unit}{'' if count == 1 else 's'}"


def moment_text(stamp: object, zone: str) -> str:
    """``26 Nov 2026, 00:00 CET``: a moment as it stands in a page before the script puts it into the reader's zone."""
    if not isinstance(stamp, str):
        return ""
    local = datetime.fromisoformat(stamp).astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b %Y, %H:%M} {zone_name(local, zone)}"


def zone_name(local: datetime, zone: str) -> str:
    """``CET``; where a zone has no letters of its own, its name in the database of zones."""
    short = f"{local:%Z}"
    return short if short.isalpha() else zone


def seconds_of(problem: Problem) -> int:
    """How long to wait, as its header says; 0 if it says nothing."""
    found = next((value for name, value in problem.headers if name == b"retry-after"), b"")
    return int(found) if found.isdigit() else 0
