"""Sections of a topology file: queues and retries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    Tag,
)

from stem_amqp.errors import ConfigurationError
from stem_amqp.retry import DEFAULT_POLICY, RetryPolicy
from stem_amqp.tasks.options import DEFAULT_MAX_RETRIES
from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.breaker import BreakerSpec
from stem_amqp.topology.spec.limits import QueueLimit
from stem_amqp.topology.spec.values import (
    Bytes,
    Delay,
    Deliveries,
    Factor,
    Generation,
    Length,
    Priority,
    Retries,
    RetryName,
    Share,
    Slots,
    Timeout,
    Ttl,
    Wait,
    not_a_stream,
)

DELIVERY_LIMIT = 100
"""The default number of returns of a message before the broker dead-letters it."""
_BACKOFF = DEFAULT_POLICY.short_form()


class BackoffSpec(Spec):
    """The wait before a retry: ``base * factor ** attempt``, at most ``max``."""

    base: Wait = Field(default=_BACKOFF["base"], description="The first wait.")
    factor: Factor = Field(
        default=_BACKOFF["factor"],
        description="The factor between two waits, at least 1.",
    )
    max: Wait = Field(default=_BACKOFF["max"], description="The longest wait.")
    jitter: Share = Field(
        default=_BACKOFF["jitter"],
        description="The largest random part to subtract from a wait, 0 to 1, so that retries of a"
        " burst are spread out.",
    )


class RetrySpec(Spec):
    """How often and when a failed task runs again, for tasks without their own options."""

    max_retries: Retries = Field(
        default=DEFAULT_MAX_RETRIES, description="Runs after the first one."
    )
    max_age: Ttl | None = Field(
        default=None,
        description="Age from which a task is not retried or snoozed. Default: STEM_MAX_AGE, 14d.",
    )
    backoff: BackoffSpec = Field(default=BackoffSpec(), description="The wait before each retry.")

    def policy(self) -> RetryPolicy:
        """Return the backoff as a retry policy."""
        backoff = self.backoff
        return RetryPolicy(
            base=backoff.base, factor=backoff.factor, max=backoff.max, jitter=backoff.jitter
        )


def _retry_kind(value: object) -> str:
    # the brackets distinguish these tags from keys of the file, see `explain.place_of`
    return "[name]" if isinstance(value, str) else "[mapping]"


Retry = Annotated[
    Annotated[RetryName, Tag("[name]")] | Annotated[RetrySpec, Tag("[mapping]")],
    Discriminator(_retry_kind),
]
"""An inline retry policy, or the name of one under ``retries``."""

DLQ_LENGTH = 100_000
"""The default length of a dead-letter queue, in messages."""
DLQ_BYTES = 1_073_741_824
"""The default length of a dead-letter queue, in bytes of bodies."""


class DeadLetterSpec(Spec):
    """Limits of a dead-letter queue. By default no dead letter is dropped."""

    version: Generation = Field(
        default=1,
        description="The dead-letter queue's version: increment it when you change its limits, and"
        " stem-amqp topology migrate replaces the queue.",
    )
    ttl: Ttl | None = Field(
        default=None, description="Dead letters older than this are dropped. Default: never."
    )
    max_length: Length | None = Field(
        default=DLQ_LENGTH,
        description="The most dead letters; see overflow. null: no limit.",
    )
    max_length_bytes: Bytes | None = Field(
        default=DLQ_BYTES,
        description="The most bytes of their bodies; headers, up to 12 KiB each, are not counted."
        " null: no limit.",
    )
    overflow: Literal["refuse", "drop-oldest"] = Field(
        default="refuse",
        description="A full queue: refuse keeps its messages, and further dead letters remain where"
        " they failed, so that processing stops instead of losing one; drop-oldest drops the"
        " oldest.",
    )


class RejectedSpec(Spec):
    """The queue of messages without a valid signature. When it is full, the oldest is dropped."""

    ttl: Ttl = Field(default=7 * 86400.0, description="Older messages are dropped. Default: 7d.")
    max_length: Length = Field(
        default=10_000, description="The most messages; the oldest are dropped for newer ones."
    )
    max_length_bytes: Bytes = Field(
        default=67_108_864,
        description="The most bytes of their bodies; the oldest are dropped for newer ones.",
    )


class NativeRetrySpec(Spec):
    """Retries that RabbitMQ delays inside of the queue: ``min * failures``, up to ``max``."""

    min: Delay = Field(
        description="The wait after the first failure, and the increment of the others."
    )
    max: Delay | None = Field(
        default=None, description="The longest wait. Default: min, for every wait."
    )

    def delay(self, failures: int) -> float:
        """Return the seconds that RabbitMQ waits after a failure.

        Args:
            failures: the number of failures so far, as RabbitMQ counts them.
        """
        return min(self.min * max(1, failures), self.min if self.max is None else self.max)


class UnknownTaskSpec(Spec):
    """Tasks that a worker does not know, as in a rolling deploy."""

    wait: Wait = Field(
        description="How long they wait for a worker that knows them, before they are dead-lettered."
        " 0: not at all."
    )


class QueueSpec(Spec):
    """A logical queue: its work queue, its dead-letter queue and how workers consume it."""

    version: Generation = Field(
        default=1,
        description="The work queue's version. RabbitMQ cannot change a queue's arguments: increment this"
        " when you change them, and stem-amqp topology migrate replaces the queue under load.",
    )
    type: Annotated[Literal["quorum", "classic"], BeforeValidator(not_a_stream)] = Field(
        default="quorum",
        description="quorum is replicated and dead-letters at-least-once; classic does neither,"
        " but has priorities on every RabbitMQ release.",
    )
    prefetch: Slots | None = Field(
        default=None,
        description="Unsettled deliveries per consumer. Default: the worker's setting.",
    )
    concurrency: Slots | None = Field(
        default=None, description="Concurrent tasks of this queue. Default: the worker's setting."
    )
    limits: tuple[QueueLimit, ...] = Field(
        default=(),
        description="Limits of all tasks of this queue together: names under limits, rates such as 10/s,"
        " or mappings.",
    )
    delivery_limit: Deliveries = Field(
        default=DELIVERY_LIMIT,
        description="Returns to the queue before the broker dead-letters a message: the last resort"
        " against a task that kills its worker. Quorum queues only.",
    )
    retry: Retry | None = Field(
        default=RetrySpec(),
        description="Retries of tasks without their own options: a mapping, or a name under retries."
        " null: stem-amqp's default.",
    )
    native_retry: NativeRetrySpec | None = Field(
        default=None,
        description="RabbitMQ delays the retries inside of this quorum queue, instead of the delay"
        " queues and retry.backoff. Needs RabbitMQ 4.3.1. Default: no.",
    )
    dead_letter: DeadLetterSpec = Field(
        default=DeadLetterSpec(), description="Limits of the dead-letter queue."
    )
    priority: Priority | None = Field(
        default=None,
        description="Highest priority of a classic queue (x-max-priority). Quorum queues have"
        " priorities from RabbitMQ 4.0 on and do not need this key.",
    )
    strict_priority: StrictBool = Field(
        default=False,
        description="The tasks rely on 32 strict priorities of a quorum queue. Needs RabbitMQ 4.3;"
        " older ones are refused.",
    )
    consumer_timeout: Timeout | None = Field(
        default=None,
        description="How long a delivery may be unsettled before RabbitMQ requeues it; longer than the"
        " time limits of the tasks, at least 1m. Needs RabbitMQ 3.12 and a quorum queue."
        " Default: the broker's, 30m.",
    )
    unknown_task: UnknownTaskSpec | None = Field(
        default=None,
        description="Tasks that a worker of this queue does not know. Default: the worker's setting"
        " STEM_UNKNOWN_TASK_WAIT, 10m.",
    )
    ttl: Ttl | None = Field(
        default=None,
        description="Tasks that wait longer are dead-lettered. Default: never.",
    )
    max_ready_age: Delay | None = Field(
        default=None,
        description="How long a task may wait for a worker before stem-amqp health and the alert rules report"
        " the queue as late. It changes nothing on the broker. Default: no limit.",
    )
    max_length: Length | None = Field(
        default=None,
        description="The most messages; see overflow. Default: no limit.",
    )
    max_length_bytes: Bytes | None = Field(
        default=None,
        description="The most bytes of their bodies; see overflow. Default: no limit.",
    )
    overflow: Literal["refuse", "drop-oldest"] = Field(
        default="refuse",
        description="A full queue: refuse raises an error in the producer; drop-oldest dead-letters the"
        " oldest tasks at-most-once: RabbitMQ can lose them on the way, and every other dead"
        " letter of this queue as well.",
    )
    single_active_consumer: StrictBool = Field(
        default=False,
        description="Only one worker consumes at a time; if it stops, another takes over.",
    )
    breaker: BreakerSpec | None = Field(
        default=None,
        description="Pauses the queue in all workers while too many of its runs fail. It changes nothing"
        " on the broker. Default: none.",
    )

    @property
    def retry_spec(self) -> RetrySpec | None:
        """The retries of tasks without their own options.

        Raises:
            ConfigurationError: the name of the policy is not resolved; `Topology.queue` resolves it.
        """
        if isinstance(self.retry, str):
            raise ConfigurationError(
                f"the name of the retry policy {self.retry} is not resolved here\n"
                "  Get the queue from Topology.queue, which resolves it."
            )
        return self.retry

    @property
    def returns(self) -> int:
        """Returns before the broker dead-letters a message; native retries also count as returns."""
        if self.native_retry is None:
            return self.delivery_limit
        retries = self.max_retries
        return self.delivery_limit + (DEFAULT_MAX_RETRIES if retries is None else retries)

    @property
    def max_retries(self) -> int | None:
        """Runs after the first one, for tasks without their own options."""
        return None if self.retry_spec is None else self.retry_spec.max_retries

    @property
    def max_age(self) -> float | None:
        """The age in seconds from which tasks do not run again; None uses the setting."""
        return None if self.retry_spec is None else self.retry_spec.max_age

    @property
    def policy(self) -> RetryPolicy | None:
        """The retry policy of tasks without their own."""
        return None if self.retry_spec is None else self.retry_spec.policy()
