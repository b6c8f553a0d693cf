"""Settings are read or refused, each in one line that names the setting and says what is expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings, load_settings, refuse_unknown


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugins.toml, named as an operator names it."""
    path = tmp_path / "plugins.toml"
    path.write_text("enabled = []\n")
    monkeypatch.setenv("TOLLHOUSE_CONFIG", str(path))
    return path


def refusal() -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "\n" not in caught.value.detail
    return caught.value.detail


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DATABASE_URL", "mysql://db/tollhouse", "must look like postgresql://"),
        ("DATABASE_URL", f"db.example.com:{SECRET}", "must look like postgresql://"),
        ("DATABASE_URL", f"postgresql://u:{SECRET}@db:abc/x", "host or port that cannot be read"),
        ("DATABASE_URL", "postgresql://db:70000/x", "host or port that cannot be read"),
        ("DATABASE_URL", "postgresql://one:5432,two:x/x", "host or port that cannot be read"),
        ("DATABASE_URL", f"postgresql://u:{SECRET}/x@db/x", "write @ as %40"),
        ("DATABASE_URL", f"postgresql://u:{SECRET}#x@db/x", "# as %23"),
        ("DATABASE_URL", f"postgresql://u:p[{SECRET}]x@127.0.0.1:1/db", "[ as %5B"),
        ("DATABASE_URL", f"postgresql://u:p[{SECRET}@127.0.0.1:1/db", "[ as %5B"),
        ("DATABASE_URL", f"postgresql://u:{SECRET}@db/x?sslmode=on", "known are disable, allow, prefer, require"),
        ("PUBLIC_URL", f"https://ada:{SECRET}@agents.example", "must be http(s)://host[:port]"),
        ("PUBLIC_URL", "https://agents.example:99999", "must be http(s)://host[:port]"),
        ("PUBLIC_URL", "https://agents.example:port", "must be http(s)://host[:port]"),
        ("PUBLIC_URL", "https://agents.example/shop", "without a path"),
        ("PUBLIC_URL", "https://agents.example?x=1", "without a path, a query"),
        ("PUBLIC_URL", "agents.example", "must be http(s)://host[:port]"),
        ("TOLLHOUSE_RATE_LIMIT_STORAGE", "memcached://db", "must be memory:// or redis://host:port"),
        ("TOLLHOUSE_RATE_LIMIT_STORAGE", "redis", "must be memory:// or redis://host:port"),
        ("TOLLHOUSE_RATE_LIMIT_STORAGE", "redis://db:port", "must be memory:// or redis://host:port"),
        ("TOLLHOUSE_TRUSTED_PROXIES", "10.0.0.1,proxy", "'proxy' is neither an address nor a network"),
        ("TOLLHOUSE_TRUSTED_PROXIES", "10.0.0.0/33", "such as 10.0.0.1,192.168.0.0/16"),
        ("TOLLHOUSE_TRUSTED_PROXIES", '["10.0.0.1"', "is not valid JSON"),
        ("TOLLHOUSE_WORKERS", "many", "valid integer"),
        ("DATA_DIR", "~nobody-of-this-name/data", "home of somebody who does not exist"),
    ],
)
def test_a_bad_value_is_one_line_and_gives_no_secret_away(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    line = refusal()
    assert line.startswith(f"setting {variable.removeprefix('TOLLHOUSE_').lower()}: ")
    assert says in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("value", "networks"),
    [
        ("10.0.0.1", ["10.0.0.1"]),
        ("10.0.0.1, 192.168.0.0/16,::1", ["10.0.0.1", "192.168.0.0/16", "::1"]),
        ('["127.0.0.1"]', ["127.0.0.1"]),
        ("", []),
    ],
)
def test_proxies_are_written_with_commas_or_as_json(
    config: Path, monkeypatch: pytest.MonkeyPatch, value: str, networks: list[str]
) -> None:
    monkeypatch.setenv("TOLLHOUSE_TRUSTED_PROXIES", value)
    assert load_settings().trusted_proxies == networks


@pytest.mark.parametrize(
    ("value", "dsn"),
    [
        ("postgres://ada:p%40ss@db/x", "postgresql://ada:p%40ss@db/x"),
        ("postgresql+asyncpg://db/x", "postgresql://db/x"),
        ("postgresql://one:5432,two:5433/x", "postgresql://one:5432,two:5433/x"),
        ("postgresql://u@/x?host=/run/postgresql&port=5432", "postgresql://u@/x?host=/run/postgresql&port=5432"),
    ],
)
def test_a_database_is_named_as_other_programs_name_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, value: str, dsn: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", value)
    found = load_settings().database_url
    assert found is not None
    assert found.get_secret_value() == dsn


def test_a_data_directory_in_the_home_is_the_same_for_all(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(config.parent))
    monkeypatch.setenv("DATA_DIR", "~/data")
    assert load_settings().data_dir == config.parent / "data"


def test_an_empty_variable_is_none(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("PUBLIC_URL", "")
    settings = load_settings()
    assert (settings.database_url, settings.public_url) == (None, "")


def test_a_file_of_plugins_that_cannot_be_read(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_bytes(b'enabled = ["caf\xe9"]\n')
    assert refusal() == f"{config} is not UTF-8 text"
    monkeypatch.setenv("TOLLHOUSE_CONFIG", str(config.parent))
    assert refusal() == f"{config.parent} cannot be read: Is a directory; TOLLHOUSE_CONFIG must name a file"
    monkeypatch.setenv("TOLLHOUSE_CONFIG", str(config / "below"))
    assert "cannot be read: Not a directory" in refusal()
    monkeypatch.setenv("TOLLHOUSE_CONFIG", str(config.parent / "none.toml"))
    assert "does not exist" in refusal()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("::1", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
        ("::", "http://127.0.0.1:8000"),
        ("127.0.0.1", "http://127.0.0.1:8000"),
    ],
)
def test_links_to_an_address_of_version_6_have_brackets(host: str, url: str) -> None:
    assert Settings(host=host, port=8000, public_url="").base_url == url


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("TOLLHOUSE_BOGUS", "there is no such setting"),
        ("TOLLHOUSE_WORKER", "there is no such setting; did you mean TOLLHOUSE_WORKERS?"),
        ("Tollhouse_Worker", "there is no such setting; did you mean TOLLHOUSE_WORKERS?"),
        ("TOLLHOUSE_RATELIMIT_LOGIN", "there is no such setting; did you mean TOLLHOUSE_RATE_LIMIT_LOGIN?"),
        ("TOLLHOUSE_MASTERKEY", "there is no such setting; did you mean TOLLHOUSE_MASTER_KEY?"),
        ("TOLLHOUSE_STRIPE__KEY", "no enabled plugin has this name"),
        ("TOLLHOUSE_MY_WEBS__SIZE", "no enabled plugin has this name; did you mean TOLLHOUSE_MY_WEB__…?"),
        ("TOLLHOUSE_my_web__size", "no enabled plugin has this name; did you mean TOLLHOUSE_MY_WEB__…?"),
        ("TOLLHOUSE_ENABLED", "that stands in plugins.toml"),
    ],
)
def test_a_variable_that_would_be_ignored_is_named_with_what_was_meant(name: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        refuse_unknown(Settings(enabled=["my-web"]), {name: "1", "HOME": "1"})
    assert refused.value.detail == f"{name}: {why}"


def test_all_of_them_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        refuse_unknown(Settings(), {"TOLLHOUSE_A": "1", "TOLLHOUSE_B": "1", "MAKEFLAGS": "s -- PROT=9000 PORT=1 ARGS=x"})
    said = refused.value.detail.split("; ")
    assert [one.partition(":")[0] for one in said] == ["TOLLHOUSE_A", "TOLLHOUSE_B", "make PROT=…", "did you mean PORT?"]


@pytest.mark.parametrize(
    "name",
    [
        *(f"TOLLHOUSE_{name.upper()}" for name in Settings.model_fields if name not in ("enabled", "plugin_settings")),
        "tollhouse_workers",
        "TOLLHOUSE_MY_WEB__SIZE",
        "TOLLHOUSE_SERVICE_HOST",
        "TOLLHOUSE_SERVICE_PORT_HTTP",
        "TOLLHOUSE_PORT_8000_TCP_ADDR",
        "TOLLHOUSE_WEB_PORT_8000_TCP",
        "TOLLHOUSE_WEB_SERVICE_HOST",
        "MAKEFLAGS",
        "HOSTNAME",
    ],
)
def test_what_is_meant_as_it_is_written(name: str) -> None:
    refuse_unknown(Settings(enabled=["my-web"]), {name: "w --no-print-directory -- PLUGIN=a PORT=9000 DATA_DIR=/srv/x\\ y"})


def test_what_tests_and_docs_read_is_no_setting_and_known() -> None:
    root = Path(__file__).parents[3]
    files = [
        *root.glob("tests/**/*.py"),
        *root.glob("docs/**/*.md"),
        *root.glob("benchmarks/*.py"),
        root / "README.md",
        root / ".ci/run",
    ]
    read = r"""(?:environ(?:\.get\(|\[)|export )["']?(TOLLHOUSE_[A-Z_]+)"""
    for name in {name for file in files for name in re.findall(read, file.read_text(encoding="utf-8"))}:
        refuse_unknown(Settings(), {name: "1"})
