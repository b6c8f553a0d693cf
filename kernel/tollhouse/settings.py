"""Settings of the installation: the environment, and ``plugins.toml``.

One class, read once at start. A bad value stops the start with one line that names it.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tollhouse.plugin.errors import ConfigError

ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?", re.ASCII)
LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
PREFIX = "TOLLHOUSE_"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
NO_SETTINGS = frozenset({"KEY", "CHROMIUM", "ROUNDS", "SEED", "EXAMPLES"})
"""What else is called ``TOLLHOUSE_…``: the key of the examples in the docs, and what only tests read."""
LINK = re.compile(r"TOLLHOUSE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)")
"""What Kubernetes and Docker tell each program of a service that is called tollhouse."""
RATE_STORAGES = ("memory", "redis", "rediss", "redis+unix")


def _env(name: str) -> AliasChoices:
    return AliasChoices(name.lower(), name, f"TOLLHOUSE_{name}")


class Settings(BaseSettings):
    """Every setting, with its default. Environment variables are the upper-case names, also with ``TOLLHOUSE_`` before them."""

    model_config = SettingsConfigDict(extra="forbid", env_prefix=PREFIX, populate_by_name=True)

    host: str = Field("127.0.0.1", validation_alias=_env("HOST"), description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, validation_alias=_env("PORT"), description="Port to listen on.")
    public_url: str = Field("", validation_alias=_env("PUBLIC_URL"), description="Where people reach this installation.")
    data_dir: Path = Field(Path("data"), validation_alias=_env("DATA_DIR"), description="Embedded database, keys, uploads.")
    database_url: SecretStr | None = Field(
        None, validation_alias=_env("DATABASE_URL"), description="PostgreSQL 15 or newer; none starts the embedded server."
    )
    allow_insecure_http: bool = Field(
        False, validation_alias=_env("ALLOW_INSECURE_HTTP"), description="Use a plain cookie on plain http."
    )
    master_key: SecretStr | None = Field(
        None, description="Encrypts connection secrets; else the file master.key in the data directory. Comma: rotation."
    )
    default_tenant: str = Field("default", description="The tenant of requests that name none.")
    database_pool: int = Field(5, ge=1, description="Connections for ordinary work, for each process.")
    database_hot_pool: int = Field(10, ge=1, description="Connections for turns, for each process.")
    workers: int = Field(1, ge=1, le=64, description="Server processes.")
    jobs: bool = Field(True, description="Run a job worker inside the server process.")
    job_concurrency: int = Field(50, ge=1, description="Jobs that one worker runs at the same time.")
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Addresses or networks, separated by commas, whose X-Forwarded-For and -Proto are believed.",
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Origins (https://app.example.com) whose pages may call /api/ and /v1/ with a bearer token.",
    )
    rate_limit_anonymous: int = Field(
        60, ge=0, description="Writes and API calls a minute for an address without credential; 0: off."
    )
    rate_limit_principal: int = Field(1200, ge=0, description="Requests a minute for a signed-in caller; 0: off.")
    rate_limit_pages: int = Field(
        600, ge=0, description="Pages a minute for an address without credential; 0, or no limit for strangers: off."
    )
    rate_limit_login: int = Field(
        10, ge=0, description="Wrong tries to sign in, in 5 minutes, for an address or a known browser; 0: no brake at all."
    )
    rate_limit_login_total: int = Field(
        1000, ge=0, description="Tries to sign in, in 5 minutes, from which on everybody unknown has to wait; 0: off."
    )
    rate_limit_registrations: int = Field(
        20, ge=0, description="New accounts an hour for an address, or a browser; 0, or no limit for strangers: off."
    )
    rate_limit_storage: str = Field("memory://", description="Where rates are counted: memory://, or redis://host:port")
    body_limit: int = Field(1024 * 1024, ge=1024, description="Bytes of an ordinary request body.")
    large_body_limit: int = Field(32 * 1024 * 1024, ge=1024, description="Bytes of a body with content parts.")
    body_memory: int = Field(
        128 * 1024 * 1024,
        ge=64 * 1024,
        description="Bytes of all bodies that a process holds at once; beyond it 503. At least twice the limit of a large one.",
    )
    upload_limit: int = Field(20 * 1024 * 1024, ge=1024, description="Bytes of an uploaded file.")
    upload_user_bytes: int = Field(1024**3, ge=0, description="Bytes of all uploads of one person; 0: no limit.")
    upload_user_files: int = Field(2_000, ge=0, description="How many uploads of one person are kept; 0: no limit.")
    upload_tenant_bytes: int = Field(50 * 1024**3, ge=0, description="Bytes of all uploads in one tenant; 0: no limit.")
    upload_tenant_files: int = Field(200_000, ge=0, description="How many uploads in one tenant are kept; 0: no limit.")
    model_timeout: float = Field(120.0, gt=0, le=600, description="Seconds that a model may take.")
    session_idle_hours: int = Field(24 * 14, ge=1, description="Hours without use after which a session ends.")
    session_absolute_hours: int = Field(24 * 90, ge=1, description="Hours after which a session ends in any case.")
    allow_private_model_urls: bool = Field(
        True, description="False: no connection leads to a private address, whatever a tenant was allowed."
    )
    anchor_url: str = Field(
        "", description="Where each line of the ledger's anchor is posted as well, as JSON; somebody else's machine."
    )
    audit_days: int = Field(0, ge=0, description="Days after which entries of the audit log are given up; 0: never.")
    metrics_public: bool = Field(False, description="Serve /metrics to anybody; else to the operator and loopback only.")
    log_format: str = Field("text", pattern="^(text|json)$", description="text or json.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")

    config: Path = Field(Path("plugins.toml"), validation_alias=AliasChoices("config", "TOLLHOUSE_CONFIG"))
    enabled: list[str] = Field(default_factory=list, description="Plugins that run here (plugins.toml).")
    plugin_settings: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Their settings (plugins.toml).")

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        """A list, as JSON or with commas."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.lstrip().startswith("[") else [one for one in re.split(r"[\s,]+", value) if one]
        except ValueError:
            raise ValueError("is not valid JSON; a list separated by commas will do") from None

    @field_validator("cors_origins")
    @classmethod
    def _exact_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if origin == "*":
                raise ValueError("'*' is not taken: name the origins whose pages may call, such as https://app.example.com")
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin[:100]!r} is no origin: scheme://host[:port] in small letters, nothing after it")
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for item in networks:
            try:
                ip_network(item, strict=False)
            except ValueError:
                expected = "such as 10.0.0.1,192.168.0.0/16"
                raise ValueError(f"{item!r} is neither an address nor a network; expected is a list {expected}") from None
        return networks

    @field_validator("host")
    @classmethod
    def _a_host(cls, value: str) -> str:
        return value.removeprefix("[").removesuffix("]")

    @field_validator("data_dir")
    @classmethod
    def _a_folder(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError(f"{value} begins with the home of somebody who does not exist") from None

    @field_validator("public_url")
    @classmethod
    def _a_url(cls, value: str) -> str:
        parts = _split(value.strip().rstrip("/"))
        if parts is not None and not any(parts):
            return ""
        if (
            parts is None
            or parts.scheme not in ("http", "https")
            or not parts.hostname
            or not set(parts.netloc).isdisjoint("@ ")
            or any((parts.path, parts.query, parts.fragment))
        ):
            raise ValueError("must be http(s)://host[:port], without a path, a query or a user's name")
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("anchor_url")
    @classmethod
    def _an_endpoint(cls, value: str) -> str:
        parts = _split(value.strip())
        if value.strip() and (parts is None or parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("must be an http(s) address")
        return value.strip()

    @field_validator("database_url")
    @classmethod
    def _a_database(cls, value: SecretStr | None) -> SecretStr | None:
        """As libpq and asyncpg both read it. No message repeats any of it: it may hold a password."""
        if value is None or not (text := value.get_secret_value().strip()):
            return None
        scheme, separator, rest = text.partition("://")
        if not separator or scheme.split("+")[0] not in ("postgres", "postgresql"):
            raise ValueError("must look like postgresql://user:password@host:5432/database")
        credentials, _, place = rest.partition("/")[0].partition("?")[0].rpartition("@")
        unreadable = "#" in rest or not set("[]").isdisjoint(credentials)
        if unreadable or None in (_split(f"{scheme}://{host}") for host in place.split(",")):
            raise ValueError(
                "has a host or port that cannot be read; in user and password, write @ as %40, : as %3A, / as %2F, # as %23, "
                "[ as %5B, ] as %5D"
            )
        if not set(parse_qs(rest.partition("?")[2]).get("sslmode", ())) <= set(SSL_MODES):
            raise ValueError(f"has an unknown sslmode; known are {', '.join(SSL_MODES)}")
        return SecretStr(f"postgresql://{rest}")

    @field_validator("rate_limit_storage")
    @classmethod
    def _a_storage(cls, value: str) -> str:
        parts = _split(value)
        if parts is None or parts.scheme not in RATE_STORAGES or not (parts.scheme == "memory" or parts.netloc or parts.path):
            raise ValueError("must be memory:// or redis://host:port (rediss:// with TLS)")
        return value

    @property
    def base_url(self) -> str:
        """Where links begin; no slash at the end."""
        if self.public_url:
            return self.public_url
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def secure_cookies(self) -> bool:
        """Whether browsers keep a ``__Host-`` Secure cookie from us: https, or plain http on the loopback."""
        parts = urlsplit(self.base_url)
        return parts.scheme == "https" or (parts.hostname or "") in ("localhost", "127.0.0.1", "::1")

    @property
    def cookies_work(self) -> bool:
        """Whether browsers keep any session cookie of ours."""
        return self.secure_cookies or self.allow_insecure_http


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None if host or port cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError:
        return None
    return parts


def load_settings(**overrides: Any) -> Settings:
    """Read the environment and ``plugins.toml``.

    Raises:
        ConfigError: one line that names the bad value.
    """
    import os

    config = Path(overrides.get("config") or os.environ.get("TOLLHOUSE_CONFIG") or "plugins.toml")
    try:
        return Settings(**{"config": config, **_read_toml(config), **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        # The loc of a value from the environment is the alias that held it, in any case.
        name = ".".join(str(part) for part in first["loc"]).lower()
        raise ConfigError(f"setting {name}: {first['msg'].removeprefix('Value error, ')}") from None


def refuse_unknown(settings: Settings, environ: Mapping[str, str]) -> None:
    """A variable that looks like a setting and is none would be ignored in silence, and with it what it was to protect.

    Raises:
        ConfigError: one line that names each, with what was probably meant.
    """
    faults = [*_unknown_variables(settings, environ), *_unknown_to_make(environ.get("MAKEFLAGS", ""))]
    if faults:
        raise ConfigError("; ".join(faults))


def _unknown_variables(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    known = {name.upper() for name in Settings.model_fields if name not in ("enabled", "plugin_settings")}
    plugins = {f"{name.upper().replace('-', '_')}__": name for name in settings.enabled}
    for name in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        bare = name[len(PREFIX) :]
        if (
            bare.upper() in known | NO_SETTINGS
            or name.startswith(tuple(PREFIX + one for one in plugins))
            or LINK.fullmatch(name)
        ):
            continue
        if "__" in bare:
            meant = difflib.get_close_matches(bare.upper().partition("__")[0] + "__", plugins, 1, 0.7)
            why = "no enabled plugin has this name" + (f"; did you mean {PREFIX}{meant[0]}…?" if meant else "")
        elif bare.upper() in ("ENABLED", "PLUGIN_SETTINGS"):
            why = f"that stands in {settings.config}"
        else:
            meant = difflib.get_close_matches(bare.upper(), known, 1, 0.7)
            why = "there is no such setting" + (f"; did you mean {PREFIX}{meant[0]}?" if meant else "")
        yield f"{name}: {why}"


def _unknown_to_make(flags: str) -> Iterator[str]:
    """``make run PROT=9000`` goes on with the default, unless somebody says so."""
    names = [name.upper() for name in Settings.model_fields]
    known = {*names, *(PREFIX + name for name in names), "PYTHON", "VENV", "PLUGIN", "ARGS"}
    for word in flags.partition("-- ")[2].split(" "):
        name, equals, _ = word.partition("=")
        if equals and re.fullmatch(r"[A-Z][A-Z_]*", name) and name not in known and not name.startswith(PREFIX):
            meant = difflib.get_close_matches(name, known, 1, 0.7)
            yield f"make {name}=…: there is no such setting" + (f"; did you mean {meant[0]}?" if meant else "")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        elsewhere = "it names the plugins that run here (TOLLHOUSE_CONFIG points elsewhere)"
        raise ConfigError(f"{path} does not exist; {elsewhere}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; TOLLHOUSE_CONFIG must name a file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    unknown = set(raw) - {"enabled", "settings"}
    if unknown:
        raise ConfigError(f"{path}: unknown key {sorted(unknown)[0]!r}; known are 'enabled' and tables [settings.<plugin>]")
    enabled, tables = raw.get("enabled", []), raw.get("settings", {})
    if not isinstance(enabled, list) or not all(isinstance(name, str) for name in enabled):
        raise ConfigError(f"{path}: 'enabled' must be a list of plugin names")
    if len(set(enabled)) != len(enabled):
        raise ConfigError(f"{path}: 'enabled' names a plugin twice")
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError(f"{path}: settings must be tables, [settings.<plugin>]")
    unused = set(tables) - set(enabled)
    if unused:
        raise ConfigError(f"{path}: [settings.{sorted(unused)[0]}] belongs to a plugin that is not enabled")
    return {"enabled": enabled, "plugin_settings": tables}
