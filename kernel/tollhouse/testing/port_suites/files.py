"""Suite of the port for uploads."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tollhouse.plugin import InvalidInput, NotFound, Unauthenticated
from tollhouse.testing.port_suites.base import PortSuite, nowhere


class FilesSuite(PortSuite, kit=True):
    """Uploads. ``other_port`` is the one that must not see them."""

    png = (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
        b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
    )

    async def test_the_type_is_found_in_the_content(self, port: Any) -> None:
        """To fix: look at the bytes; a name or a browser's word is no proof."""
        ref = await port.put(self.png, "invoice.pdf")
        assert (ref.type, ref.media_type, ref.size) == ("image", "image/png", len(self.png))
        assert (ref.width, ref.height) == (1, 1)
        assert len(ref.sha256) == 64

    async def test_a_file_comes_back_as_it_was(self, port: Any) -> None:
        """To fix: ``open`` gives the same bytes and the same facts as ``put`` did."""
        ref = await port.put(self.png, "dot.png")
        again, data = await port.open(ref.id)
        assert data == self.png
        assert again == ref

    async def test_the_same_content_twice_is_two_files(self, port: Any, other_port: Any) -> None:
        """To fix: deduplicate bytes if you like, never the files: one owner must not notice another."""
        first, second = await port.put(self.png, "a.png"), await other_port.put(self.png, "b.png")
        assert first.id != second.id
        assert first.sha256 == second.sha256

    async def test_files_belong_to_their_owner(self, port: Any, other_port: Any) -> None:
        """To fix: an unknown file and somebody else's are both ``NotFound``."""
        ref = await port.put(self.png, "dot.png")
        with pytest.raises(NotFound):
            await other_port.open(ref.id)
        for unknown in nowhere():
            with pytest.raises(NotFound):
                await port.open(unknown)

    async def test_unknown_types_are_refused(self, port: Any) -> None:
        """To fix: take only types that the runtime can pass on; everything else, and nothing at all, is ``InvalidInput``."""
        for data in (b"MZ\x90\x00\x03\x00\x00\x00\x00\xff", b""):
            with pytest.raises(InvalidInput):
                await port.put(data, "picture.png")

    async def test_nobody_has_no_files(self, anonymous_port: Any) -> None:
        """To fix: both methods raise ``Unauthenticated`` without a principal."""
        for call in (anonymous_port.put(self.png, "a.png"), anonymous_port.open(str(uuid4()))):
            with pytest.raises(Unauthenticated):
                await call
