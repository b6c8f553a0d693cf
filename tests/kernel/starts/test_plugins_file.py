"""The file of plugins: a bad line stops the start, and is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tollhouse.host.loader import load_plugins
from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import load_settings


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("enabled = [", "plugins.toml"),
        ("enabled = 'web'", "'enabled' must be a list"),
        ("enabled = [1]", "'enabled' must be a list"),
        ("enabled = ['web', 'web']", "twice"),
        ("enable = ['web']", "unknown key 'enable'"),
        ("enabled = ['web']\n[settings]\nweb = 1", "settings must be tables"),
        ("enabled = ['web']\n[settings.api]\nx = 1", "settings.api"),
        ("enabled = ['nothing-of-this-name']", "nothing-of-this-name"),
        ("enabled = ['Not A Name!']", "Not A Name!"),
        ("enabled = ['web']\n[settings.web]\nsingup = true", "web"),
        ("enabled = ['web']\n[settings.web]\nsignup = 'maybe'", "web"),
        ("enabled = ['manual']\n[settings.manual]\nx = 1", "manual"),
        ("\xff", "plugins.toml"),
    ],
)
def test_a_bad_line_in_plugins_toml_stops_the_start_with_one_line(tmp_path: Path, text: str, says: str) -> None:
    config = tmp_path / "plugins.toml"
    config.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as stopped:
        load_plugins(load_settings(config=config, data_dir=tmp_path))
    line = str(stopped.value)
    assert says in line
    assert "\n" not in line
    assert len(line) < 300


def test_a_missing_plugins_toml_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(config=tmp_path / "plugins.toml")
