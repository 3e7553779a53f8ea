"""The settings: fields with their defaults, bounds and descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from stem_amqp.durations import shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.limits import CEILING, IncomingLimits
from stem_amqp.settings.choices import (
    EventSources,
    LogFormat,
    LogSuccesses,
    Provision,
    ReplayMemory,
    Signatures,
)
from stem_amqp.settings.control import ControlSettings
from stem_amqp.settings.directives import DirectiveSettings
from stem_amqp.settings.incoming import IncomingSettings
from stem_amqp.settings.names import NAME, NAME_LIMIT
from stem_amqp.settings.observability import ObservabilitySettings
from stem_amqp.settings.tls import TlsSettings
from stem_amqp.settings.values import Seconds, json_object, scheme_of, split_urls
from stem_amqp.text import UnreadableFileError, read_text

PREFIX = "STEM_"
ENV_FILE = ".env"
"""The file with variables, in the current directory."""


class Settings(  # pyright: ignore[reportIncompatibleVariableOverride] - BaseSettings has further keys
    ControlSettings,
    DirectiveSettings,
    IncomingSettings,
    ObservabilitySettings,
    TlsSettings,
    BaseSettings,
):
    """All settings; the variable of each is ``STEM_`` and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8-sig",  # an editor may put a byte order mark before the first name
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
        description="RabbitMQ management API; default: port 15672 of the broker's host, or 15671"
        " with TLS beside amqps://. https:// uses the files of STEM_TLS_CA, STEM_TLS_CERT and STEM_TLS_KEY.",
    )
    namespace: str = Field(
        default="stem", description="Prefix of every exchange and queue: one per environment."
    )
    topology: Path | None = Field(default=None, description="Path of the topology YAML file.")
    provision: Provision = Field(
        default=Provision.APPLY, description="On connect: apply, verify or none."
    )
    provision_interval: Seconds = Field(
        default=30.0,
        ge=0,
        description="Time between a worker's checks that the topology still exists; 0: never.",
    )
    default_queue: str = Field(default="default", description="Queue of tasks that name none.")
    concurrency: int = Field(default=10, ge=1, le=65535, description="Concurrent tasks per queue.")
    prefetch: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Unsettled deliveries per queue; default: concurrency.",
    )
    grace_period: Seconds = Field(
        default=30.0, description="Time for running tasks to finish at shutdown."
    )
    heartbeat_interval: Seconds = Field(
        default=5.0,
        ge=0,
        description="Time between two heartbeats of a worker, which `stem-amqp workers` shows; 0: none.",
    )
    limit_lease_ttl: Seconds = Field(
        default=30.0,
        ge=1,
        description="Time after which a killed worker's tasks no longer count in limits of concurrency.",
    )
    events: EventSources = Field(
        default=EventSources.WORKERS,
        description="Processes that publish lifecycle events while there is a listener: workers, all (also"
        " producers) or off.",
    )
    events_rate: int = Field(
        default=1000, ge=1, description="Most lifecycle events per second of a process."
    )
    amqp_heartbeat: Seconds = Field(
        default=30.0, ge=1, le=65535, description="AMQP heartbeat of the connections."
    )
    connect_timeout: Seconds = Field(default=10.0, gt=0, description="Time to open a connection.")
    publish_timeout: Seconds = Field(
        default=10.0, gt=0, description="Time in which a publish must be confirmed."
    )
    publish_window: int = Field(
        default=500, ge=1, le=65535, description="Most unconfirmed publishes of a bulk enqueue."
    )
    max_body_size: int = Field(
        default=1_048_576,
        ge=1024,
        le=CEILING,
        description="Largest body of a task message in bytes; larger ones are not enqueued.",
    )
    max_age: Seconds = Field(
        default=14 * 86400.0,
        gt=0,
        description="Age from which a task is not retried or snoozed.",
    )
    unknown_task_wait: Seconds = Field(
        default=600.0,
        ge=0,
        description="Time that a task which this worker does not know waits for a worker that does, before it"
        " is dead-lettered; 0: none.",
    )
    dlq_alarm: int = Field(
        default=1000,
        ge=1,
        description="Number of dead letters from which a queue is reported as unhealthy.",
    )
    result_ttl: Seconds = Field(
        default=86400.0, gt=0, description="Time for which results are kept."
    )
    track_started: bool = Field(
        default=True, description="Store the state 'running', if the backend stores states."
    )
    quarantine_after: int = Field(
        default=3,
        ge=0,
        description="Failed deliveries after which a task runs in a separate process; 0: never.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        description="Concurrent synchronous tasks of a worker; 0: its concurrency.",
    )
    pool_processes: int = Field(
        default=0,
        ge=0,
        description="Processes of a worker for tasks with executor='process'; 0: one per core.",
    )
    pool_max_tasks: int = Field(
        default=0, ge=0, description="Tasks after which such a process is replaced; 0: never."
    )
    pool_max_memory: int = Field(
        default=0,
        ge=0,
        description="Bytes of resident memory above which such a process is replaced; 0: never.",
    )
    signals_enabled: bool = Field(default=True, description="Whether signals are sent.")
    enabled_signals: Annotated[dict[str, bool], NoDecode, BeforeValidator(json_object)] = Field(
        default_factory=dict,
        description='Exceptions for single signals, as JSON: {"worker-heartbeat": false}.',
    )
    log_level: str = Field(default="INFO", description="Level of the worker's log.")
    log_successes: LogSuccesses = Field(
        default=LogSuccesses.LIMITED,
        description="Successful tasks that are logged at INFO with their duration: each, limited (100"
        " per second, then a count) or none.",
    )
    log_format: LogFormat = Field(default=LogFormat.TEXT, description="text or json.")
    keys_file: Path | None = Field(
        default=None, description="Path of the key file (YAML or JSON) for signing bodies."
    )
    signing_key: SecretStr | None = Field(
        default=None,
        description="Instead of a key file: HMAC-SHA256 keys as id:base64,…; the first one signs.",
    )
    encryption_key: SecretStr | None = Field(
        default=None,
        description="Instead of a key file: AES-256-GCM keys as id:base64,…; the first one encrypts.",
    )
    require_signature: bool | None = Field(
        default=None,
        description="Refuse unsigned messages; default: if there are keys to verify with.",
    )
    signatures: Signatures | None = Field(
        default=None,
        description="What is signed in addition to bodies: bodies (nothing), transition, required, strict;"
        " default: required if all verifiers can sign, else transition.",
    )
    signature_window: Seconds = Field(
        default=14 * 86400.0,
        gt=0,
        description="Time after its publish, or after its delay, in which a signed publish is valid.",
    )
    replay_memory: ReplayMemory = Field(
        default=ReplayMemory.WORKER,
        description="Where the ids of processed signed publishes are stored: worker, backend.",
    )
    encrypt: bool = Field(default=False, description="Encrypt the bodies of messages.")
    require_encryption: bool = Field(
        default=False, description="Refuse messages whose body is not encrypted."
    )

    @field_validator("broker_url", mode="before")
    @classmethod
    def _several_urls(cls, value: object) -> object:
        return split_urls(value)

    @field_validator("broker_url")
    @classmethod
    def _broker_schemes(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not urls:
            raise ValueError(
                "at least one URL is required, such as amqp://user:password@host:5672/"
            )
        schemes = {scheme_of(url, ("amqp", "amqps", "memory")) for url in urls}
        if "memory" in schemes and len(urls) > 1:
            raise ValueError("memory:// cannot be combined with other URLs")
        return urls

    @field_validator("backend_url")
    @classmethod
    def _backend_scheme(cls, url: SecretStr) -> SecretStr:
        scheme_of(url, None)
        return url

    @field_validator("namespace", "default_queue")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
            raise ValueError(
                f"{shown(name)} is not a valid name: use letters, digits, '.', '_', '-', at most {NAME_LIMIT}"
            )
        return name

    @field_validator("log_level")
    @classmethod
    def _level(cls, level: str) -> str:
        known = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        if level.upper() not in known:
            raise ValueError(f"{shown(level)} is not one of {', '.join(known)}")
        return level.upper()

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the settings.

        Args:
            **values: settings that take precedence over the environment; None means not given.

        Raises:
            ConfigurationError: a value is not valid; the message names its variable.
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
        except SettingsError as error:
            raise ConfigurationError(f"the {PREFIX} variables cannot be read: {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(_unreadable_env_file(error)) from None

    @property
    def incoming_limits(self) -> IncomingLimits:
        """The limits of the messages that a worker accepts."""
        return IncomingLimits(
            # A worker accepts what a producer with the same settings may send
            body_size=max(self.incoming_body_size, self.max_body_size),
            values=self.incoming_values,
            nesting=self.incoming_nesting,
            headers=self.incoming_headers,
            options=self.incoming_options,
        )

    @property
    def in_memory(self) -> bool:
        """Whether the broker is the in-memory broker of this process."""
        return self.broker_url[0].get_secret_value().startswith("memory:")

    @property
    def refuses(self) -> bool:
        """Whether a worker with these settings may refuse messages without a valid signature."""
        return bool(self.keys_file or self.signing_key or self.require_encryption)

    def replace(self, **values: Any) -> Self:
        """Return a copy with other values, which are checked."""
        return type(self).load(**(self.model_dump(exclude_unset=True) | values))


def _unreadable_env_file(error: OSError | UnicodeDecodeError) -> str:
    reason = str(error)
    try:
        read_text(ENV_FILE)
    except UnreadableFileError as unreadable:
        reason = str(unreadable)
    return (
        f"the file {Path(ENV_FILE).resolve()} cannot be read: {reason}\n"
        "  It provides settings that no variable sets: correct it or remove it."
    )
