"""The kernel's static files: held in memory, addressed by the hash of their content, kept by browsers for ever."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from tollhouse.plugin.errors import NotFound

FOLDER: Final = Path(__file__).parent / "static"
SERVED: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
"""What is served, and as what: the tables of the machine differ from one to the next."""
IMMUTABLE: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is answered."""

    content: bytes
    media_type: str
    digest: str


class StaticFiles:
    """Every file of a folder that is meant to be served."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {path.name: _read(path) for path in sorted(folder.iterdir()) if path.suffix in SERVED}

    def url(self, name: str) -> str:
        """The address of a file, which changes with its content."""
        found = self._files.get(name)
        return f"/static/{name}?v={found.digest}" if found else f"/static/{name}"

    async def serve(self, request: Request) -> Response:
        """``GET /static/{name}``."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            raise NotFound()
        return cached(request, found, IMMUTABLE if request.query_params.get("v") == found.digest else "no-cache")


def cached(request: Request, file: StaticFile, cache_control: str) -> Response:
    """The file, or 304 for whoever has it."""
    etag = f'"{file.digest}"'
    headers = {"etag": etag, "cache-control": cache_control}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def made(content: str, media_type: str) -> StaticFile:
    """Something generated, in the shape of a file."""
    data = content.encode()
    return StaticFile(data, media_type, hashlib.sha256(data).hexdigest()[:16])


def _read(path: Path) -> StaticFile:
    data = path.read_bytes()
    return StaticFile(data, SERVED[path.suffix], hashlib.sha256(data).hexdigest()[:16])
