"""Enumerations of settings."""

from __future__ import annotations

from enum import StrEnum


class Provision(StrEnum):
    """How a `Stem` provisions the topology when it connects."""

    APPLY = "apply"
    """Declare missing entities."""
    VERIFY = "verify"
    """Declare nothing; fail if an entity is missing, in a worker also if arguments differ."""
    NONE = "none"
    """Do not check the topology."""


class Metrics(StrEnum):
    """Where an application reports metrics, besides the metrics port of its workers."""

    AUTO = "auto"
    """To OpenTelemetry, if a MeterProvider is configured in the process."""
    PROMETHEUS = "prometheus"
    """To the registry of ``prometheus_client``, in producers too."""
    OFF = "off"
    """Nowhere."""


class Signatures(StrEnum):
    """What is signed and verified if there are signing keys; each level includes those above it."""

    BODIES = "bodies"
    """Only the bodies of tasks, as in earlier releases."""
    TRANSITION = "transition"
    """Also publishes, results and commands; those without such a signature are accepted."""
    REQUIRED = "required"
    """Refuse unsigned results and commands, and unsigned publishes of tasks whose producer requires it."""
    STRICT = "strict"
    """Refuse every unsigned publish, also of tasks that an earlier release has enqueued."""


class ReplayMemory(StrEnum):
    """Where the ids of processed publishes are stored."""

    WORKER = "worker"
    """In the memory of each worker process."""
    BACKEND = "backend"
    """Also in the result backend, for all workers."""


class Tracing(StrEnum):
    """Whether enqueues and runs are traced with OpenTelemetry."""

    AUTO = "auto"
    """If an SDK is configured in the process when the application connects."""
    ON = "on"
    """The same, and the log says what prevents it."""
    OFF = "off"


class LogFormat(StrEnum):
    """The format of the worker's log."""

    TEXT = "text"
    JSON = "json"


class LogSuccesses(StrEnum):
    """Which successful tasks are logged at INFO; the others are logged at DEBUG."""

    EACH = "each"
    LIMITED = "limited"
    """Each, up to 100 per second; above that, one line per second and task."""
    NONE = "none"


class EventSources(StrEnum):
    """Which processes publish lifecycle events while somebody listens."""

    OFF = "off"
    WORKERS = "workers"
    ALL = "all"
    """Also processes that only enqueue tasks; each has a queue on the broker for it."""
