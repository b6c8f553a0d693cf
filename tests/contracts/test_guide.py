"""The guide's own plugin: its package is cut out of the page, and passes the kit with the test and the settings of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-plugin.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def write_package(folder: Path) -> None:
    module, test = blocks("python")
    package, settings = blocks("toml")
    for name, text in (
        ("tollhouse_shout/__init__.py", module),
        ("tests/test_shout.py", test),
        ("pyproject.toml", package + "\n" + settings),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_the_guides_plugin_passes_the_kit_as_the_page_says(tmp_path: Path) -> None:
    write_package(tmp_path)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) >= 10


def test_the_guides_plugin_is_one_that_the_host_takes(tmp_path: Path) -> None:
    write_package(tmp_path)
    story = (
        "import tollhouse_shout\n"
        "from tollhouse.host.loader import load_plugins\n"
        "from tollhouse.settings import Settings\n"
        "host = load_plugins(Settings(enabled=['shout']), plugins={'shout': tollhouse_shout.plugin})\n"
        "print(sorted(host.llm_backends))\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", story], env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "['shout']", done.stderr[-2000:]
