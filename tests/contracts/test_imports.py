"""Who may import whom: the real tree keeps the contracts of pyproject.toml, and each forbidden import breaks one."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(ROOT.glob("plugins/*/*/tollhouse_*"))
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in CONFIGURATION["contracts"]}

# contract, module that gets the import, what it imports
FORBIDDEN = [
    ("layers", "tollhouse/settings.py", "tollhouse.store.store"),
    ("layers", "tollhouse/plugin/content.py", "tollhouse.settings"),
    ("layers", "tollhouse/store/store.py", "tollhouse.host.host"),
    ("layers", "tollhouse/auth/service_probe.py", "tollhouse.agents.service"),
    ("layers", "tollhouse/billing/probe.py", "tollhouse.usage.prices"),
    ("layers", "tollhouse/usage/probe.py", "tollhouse.conversations.service"),
    ("layers", "tollhouse/policy/probe.py", "tollhouse.runtime.prepare"),
    ("layers", "tollhouse/turns/probe.py", "tollhouse.accounts.service"),
    ("layers", "tollhouse/delivery/probe.py", "tollhouse.gateway.problems"),
    ("layers", "tollhouse/gateway/probe.py", "tollhouse.routes.common"),
    ("layers", "tollhouse/routes/probe.py", "tollhouse.console.format"),
    ("layers", "tollhouse/turns/probe.py", "tollhouse.testing.fakes"),
    ("layers", "tollhouse/gateway/probe.py", "tollhouse.wiring.container"),
    ("layers", "tollhouse/unplanned/__init__.py", "tollhouse.plugin"),
    ("runtime", "tollhouse/runtime/probe.py", "tollhouse.policy.rules"),
    ("runtime", "tollhouse/runtime/probe.py", "tollhouse.billing.service"),
    ("runtime", "tollhouse/runtime/probe.py", "tollhouse.usage.prices"),
    ("runtime", "tollhouse/runtime/probe.py", "tollhouse.gateway.problems"),
    ("runtime", "tollhouse/agents/spec.py", "tollhouse.billing.service"),  # indirectly: runtime imports agents
    ("gateway", "tollhouse/gateway/probe.py", "tollhouse.policy.rules"),
    ("gateway", "tollhouse/gateway/probe.py", "tollhouse.billing.service"),
    ("gateway", "tollhouse/gateway/probe.py", "tollhouse.usage.prices"),
    ("gateway", "tollhouse/gateway/probe.py", "tollhouse.agents.service"),
    ("gateway", "tollhouse/gateway/probe.py", "tollhouse.runtime.run"),
    ("gateway", "tollhouse/gateway/probe.py", "tollhouse.turns.service"),  # indirectly
    *[
        ("thin", f"tollhouse/{package}/probe.py", target)
        for package in ("routes", "console", "gateway")
        for target in ("tollhouse.auth.repository", "tollhouse.tenants.models", "sqlalchemy", "asyncpg")
    ],
    *[("fastapi", f"tollhouse/{package}/probe.py", "fastapi") for package in ("delivery", "turns", "policy", "host", "store")],
    ("testing", "tollhouse/testing/probe.py", "tollhouse.store.ids"),
    ("testing", "tollhouse/testing/probe.py", "sqlalchemy"),
    *[
        ("kernel", "tollhouse/runtime/probe.py", sdk)
        for sdk in ("stripe", "telegram", "litellm", "openai", "authlib", "anthropic")
    ],
    ("kernel", "tollhouse/app.py", "tollhouse_web"),
    ("plugins", "tollhouse_api/probe.py", "tollhouse.turns.service"),
    ("plugins", "tollhouse_web/probe.py", "tollhouse.store.store"),
    ("plugins", "tollhouse_web/probe.py", "tollhouse.testing"),
    ("plugins", "tollhouse_demo/probe.py", "tollhouse.settings"),
    ("siblings", "tollhouse_api/probe.py", "tollhouse_web.views"),
    ("siblings", "tollhouse_litellm/probe.py", "tollhouse_openai"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of every package, side by side, with the contracts."""
    copy = tmp_path_factory.mktemp("tree")
    for package in (ROOT / "kernel" / "tollhouse", *PACKAGES):
        shutil.copytree(package, copy / package.name, ignore=shutil.ignore_patterns("__pycache__", "static", "templates"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


@pytest.fixture
def with_import(request: pytest.FixtureRequest, tree: Path) -> Iterator[Path]:
    """The copy with one more import in it, as long as a test lasts."""
    module, target = request.param
    path = tree / module
    old = path.read_text(encoding="utf-8") if path.exists() else None
    made = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{old or ''}\nimport {target}\n", encoding="utf-8")
    yield tree
    if old is not None:
        path.write_text(old, encoding="utf-8")
    elif made:
        shutil.rmtree(path.parent)
    else:
        path.unlink()


def lint(tree: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """What import-linter says about the packages in ``tree``."""
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo", *chosen],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tree_keeps_every_contract(tree: Path) -> None:
    outcome = lint(tree)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("contract", "with_import", "names"),
    [pytest.param(c, (m, t), (m, t), id=f"{m.removesuffix('.py')} -> {t}") for c, m, t in FORBIDDEN],
    indirect=["with_import"],
)
def test_a_forbidden_import_is_found(contract: str, with_import: Path, names: tuple[str, str]) -> None:
    outcome = lint(with_import, contract)
    module = names[0].removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert outcome.returncode == 1, outcome.stdout
    assert f"{CONTRACTS[contract]['name']} BROKEN" in outcome.stdout
    assert module in outcome.stdout


def test_every_contract_was_seen_to_fail() -> None:
    assert {contract for contract, _, _ in FORBIDDEN} == set(CONTRACTS)


def test_every_plugin_of_the_tree_is_under_contract() -> None:
    names = [package.name for package in PACKAGES]
    assert sorted(CONFIGURATION["root_packages"]) == sorted(["tollhouse", *names])
    for contract, field in (("kernel", "forbidden_modules"), ("plugins", "source_modules"), ("siblings", "modules")):
        assert set(names) <= set(CONTRACTS[contract][field]), contract
    assert {f"{name}{deep} -> tollhouse.plugin" for name in names for deep in ("", ".**")} == set(
        CONTRACTS["plugins"]["ignore_imports"]
    )


def test_no_repository_and_no_package_escapes_by_its_name() -> None:
    kernel = ROOT / "kernel" / "tollhouse"
    modules = {f"tollhouse.{path.parent.name}.{path.stem}" for path in kernel.glob("*/*_repository.py")}
    assert modules <= set(CONTRACTS["thin"]["forbidden_modules"])
    below = {name.strip() for layer in CONTRACTS["layers"]["layers"] for name in layer.replace(":", "|").split("|")}
    above = {"app", "cli", "serve", "worker", "wiring", "testing", "routes", "console", "gateway"}
    assert {f"tollhouse.{name}" for name in below - above - {"plugin"}} == set(CONTRACTS["fastapi"]["source_modules"])


def test_the_public_contract_stands_on_little() -> None:
    """pydantic, pluggy and FastAPI's router; of aiohttp and starlette it names types only."""
    outside = {name for path in (ROOT / "kernel/tollhouse/plugin").glob("*.py") for name in imported(path, types=False)}
    assert {name.split(".")[0] for name in outside} - set(sys.stdlib_module_names) <= {
        "tollhouse",
        "pydantic",
        "pluggy",
        "fastapi",
    }


@pytest.mark.parametrize("folder", sorted(ROOT.glob("plugins/*/*/tests")), ids=lambda path: path.parent.name)
def test_tests_of_a_plugin_use_what_others_have(folder: Path) -> None:
    """What a third party cannot use, our own plugins do not use either."""
    for path in folder.rglob("*.py"):
        for name in imported(path):
            if name == "tollhouse" or name.startswith("tollhouse."):
                assert name.split(".")[1:2] in (["plugin"], ["testing"]), f"{path.relative_to(ROOT)} imports {name}"


def imported(path: Path, *, types: bool = True) -> Iterator[str]:
    """The modules that a file imports; with ``types=False`` not those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skip = {
        id(inner)
        for node in ast.walk(tree)
        if not types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"tollhouse.{alias.name}" for alias in node.names) if node.module == "tollhouse" else [node.module]
