"""Settings from the environment, `.env` and `*_FILE` secrets.

One field is one environment variable (its alias); README.md shows them as a
table that a test compares with this module.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from ops.errors import SettingsError
from ops.proof import Prove
from ops.store import ACTIVITY_DAYS_LEAST
from ops.target import Target

TARGET_PREFIX = "OPS_TARGETS__"
_TARGET_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
"""A name is a folder's name, too: no two names may become the same folder."""


class Queue(StrEnum):
    """By which way work gets to those who do it."""

    NONE = "none"
    REDIS = "redis"


class Settings(BaseModel):
    """What can be set. Secrets are `SecretStr`: they show as asterisks everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr | None = Field(
        None,
        alias="DATABASE_URL",
        description="The database to look after, as an SQLAlchemy URL. "
        "Without it, a demo shop database is made.",
    )
    targets: dict[str, SecretStr] = Field(
        default_factory=dict,
        alias="OPS_TARGETS__NAME",
        description="More databases, one variable each; NAME becomes the name on the page.",
    )
    redis_url: SecretStr | None = Field(
        None,
        alias="REDIS_URL",
        description="The Redis beside the database. Without it, Redis is left out.",
    )
    data_dir: Path = Field(
        Path("data"),
        alias="OPS_DATA_DIR",
        description="Folder of the backups, uploads and the console's own memory.",
    )
    host: str = Field(
        "127.0.0.1",
        alias="OPS_HOST",
        description="Address to listen on. Other machines reach 0.0.0.0; put TLS before it.",
    )
    port: int = Field(
        8501, alias="OPS_PORT", ge=0, le=65535, description="Port to listen on; 0 takes a free one."
    )
    admin_password: SecretStr | None = Field(
        None,
        alias="OPS_ADMIN_PASSWORD",
        min_length=8,
        description="Password of `admin`, at least 8 characters. "
        "Without it, each start prints a one-time sign-in link.",
    )
    pg_bin: Path | None = Field(
        None,
        alias="OPS_PG_BIN",
        description="Folder with pg_dump and pg_restore, asked before all others.",
    )
    max_upload_gb: float = Field(
        64,
        alias="OPS_MAX_UPLOAD_GB",
        gt=0,
        description="Largest ZIP that may be uploaded, in GB (1,000,000,000 bytes).",
    )
    undo_days: int = Field(
        7,
        alias="OPS_UNDO_DAYS",
        ge=1,
        le=365,
        description="Days for which the database as it was before a restore is kept.",
    )
    prove_backups: Prove = Field(
        Prove.QUICK,
        alias="OPS_PROVE_BACKUPS",
        description="How every new backup is tried: `none`, `quick` (read back from disk) or "
        "`full` (a test restore).",
    )
    checksums: bool = Field(
        False,
        alias="OPS_CHECKSUMS",
        description="Whether backups hold checksums of every table's content (`true` or `false`).",
    )
    store_url: SecretStr | None = Field(
        None,
        alias="OPS_STORE_URL",
        description="Where several consoles and workers share one memory, as an SQLAlchemy URL of "
        "a PostgreSQL database of its own. Without it, a file in the data folder.",
    )
    queue: Queue = Field(
        Queue.NONE,
        alias="OPS_QUEUE",
        description="Who does the work: `none` (this machine) or `redis` (`ops-console worker`, "
        "by way of the Redis of REDIS_URL).",
    )
    notify: SecretStr | None = Field(
        None,
        alias="OPS_NOTIFY",
        description="Who is told when something fails, and when it is well again: addresses as "
        "Apprise writes them (mailto://, slack://, json:// and many more), separated by spaces.",
    )
    heartbeat_url: SecretStr | None = Field(
        None,
        alias="OPS_HEARTBEAT_URL",
        description="A web address that is asked for after each good scheduled backup, so that "
        "a watchdog misses it when none comes.",
    )
    activity_days: int = Field(
        400,
        alias="OPS_ACTIVITY_DAYS",
        ge=ACTIVITY_DAYS_LEAST,
        le=3650,
        description="Days for which the Activity page remembers who did what.",
    )
    metrics_token: SecretStr | None = Field(
        None,
        alias="OPS_METRICS_TOKEN",
        min_length=16,
        description="Opens `/metrics` for Prometheus to whoever sends it as a Bearer token, at "
        "least 16 characters. Without it there is no such page.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1",
        alias="OPS_TRUSTED_PROXIES",
        description="Addresses of reverse proxies whose X-Forwarded headers are believed, "
        "separated by commas.",
    )

    @field_validator("targets")
    @classmethod
    def _named(cls, targets: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in targets:
            if not _TARGET_NAME.fullmatch(name) or len(name) > 40:
                raise ValueError(f"{name!r} is not a name: use up to 40 letters, digits, - and _")
        return targets

    @field_validator("notify")
    @classmethod
    def _are_addresses(cls, notify: SecretStr | None) -> SecretStr | None:
        for place, address in enumerate(notify.get_secret_value().split() if notify else [], 1):
            if not re.match(r"[A-Za-z0-9]+://", address):
                raise ValueError(f"address no. {place} does not begin like mailto:// or slack://")
        return notify

    @field_validator("heartbeat_url")
    @classmethod
    def _is_web_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not re.match(r"https?://[^/\s]", url.get_secret_value()):
            raise ValueError("it does not begin with http:// or https://")
        return url

    @field_validator("pg_bin")
    @classmethod
    def _is_folder(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        return folder

    def all_targets(self) -> list[Target]:
        """The databases to look after; the demo when none is set.

        Raises:
            SettingsError: an address is not a URL of a known kind, or the queue cannot be used.
        """
        self._look_at_queue()
        found = []
        if self.database_url is not None and "main" in self.targets:
            raise SettingsError(
                "OPS_TARGETS__MAIN cannot stand beside DATABASE_URL, whose database is called main."
            )
        if self.database_url is not None:
            found.append(Target.parse("main", self.database_url.get_secret_value()))
        for name, url in self.targets.items():
            found.append(Target.parse(name, url.get_secret_value()))
        if not found:
            demo = self.data_dir.expanduser().resolve() / "demo" / "demo-shop.db"
            found.append(Target.parse("demo", f"sqlite:///{demo}", is_demo=True))
        return found

    def _look_at_queue(self) -> None:
        """Raises SettingsError where workers are to do the work and there is no way to them."""
        if self.queue is not Queue.REDIS:
            return
        if self.redis_url is None:
            raise SettingsError("OPS_QUEUE is redis, but REDIS_URL does not say where it is.")
        if find_spec("rq") is None:
            raise SettingsError(
                "OPS_QUEUE is redis, but the Python package rq is not installed.",
                "Install it with: pip install 'ops-console[queue]'",
            )
        if not _is_redis(self.redis_url):
            raise SettingsError(
                "OPS_QUEUE is redis, but REDIS_URL is not the address of a Redis.",
                "Write it like redis://:password@host:6379/0 "
                "(special characters in the password percent-encoded, such as %2F for /).",
            )


def _is_redis(url: SecretStr) -> bool:
    """Whether it can be understood; redis-py's own error would tell a part of it."""
    from redis.connection import parse_url

    try:
        parse_url(url.get_secret_value())  # type: ignore[no-untyped-call]
    except ValueError:
        return False
    return True


def source_of(settings: Settings, target: str) -> str:
    """The variable that gave a target its address; empty for the demo."""
    if settings.database_url is not None and target == "main":
        return "DATABASE_URL"
    return f"{TARGET_PREFIX}{target.upper()}" if target in settings.targets else ""


def environment_names() -> list[str]:
    """Every variable that is understood, without the `_FILE` forms."""
    return [str(field.alias) for field in Settings.model_fields.values()]


def secret_names() -> list[str]:
    """The variables that may also be given as NAME_FILE, a file that holds the value."""
    return [
        str(field.alias)
        for field in Settings.model_fields.values()
        if "SecretStr" in str(field.annotation)
    ]


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; `.env` in the working folder fills what the environment leaves open.

    Raises:
        SettingsError: a misspelt name, an unreadable `*_FILE`, an impossible value;
            its message is one line.
    """
    if environ is None:
        dotenv = {k: v for k, v in dotenv_values(".env").items() if v is not None}
        environ = {**dotenv, **os.environ}
    values: dict[str, object] = {}
    targets: dict[str, str] = {}
    for name, value in environ.items():
        base, text = _resolve_file(name, value)
        if base.startswith(TARGET_PREFIX) and base != TARGET_PREFIX:
            if text:
                _put_once(targets, base.removeprefix(TARGET_PREFIX).lower(), text, base)
        elif base in environment_names():
            if text:
                _put_once(values, base, text, base)
        elif base.startswith("OPS_"):
            raise SettingsError(_misspelt(base))
    if targets:
        values["OPS_TARGETS__NAME"] = targets
    try:
        return Settings.model_validate(values)
    except ValidationError as cause:
        raise SettingsError(_first_problem(cause)) from None


def _resolve_file(name: str, value: str) -> tuple[str, str]:
    """NAME_FILE of a secret becomes NAME with the file's text, without its last line end."""
    base = name.removesuffix("_FILE")
    is_secret = base in secret_names() or base.startswith(TARGET_PREFIX)
    if base == name or not is_secret:
        return name, value
    try:
        return base, Path(value).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as cause:
        reason = getattr(cause, "strerror", None) or "it is not text"
        raise SettingsError(
            f"{name} names the file {value!r}, which cannot be read: {reason}."
        ) from None


def _put_once(into: dict[str, object] | dict[str, str], key: str, value: str, name: str) -> None:
    if key in into:
        raise SettingsError(f"{name} is set twice (as itself and as {name}_FILE); remove one.")
    into[key] = value


def _misspelt(name: str) -> str:
    near = difflib.get_close_matches(name, environment_names(), n=1, cutoff=0.6)
    tip = f"; did you mean {near[0]}?" if near else ""
    return f"{name} is not a setting of the console{tip}"


def _first_problem(cause: ValidationError) -> str:
    """One line without the value itself, which may be a secret."""
    problem = cause.errors(include_input=False, include_url=False)[0]
    return f"{problem['loc'][0]} cannot be used: {problem['msg']}."
