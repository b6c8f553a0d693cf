"""The samples of README and docs do what the page says, and its commands and words exist."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest
from pydantic import TypeAdapter
from tollhouse_openai.config import OpenAIConfig

from tests.flows.first import Installation, installation, registered
from tollhouse.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    path for folder in ("tutorial", "how-to", "explanation") for path in (ROOT / "docs" / folder).glob("*.md")
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN_HERE = {"README.md": {"sh", "python"}, "first-day.md": {"sh", "python"}, "connect-a-model.md": {"json"}}
RUN_ELSEWHERE = {
    "run-in-production.md": "tests/operations/test_documented_commands.py",
    "write-a-plugin.md": "tests/contracts/test_guide.py",
}


def fences(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text(encoding="utf-8"))


def test_every_sample_is_run_somewhere() -> None:
    """What has a language is code; what has none is shown, and its commands are looked up below."""
    for page in PAGES:
        languages = {language for language, _ in fences(page)} - {""}
        if page.name in RUN_ELSEWHERE:
            assert (ROOT / RUN_ELSEWHERE[page.name]).exists()
        else:
            assert languages == RUN_HERE.get(page.name, set()), page


@pytest.fixture
async def shop(empty_dsn: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(empty_dsn, tmp_path, "openai") as made:
        yield made


async def run(*command: str, stdin: str = "", **more: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **more},
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial/first-day.md"])
async def test_the_samples_of_a_page_work_on_a_first_installation(shop: Installation, name: str) -> None:
    ada = await registered(shop, "ada@example.test")
    key = (await ada.post("/api/v1/api-keys", {"name": "laptop"})).json["key"]
    said = {"sh": "", "python": ""}
    for language, code in sorted(fences(ROOT / name), key=lambda one: one[0] != "python"):  # first: the shell uses up the day
        code = code.replace("http://127.0.0.1:8000", shop.address).replace("th_…", key)
        if language == "python":
            said["python"] += await run(sys.executable, "-", stdin=code)
        elif language == "sh":
            said["sh"] += await run("bash", "-e", stdin=f"export TOLLHOUSE_KEY={key}\n{code}")
    assert said["python"].startswith("Hello!")
    if name == "README.md":
        assert json.loads(said["sh"])["choices"][0]["message"]["content"].startswith("Hello!")
    else:
        codes, _, check = said["sh"].partition("{")
        assert sorted(codes.split()) == ["200"] * 19 + ["402"] * 2, "the program before had one message of the twenty"
        assert json.loads("{" + check)["reason"] == "limit_reached"


def test_models_are_described_as_the_page_says() -> None:
    [sample] = [code for language, code in fences(ROOT / "docs/how-to/connect-a-model.md") if language == "json"]
    field = OpenAIConfig.model_fields["models"]
    found = TypeAdapter(field.annotation).validate_python(json.loads(sample))
    assert found[0].id == "my-model"


# -- commands ------------------------------------------------------------------------------------------------------------------


COMMAND = re.compile(r"(?:^|[ `/])(?<!from )tollhouse ((?:[a-z][\w-]*)(?: [^`\n|]*)?)", re.MULTILINE)
MAKE = re.compile(r"(?:^|`)make ([a-z]+)\b", re.MULTILINE)


def commands(page: Path) -> list[str]:
    """What is written as code: in fences, and between back quotes."""
    text = page.read_text(encoding="utf-8")
    code = [body for _, body in FENCE.findall(text)] + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return [found.strip() for piece in code for found in COMMAND.findall(piece) if "…" not in found.split()[0]]


def resolved(words: list[str]) -> click.Command:
    """The command that these words name; the rest are its arguments."""
    found: click.Command = cli
    for word in words:
        if not isinstance(found, click.Group):
            break
        assert word in found.commands, f"tollhouse has no command {' '.join(words)!r}"
        found = found.commands[word]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    for line in commands(page):
        command = resolved([word for word in line.partition("#")[0].split() if not word.startswith("-")])
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "--version"}
        used = set(re.findall(r"(?<=\s)--[a-z][\w-]*", line.partition("#")[0]))
        assert used <= known, f"{page.name}: tollhouse {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_target_of_make_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    code = "\n".join([body for _, body in fences(page)] + re.findall(r"`[^`\n]+`", page.read_text(encoding="utf-8")))
    assert set(MAKE.findall(code)) <= targets


# -- words on the screen -------------------------------------------------------------------------------------------------------


PRODUCT = [
    path.read_text(encoding="utf-8")
    for folder in ("kernel/tollhouse/console", "kernel/tollhouse/gateway", "kernel/tollhouse/wiring", "plugins")
    for kind in ("*.html", "*.py", "*.js")
    for path in (ROOT / folder).rglob(kind)
    if "tests" not in path.parts
]


@pytest.mark.parametrize(
    "name", ["README.md", "docs/tutorial/first-day.md", "docs/how-to/connect-a-model.md", "docs/how-to/sell-a-plan.md"]
)
def test_what_a_page_tells_to_press_is_on_the_screen(name: str) -> None:
    """Words between single stars are words of the console or the chat."""
    text = FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))
    words = {" ".join(one.split()) for one in re.findall(r"(?<!\*)\*([A-Z][^*]{1,60})\*(?!\*)", text)}
    assert len(words) > 3
    assert sorted(word for word in words if not any(word in piece for piece in PRODUCT)) == []
