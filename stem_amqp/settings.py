"""Settings from ``STEM_*`` variables, a ``.env`` file, or keywords. Secrets are never printed."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stem_amqp.durations import seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.message import CEILING

PREFIX = "STEM_"
_FOREIGN = frozenset(
    {
        "STEM_TEST_BROKER_URL",
        "STEM_TEST_FUZZ",
        "STEM_TEST_INSTALL",
        "STEM_TEST_POSTGRES_URL",
        "STEM_TEST_REDIS_URL",
    }
)
"""Variables with our prefix that belong to the test tools."""


class Provision(StrEnum):
    """What a `Stem` does about the topology when it connects."""

    APPLY = "apply"
    """Declare what is missing."""
    VERIFY = "verify"
    """Declare nothing; fail if something is missing, a worker also if arguments differ."""
    NONE = "none"
    """Trust that it is there."""


class LogFormat(StrEnum):
    """How the worker writes its log."""

    TEXT = "text"
    JSON = "json"


def _split_urls(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Seconds = Annotated[float, BeforeValidator(seconds)]
"""Seconds, also written as ``30s`` or ``5m``."""


class Settings(BaseSettings):
    """Everything that can be set, each as ``STEM_`` and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    broker_url: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(SecretStr("amqp://guest:guest@localhost:5672/"),),
        description="Broker URL, or several separated by commas for failover: amqp, amqps, memory.",
    )
    backend_url: SecretStr = Field(
        default=SecretStr("rpc://"),
        description="Result backend URL: rpc://, redis://host, postgresql://host/db,"
        " sqlite:///path, memory://.",
    )
    management_url: SecretStr | None = Field(
        default=None,
        description="RabbitMQ management API; default: port 15672 of the broker's host.",
    )
    namespace: str = Field(
        default="stem", description="Prefix of every exchange and queue: one per environment."
    )
    topology: Path | None = Field(default=None, description="Path of the topology YAML file.")
    provision: Provision = Field(
        default=Provision.APPLY, description="On connect: apply, verify or none."
    )
    default_queue: str = Field(default="default", description="Queue of tasks that name none.")
    concurrency: int = Field(default=10, ge=1, le=65535, description="Tasks at once per queue.")
    prefetch: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Unsettled deliveries per queue; default: concurrency.",
    )
    grace_period: Seconds = Field(
        default=30.0, description="Time that running tasks get to finish at shutdown."
    )
    heartbeat_interval: Seconds = Field(
        default=10.0, gt=0, description="Time between worker-heartbeat signals."
    )
    amqp_heartbeat: Seconds = Field(
        default=30.0, ge=1, le=65535, description="AMQP heartbeat of the connections."
    )
    connect_timeout: Seconds = Field(default=10.0, gt=0, description="Time to open a connection.")
    publish_timeout: Seconds = Field(
        default=10.0, gt=0, description="Time in which a publish must be confirmed."
    )
    publish_window: int = Field(
        default=500, ge=1, le=65535, description="Publishes awaiting their confirm in bulk."
    )
    max_body_size: int = Field(
        default=1_048_576,
        ge=1024,
        le=CEILING,
        description="Bytes of a task message's body at most; larger ones are not enqueued.",
    )
    max_age: Seconds = Field(
        default=14 * 86400.0,
        gt=0,
        description="Age of a task from which it is not retried or snoozed any more.",
    )
    dlq_alarm: int = Field(
        default=1000, ge=1, description="Dead letters in a queue from which it counts as unhealthy."
    )
    result_ttl: Seconds = Field(default=86400.0, gt=0, description="Time that results are kept.")
    track_started: bool = Field(
        default=True, description="Store the state 'running', where the backend keeps states."
    )
    quarantine_after: int = Field(
        default=3,
        ge=0,
        description="Deliveries in vain after which a task runs in a process of its own; 0: never.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        description="Synchronous tasks at once in a worker; 0: as many as its concurrency.",
    )
    pool_processes: int = Field(
        default=0,
        ge=0,
        description="Processes of a worker for tasks with executor='process'; 0: one a core.",
    )
    pool_max_tasks: int = Field(
        default=0, ge=0, description="Tasks after which such a process is renewed; 0: never."
    )
    pool_max_memory: int = Field(
        default=0,
        ge=0,
        description="Bytes of resident memory above which such a process is renewed; 0: never.",
    )
    signals_enabled: bool = Field(default=True, description="Whether signals are sent at all.")
    enabled_signals: dict[str, bool] = Field(
        default_factory=dict, description='Exceptions, as JSON: {"worker-heartbeat": false}.'
    )
    log_level: str = Field(default="INFO", description="Level of the worker's log.")
    log_format: LogFormat = Field(default=LogFormat.TEXT, description="text or json.")
    tls_ca: Path | None = Field(default=None, description="CA bundle to verify the broker with.")
    tls_cert: Path | None = Field(default=None, description="Client certificate (PEM).")
    tls_key: Path | None = Field(default=None, description="Key of the client certificate (PEM).")
    tls_server_name: str | None = Field(
        default=None, description="Name to verify in the broker's certificate; default: the host."
    )
    backend_tls_ca: Path | None = Field(
        default=None, description="CA bundle to verify the result backend with."
    )
    backend_tls_cert: Path | None = Field(
        default=None, description="Client certificate for the result backend (PEM)."
    )
    backend_tls_key: Path | None = Field(default=None, description="Key of that certificate (PEM).")

    keys_file: Path | None = Field(
        default=None, description="Path of the key file (YAML or JSON) that bodies are signed with."
    )
    signing_key: SecretStr | None = Field(
        default=None,
        description="Instead of a key file: HMAC-SHA256 keys as id:base64,…; the first one signs.",
    )
    encryption_key: SecretStr | None = Field(
        default=None,
        description="Likewise: AES-256-GCM keys as id:base64,…; the first one encrypts.",
    )
    require_signature: bool | None = Field(
        default=None,
        description="Refuse unsigned messages; default: where there are keys to verify with.",
    )
    encrypt: bool = Field(default=False, description="Encrypt the bodies of messages.")

    @field_validator("broker_url", mode="before")
    @classmethod
    def _several_urls(cls, value: object) -> object:
        return _split_urls(value)

    @field_validator("broker_url")
    @classmethod
    def _broker_schemes(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not urls:
            raise ValueError("at least one URL is needed, such as amqp://user:password@host:5672/")
        schemes = {_scheme(url, ("amqp", "amqps", "memory")) for url in urls}
        if "memory" in schemes and len(urls) > 1:
            raise ValueError("memory:// has no second broker to fail over to")
        return urls

    @field_validator("backend_url")
    @classmethod
    def _backend_scheme(cls, url: SecretStr) -> SecretStr:
        _scheme(url, None)
        return url

    @field_validator("namespace", "default_queue")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
            raise ValueError(
                f"{name!r} is no name: letters, digits, '.', '_', '-', at most {NAME_LIMIT}"
            )
        return name

    @field_validator("log_level")
    @classmethod
    def _level(cls, level: str) -> str:
        known = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        if level.upper() not in known:
            raise ValueError(f"{level!r} is none of {', '.join(known)}")
        return level.upper()

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the settings.

        Args:
            **values: settings that come before the environment; None means not given.

        Raises:
            ConfigurationError: a value cannot be used; the message names its variable.
        """
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            lines = []
            for problem in error.errors(include_url=False, include_input=False):
                name = str(problem["loc"][0]) if problem["loc"] else "settings"
                message = problem["msg"].removeprefix("Value error, ")
                lines.append(f"{PREFIX}{name.upper()}: {message}")
            raise ConfigurationError("\n".join(lines)) from None

    @property
    def in_memory(self) -> bool:
        """Whether the broker is the one inside of this process."""
        return self.broker_url[0].get_secret_value().startswith("memory:")

    def replace(self, **values: Any) -> Self:
        """Return a copy with other values, checked like the first."""
        return type(self).load(**(self.model_dump(exclude_unset=True) | values))


NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""Names of namespaces, queues and tasks: dotted words, so that topic patterns can match them."""
NAME_LIMIT = 120
"""Characters of a name: RabbitMQ's routing keys and names end at 255 bytes."""


def _scheme(url: SecretStr, allowed: tuple[str, ...] | None) -> str:
    text = url.get_secret_value()
    scheme, separator, _ = text.partition("://")
    if not separator or not scheme:
        raise ValueError("this is no URL: it must start with a scheme, such as amqp://")
    if allowed is not None and scheme not in allowed:
        raise ValueError(
            f"the scheme {scheme}:// is none of {', '.join(s + '://' for s in allowed)}"
        )
    return scheme


def redacted(url: str) -> str:
    """Return a URL without its password, and without the values of its query."""
    hidden = re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", url)
    return re.sub(r"([?&](?:password|secret|token|key)[^=]*=)[^&]*", r"\1***", hidden)


def misspelt_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each ``STEM_`` variable that no setting reads.

    Args:
        environment: the variables; the process's own by default.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    lines = []
    for name in sorted(os.environ if environment is None else environment):
        if name.startswith(PREFIX) and name not in known and name not in _FOREIGN:
            close = difflib.get_close_matches(name, known, n=1)
            lines.append(f"{name} is no setting" + (f"; did you mean {close[0]}?" if close else ""))
    return lines
