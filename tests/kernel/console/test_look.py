"""The tenant's look: a change is seen at once, and a logo is a picture and nothing else."""

from __future__ import annotations

import re
import struct
import zlib

import pytest

from tests.kernel.console.conftest import Answer, Browser, House, slug_of
from tests.world import Shop
from tollhouse.store.audit import SYSTEM
from tollhouse.store.blobs import blob_key
from tollhouse.store.ids import new_id
from tollhouse.tenants.service import TenantChanges

SETTINGS = {"name": "Shop", "timezone": "UTC", "currency": "EUR", "language": "en"}


def png(width: int = 2, height: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + bytes(3 * width) for _ in range(height)))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def address(page: Answer, pattern: str, slug: str) -> str:
    found = re.search(pattern, page.text)
    assert found is not None, page.text[:1500]
    return found[1].removeprefix(f"/t/{slug}")


async def test_another_accent_has_another_address(house: House) -> None:
    admin = await house.browser("admin")
    first = address(await admin.get("/console/settings"), r'href="([^"]+brand\.css[^"]*)"', house.slug)
    assert (await admin.post("/console/settings", **SETTINGS, accent="#123456")).status == 303
    second = address(await admin.get("/console/settings"), r'href="([^"]+brand\.css[^"]*)"', house.slug)
    assert second != first
    sheet = await admin.get(second)
    assert "--accent: #123456" in sheet.text
    assert "immutable" in sheet.headers["cache-control"]
    old = await admin.get(first)
    assert "immutable" not in old.headers["cache-control"], "what is kept under an old address would be kept for ever"


async def test_a_logo_stands_on_the_pages_until_it_is_removed(house: House, other: Shop) -> None:
    admin = await house.browser("admin")
    assert (await admin.get("/brand/logo")).status == 404
    assert (await admin.upload("/console/settings/logo", "logo", png())).status == 303
    door = await house.nobody().get("/console/sign-in")
    logo = address(door, r'<img src="([^"]+)" alt="">', house.slug)
    assert address(door, r'<link rel="icon" href="([^"]+)"', house.slug) == logo
    shown = await house.nobody().get(logo)
    assert (shown.status, shown.headers["content-type"], shown.body) == (200, "image/png", png())
    assert "immutable" in shown.headers["cache-control"]
    assert shown.headers["x-content-type-options"] == "nosniff"
    elsewhere = Browser(house.process.app, await slug_of(house.store, other.tenant_id))
    assert (await elsewhere.get("/brand/logo")).status == 404

    assert (await admin.upload("/console/settings/logo", "logo", png(3, 1))).status == 303
    again = address(await admin.get("/console"), r'<img src="([^"]+)" alt="">', house.slug)
    assert again != logo
    assert (await admin.get(again)).body == png(3, 1)
    assert len([one for one in (house.process.settings.data_dir / "blobs").rglob("*") if one.is_file()]) == 1
    assert (await admin.post("/console/settings", **SETTINGS)).status == 303
    assert (await admin.get("/brand/logo")).status == 200, "saving the other settings keeps it"

    assert (await admin.post("/console/settings/logo/remove")).status == 303
    assert (await admin.get("/brand/logo")).status == 404
    assert "<img" not in (await admin.get("/console")).text
    assert not [one for one in (house.process.settings.data_dir / "blobs").rglob("*") if one.is_file()]


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', 422, "SVG is not taken"),
        (b"GIF89a\x02\x00\x02\x00\x00\x00\x00;", 422, "PNG, JPEG or WebP"),
        (b"%PDF-1.7 and so on", 422, "PNG, JPEG or WebP"),
        (b"<html>", 422, "PNG, JPEG or WebP"),
        (b"", 422, "Choose a picture."),
        (png(5000, 1), 422, "4,096 pixels"),
        (png() + bytes(512 * 1024), 413, "at most 512 KB"),
    ],
    ids=["svg", "gif", "pdf", "html", "nothing", "wide", "large"],
)
async def test_what_is_no_small_picture_is_no_logo(house: House, data: bytes, status: int, said: str) -> None:
    admin = await house.browser("admin")
    refused = await admin.upload("/console/settings/logo", "logo", data)
    assert refused.status == status
    assert said in refused.text
    assert 'id="logo-error"' in refused.text
    assert (await admin.get("/brand/logo")).status == 404


async def test_nobody_makes_a_logo_of_a_persons_upload(house: House) -> None:
    file_id = new_id()
    await house.container.blobs.put(blob_key(house.shop.tenant_id, file_id), png())
    owner = await house.browser("owner")
    tenant = await house.container.tenants.get(house.shop.tenant_id)
    brand = tenant.settings.brand.model_copy(update={"logo_file_id": file_id})
    await house.container.tenants.update(house.shop.tenant_id, TenantChanges(brand=brand), actor=SYSTEM)
    house.container.directory.forget()
    assert (await owner.get("/brand/logo")).status == 404


async def test_who_may_not_manage_changes_no_logo(house: House) -> None:
    for role in ("support", "analyst", None):
        browser = await house.browser(role)
        assert (await browser.upload("/console/settings/logo", "logo", png())).status == 403
