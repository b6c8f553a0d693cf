"""The person's own uploads, and files that agents gave."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import Files, context_of

router = APIRouter(include_in_schema=False)

_INLINE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


@router.get("/files/{file_id}")
async def show(request: Request, file_id: str) -> Response:
    """Pictures are shown; anything else is only ever saved, so that no upload runs as a page of ours."""
    ref, data = await context_of(request).port(Files).open(file_id)
    inline = ref.media_type in _INLINE
    headers = {
        "Content-Disposition": f"{'inline' if inline else 'attachment'}; {_file_name(ref.name)}",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=3600, immutable",
    }
    kind = ref.media_type if inline or ref.type == "audio" else "application/octet-stream"
    return Response(data, headers=headers, media_type=kind)


def _file_name(name: str) -> str:
    """RFC 6266: an ASCII name for old clients, and the real one."""
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%/' else "_" for char in name)
    return f"filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
