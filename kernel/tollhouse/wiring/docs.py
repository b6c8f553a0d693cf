"""Writes the pages of docs/reference that are made from the code: ``python -m tollhouse.wiring.docs [--check]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from tollhouse.host import docs as hooks
from tollhouse.policy.reasons import REASONS
from tollhouse.settings import Settings, load_settings

FOLDER: Final = Path("docs/reference")
KEY_BYTES: Final = 32
IN_THE_FILE: Final = ("config", "enabled", "plugin_settings")
"""Settings that are plugins.toml itself; the page speaks of them before its table."""


def _note(source: str) -> str:
    return f"<!-- Generated from {source} by `make docs`; do not edit. -->\n\n"


def render_settings() -> str:
    """Every setting of the installation: its variable, default and meaning."""
    head = (
        "# Settings\n\n"
        + _note("kernel/tollhouse/settings.py")
        + "The operator's settings come from the environment. A bad value stops the start with one line that names it. Which\n"
        "plugins run, and their settings, stand in `plugins.toml` (`TOLLHOUSE_CONFIG` names another file): `enabled` is the\n"
        "list of plugins, and a table `[settings.<plugin>]` holds what the README of that plugin explains.\n\n"
        "Variables without a prefix may also be written with `TOLLHOUSE_` before them. Lists are JSON, or\n"
        "separated by commas.\n\n"
        "A variable `TOLLHOUSE_…` that is none of these, nor a setting `TOLLHOUSE_<PLUGIN>__<FIELD>` of an enabled plugin,\n"
        "stops the start too, with what was probably meant; so does an unknown variable of `make run`. Exempt are\n"
        "`TOLLHOUSE_KEY` of the examples, `TOLLHOUSE_CHROMIUM`, `_ROUNDS`, `_SEED` and `_EXAMPLES` of the tests, and what\n"
        "Kubernetes and Docker set for a service of this name.\n\n"
        "| variable | default | meaning |\n|---|---|---|\n"
    )
    return head + "".join(_setting(name, field) for name, field in Settings.model_fields.items() if name not in IN_THE_FILE)


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable of a setting, in its shortest form."""
    alias = field.validation_alias
    plain = isinstance(alias, AliasChoices) and name.upper() in alias.choices
    return name.upper() if plain else f"TOLLHOUSE_{name.upper()}"


def _setting(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default == "":
        shown = "none"
    elif isinstance(default, Path):
        shown = f"`{default}`"
    else:
        shown = f"`{json.dumps(default)}`" if not isinstance(default, str) else f"`{default}`"
    return f"| `{variable(name, field)}` | {shown} | {_cell(field.description or '')} |\n"


def render_reasons() -> str:
    """Every reason for which a turn is denied."""
    head = (
        "# Reasons\n\n"
        + _note("kernel/tollhouse/policy/reasons.py")
        + "Why a turn was denied: `code` of the problem document, `reason` of a decision. 402 wants a plan or more of it, 429\n"
        "comes back by itself (with `Retry-After`), 403 is a rule. The sentence is what a person reads.\n\n"
        "| code | status | sentence | meaning |\n|---|---|---|---|\n"
    )
    return head + "".join(f"| `{r.code}` | {r.status} | {_cell(r.sentence)} | {_cell(r.meaning)} |\n" for r in REASONS)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def render_openapi() -> str:
    """The HTTP interface of an installation with the plugins of this folder's plugins.toml; nothing is connected."""
    from tollhouse.app import Process
    from tollhouse.store.secrets import SecretBox

    settings = _plain_settings()
    document: Mapping[str, Any] = Process(
        settings, "postgresql://nobody@localhost/none", SecretBox([bytes(KEY_BYTES)])
    ).app.openapi()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _plain_settings() -> Settings:
    """Defaults and plugins.toml; what the environment says here must not show in a page that everybody reads."""
    from_file = load_settings(config=Path("plugins.toml"))
    defaults = {
        name: field.get_default(call_default_factory=True, validated_data={}) for name, field in Settings.model_fields.items()
    }
    return Settings(**{**defaults, "enabled": from_file.enabled, "plugin_settings": from_file.plugin_settings})


PAGES: Final[dict[str, Callable[[], str]]] = {
    "hooks.md": hooks.render,
    "settings.md": render_settings,
    "reasons.md": render_reasons,
    "openapi.json": render_openapi,
}


def stale(root: Path) -> list[str]:
    """The pages that are not what the code says now."""
    return [name for name, render in PAGES.items() if _read(root / FOLDER / name) != render()]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main() -> int:
    """Write the pages, or with ``--check`` only say which are stale."""
    if "--check" in sys.argv[1:]:
        found = stale(Path())
        for name in found:
            sys.stderr.write(f"{FOLDER / name} is stale; run: make docs\n")
        return 1 if found else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, render in PAGES.items():
        (FOLDER / name).write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
