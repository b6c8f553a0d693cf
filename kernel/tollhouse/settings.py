"""Settings of the installation: the environment, and ``plugins.toml``.

One class, read once at start. A bad value stops the start with one line that names it.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tollhouse.plugin.errors import ConfigError

ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?", re.ASCII)
LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


def _env(name: str) -> AliasChoices:
    return AliasChoices(name.lower(), name, f"TOLLHOUSE_{name}")


class Settings(BaseSettings):
    """Every setting, with its default. Environment variables are the upper-case names, also with ``TOLLHOUSE_`` before them."""

    model_config = SettingsConfigDict(extra="forbid", env_prefix="TOLLHOUSE_", populate_by_name=True)

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
    trusted_proxies: list[str] = Field(
        default_factory=list, description="Addresses or networks whose X-Forwarded-For and -Proto are believed."
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Origins (https://app.example.com) whose pages may call /api/ and /v1/ with a bearer token.",
    )
    rate_limit_anonymous: int = Field(60, ge=0, description="Requests a minute for an address without credential; 0: off.")
    rate_limit_principal: int = Field(1200, ge=0, description="Requests a minute for a signed-in caller; 0: off.")
    rate_limit_login: int = Field(10, ge=0, description="Sign-in tries in 5 minutes for an account, and for an address.")
    rate_limit_storage: str = Field("memory://", description="Where rates are counted: memory://, or redis://host:port")
    body_limit: int = Field(1024 * 1024, ge=1024, description="Bytes of an ordinary request body.")
    large_body_limit: int = Field(32 * 1024 * 1024, ge=1024, description="Bytes of a body with content parts.")
    upload_limit: int = Field(20 * 1024 * 1024, ge=1024, description="Bytes of an uploaded file.")
    model_timeout: float = Field(120.0, gt=0, le=600, description="Seconds that a model may take.")
    session_idle_hours: int = Field(24 * 14, ge=1, description="Hours without use after which a session ends.")
    session_absolute_hours: int = Field(24 * 90, ge=1, description="Hours after which a session ends in any case.")
    allow_private_model_urls: bool = Field(
        True, description="Whether a model connection may point at a private address (a model on your own network)."
    )
    metrics_public: bool = Field(False, description="Serve /metrics to anybody; else to the operator and loopback only.")
    log_format: str = Field("text", pattern="^(text|json)$", description="text or json.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")

    config: Path = Field(Path("plugins.toml"), validation_alias=AliasChoices("config", "TOLLHOUSE_CONFIG"))
    enabled: list[str] = Field(default_factory=list, description="Plugins that run here (plugins.toml).")
    plugin_settings: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Their settings (plugins.toml).")

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return (
                json.loads(value) if value.lstrip().startswith("[") else [part for part in re.split(r"[\s,]+", value) if part]
            )
        except json.JSONDecodeError:
            raise ValueError("must be origins separated by commas, or a JSON list of them") from None

    @field_validator("cors_origins")
    @classmethod
    def _exact_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if origin == "*":
                raise ValueError("'*' is not taken: name the origins whose pages may call, such as https://app.example.com")
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin[:100]!r} is no origin: scheme://host[:port] in small letters, nothing after it")
        return origins

    @field_validator("public_url")
    @classmethod
    def _a_url(cls, value: str) -> str:
        value = value.rstrip("/")
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query):
            raise ValueError("must be http(s)://host[:port] without a path")
        return value

    @property
    def base_url(self) -> str:
        """Where links begin; no slash at the end."""
        if self.public_url:
            return self.public_url
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.port}"

    @property
    def secure_cookies(self) -> bool:
        """Whether browsers keep a ``__Host-`` Secure cookie from us: https, or plain http on the loopback."""
        parts = urlsplit(self.base_url)
        return parts.scheme == "https" or (parts.hostname or "") in ("localhost", "127.0.0.1", "::1")

    @property
    def cookies_work(self) -> bool:
        """Whether browsers keep any session cookie of ours."""
        return self.secure_cookies or self.allow_insecure_http


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
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting {name}: {first['msg'].removeprefix('Value error, ')}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ConfigError(f"{path} does not exist; it names the plugins that run here (TOLLHOUSE_CONFIG points elsewhere)")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
