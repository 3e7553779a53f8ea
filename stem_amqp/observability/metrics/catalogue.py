"""The instruments that producers and workers report: names, labels, units and descriptions as data."""

from __future__ import annotations

from stem_amqp.observability.metrics import scheduling
from stem_amqp.observability.metrics.model import TASK, Instrument, Kind, counter, gauge

RUN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Upper bounds in seconds of run times."""
WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
"""Upper bounds in seconds of waits in queues, and of the time to the end of a task."""
PUBLISH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper bounds in seconds of publishes."""


_RABBITMQ = {"messaging.system": "rabbitmq"}

PUBLISHED = counter("published", "Tasks whose publish the broker confirmed.")
PUBLISH_FAILURES = counter(
    "publish_failures",
    "Tasks that were not enqueued, or whose publish was not confirmed.",
    *TASK,
    "reason",
    otel="publish.failures",
)
PUBLISH_CONFIRM = Instrument(
    name="stem_publish_confirm_seconds",
    kind=Kind.HISTOGRAM,
    labels=("queue",),
    unit="s",
    otel="messaging.client.operation.duration",
    description="Time from the start of a publish to its confirm.",
    buckets=PUBLISH_BUCKETS,
    attributes=_RABBITMQ
    | {"messaging.operation.name": "publish", "messaging.operation.type": "send"},
)
RECEIVED = counter("received", "Messages that workers received.", "queue", unit="{message}")
REDELIVERED = counter(
    "redelivered",
    "Messages that workers received and that the broker had delivered before.",
    "queue",
    unit="{message}",
)
STARTED = counter("started", "Runs that started.", unit="{run}")
SUCCEEDED = counter("succeeded", "Runs that returned.", unit="{run}")
FAILED = counter(
    "failed", "Runs that failed and are not retried.", *TASK, "exception", unit="{run}"
)
RETRIED = counter(
    "retried", "Runs that failed and are followed by a retry.", *TASK, "exception", unit="{run}"
)
DEAD_LETTERED = counter(
    "dead_lettered",
    "Messages that became dead letters.",
    *TASK,
    "reason",
    unit="{message}",
    otel="dead_lettered",
)
EXPIRED = counter("expired", "Tasks that were not started before they expired.")
REVOKED = counter("revoked", "Tasks that were revoked.")
SNOOZED = counter("snoozed", "Runs that asked to run later.", unit="{run}")
HELD = counter(
    "held", "Messages of paused tasks that were moved to wait for a resume.", unit="{message}"
)
RATE_LIMITED = counter("rate_limited", "Tasks that had to wait because of their rate limit.")
UNLIMITED = counter(
    "unlimited",
    "Tasks that started without their limits, because the store of the limits was away.",
)
UNKNOWN_TASKS = counter(
    "unknown_tasks",
    "Deliveries of tasks that the worker does not know, which went back to wait for one that does.",
    "queue",
    unit="{message}",
)
REPEATED = counter(
    "repeated",
    "Messages that were not run, because another delivery or copy was or is.",
    unit="{message}",
)
CRASHED = counter("crashed", "Runs whose process died.", unit="{run}")
RETURNED = counter(
    "returned", "Messages that were requeued, as when a worker stops.", unit="{message}"
)
RUN_TIME = Instrument(
    name="stem_run_seconds",
    kind=Kind.HISTOGRAM,
    labels=TASK,
    unit="s",
    otel="messaging.process.duration",
    description="Time of a run, whatever its outcome.",
    buckets=RUN_BUCKETS,
    attributes=_RABBITMQ | {"messaging.operation.name": "process"},
)
QUEUE_WAIT = Instrument(
    name="stem_queue_wait_seconds",
    kind=Kind.HISTOGRAM,
    labels=TASK,
    unit="s",
    otel="stem.queue.wait",
    description="Time from when a run was due until it started.",
    buckets=WAIT_BUCKETS,
)
END_TO_END = Instrument(
    name="stem_end_to_end_seconds",
    kind=Kind.HISTOGRAM,
    labels=TASK,
    unit="s",
    otel="stem.end_to_end",
    description="Time from when a task was due until it succeeded or became a dead letter.",
    buckets=WAIT_BUCKETS,
)
RECONNECTS = counter(
    "reconnects",
    "Connections of workers that were lost and restored.",
    "role",
    unit="{connection}",
)
CONSUMER_RESTARTS = Instrument(
    name="stem_consumer_restarts_total",
    kind=Kind.COUNTER,
    labels=(),
    unit="{consumer}",
    otel="stem.consumer.restarts",
    description="Consumers that were interrupted and restored on an open connection.",
)
SIGNATURE_FAILURES = counter(
    "signature_failures",
    "Messages that were refused because of their signature or encryption.",
    "queue",
    "reason",
    unit="{message}",
    otel="signature.failures",
)
COMMANDS = counter(
    "commands",
    "Commands of operators that workers received, by what became of them.",
    "command",
    "outcome",
    unit="{command}",
)
BREAKER_OPENED = counter(
    "breaker_opened",
    "How often a breaker opened, counted by the worker that opened it.",
    "kind",
    "name",
    unit="{opening}",
    otel="breaker.opened",
)
BREAKER_STATE = gauge(
    "breaker_state",
    "stem.breaker.state",
    "1",
    "State of a breaker: 0 closed, 1 half-open, 2 open.",
    "kind",
    "name",
    highest=True,
)
RUNNING = gauge("running_tasks", "stem.running", "{task}", "Tasks that run now.", "queue")
CAPACITY = gauge(
    "capacity_tasks", "stem.capacity", "{task}", "Tasks that can run at once.", "queue"
)
THREADS_IN_USE = gauge(
    "threads_in_use", "stem.threads.used", "{thread}", "Threads in use for synchronous tasks."
)
THREADS = gauge("threads", "stem.threads.limit", "{thread}", "Threads for synchronous tasks.")
LOOP_LAG = gauge(
    "event_loop_lag_seconds",
    "stem.event_loop.lag",
    "s",
    "Largest delay of the worker's event loop in the last 30 to 60 s.",
    highest=True,
)
CERTIFICATE_EXPIRY = gauge(
    "certificate_expiry_timestamp_seconds",
    "stem.certificate.expiry",
    "s",
    "When a certificate file of the worker's connections expires, in seconds since the epoch.",
    "file",
    highest=True,
)

CATALOGUE = (
    PUBLISHED,
    PUBLISH_FAILURES,
    PUBLISH_CONFIRM,
    RECEIVED,
    REDELIVERED,
    STARTED,
    SUCCEEDED,
    FAILED,
    RETRIED,
    DEAD_LETTERED,
    EXPIRED,
    REVOKED,
    SNOOZED,
    HELD,
    RATE_LIMITED,
    UNLIMITED,
    UNKNOWN_TASKS,
    REPEATED,
    CRASHED,
    RETURNED,
    RUN_TIME,
    QUEUE_WAIT,
    END_TO_END,
    RUNNING,
    CAPACITY,
    THREADS_IN_USE,
    THREADS,
    LOOP_LAG,
    RECONNECTS,
    CONSUMER_RESTARTS,
    SIGNATURE_FAILURES,
    COMMANDS,
    BREAKER_OPENED,
    BREAKER_STATE,
    CERTIFICATE_EXPIRY,
    *scheduling.INSTRUMENTS,
)
"""Every instrument, in the order of the documentation."""
