"""What stands below the file's top level: queues, retries, exchanges, bindings and routes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    StrictStr,
    Tag,
)

from stem_amqp.errors import ConfigurationError
from stem_amqp.options import DEFAULT_MAX_RETRIES
from stem_amqp.retry import DEFAULT_POLICY, RetryPolicy
from stem_amqp.topology.values import (
    Bytes,
    Delay,
    Deliveries,
    ExchangeKind,
    Factor,
    Generation,
    Length,
    LogicalName,
    Pattern,
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
"""Returns of a message before the broker dead-letters it, unless the topology says otherwise."""
_BACKOFF = DEFAULT_POLICY.short_form()


class Spec(BaseModel):
    """Refuses unknown keys; nothing in it changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BackoffSpec(Spec):
    """How long to wait before a retry: ``base * factor ** attempt``, at most ``max``."""

    base: Wait = Field(default=_BACKOFF["base"], description="The first wait.")
    factor: Factor = Field(
        default=_BACKOFF["factor"],
        description="What each wait is multiplied with for the next, at least 1.",
    )
    max: Wait = Field(default=_BACKOFF["max"], description="The longest wait.")
    jitter: Share = Field(
        default=_BACKOFF["jitter"],
        description="The largest random part to take off a wait, 0 to 1, so that a burst of"
        " failures does not come back as one.",
    )


class RetrySpec(Spec):
    """How often and when a failed task runs again, for tasks that do not say it themselves."""

    max_retries: Retries = Field(
        default=DEFAULT_MAX_RETRIES, description="Runs after the first one."
    )
    max_age: Ttl | None = Field(
        default=None,
        description="Age from which a task is neither retried nor snoozed any more. Default:"
        " STEM_MAX_AGE, 14d.",
    )
    backoff: BackoffSpec = Field(
        default=BackoffSpec(), description="How long to wait before each retry."
    )

    def policy(self) -> RetryPolicy:
        """Return the backoff as a retry policy."""
        backoff = self.backoff
        return RetryPolicy(
            base=backoff.base, factor=backoff.factor, max=backoff.max, jitter=backoff.jitter
        )


def _retry_kind(value: object) -> str:
    # the brackets tell these words from keys of the file, see `explain.place_of`
    return "[name]" if isinstance(value, str) else "[mapping]"


Retry = Annotated[
    Annotated[RetryName, Tag("[name]")] | Annotated[RetrySpec, Tag("[mapping]")],
    Discriminator(_retry_kind),
]
"""A retry policy in place, or the name of one under ``retries``."""

DLQ_LENGTH = 100_000
"""Dead letters in one queue, unless the topology says otherwise."""
DLQ_BYTES = 1_073_741_824
"""Bytes of the bodies of the dead letters in one queue, unless the topology says otherwise."""


class DeadLetterSpec(Spec):
    """How long and how many dead letters are kept. None is dropped unless that is asked for."""

    version: Generation = Field(
        default=1,
        description="The dead-letter queue's version: raise it by one together with its limits, and"
        " stem-amqp topology migrate replaces the queue.",
    )
    ttl: Ttl | None = Field(
        default=None, description="Dead letters older than this are dropped. Default: never."
    )
    max_length: Length | None = Field(
        default=DLQ_LENGTH,
        description="Dead letters at most; see overflow for what happens then. null: no limit.",
    )
    max_length_bytes: Bytes | None = Field(
        default=DLQ_BYTES,
        description="Bytes of their bodies at most; headers, up to 12 KiB each, are not counted."
        " null: no limit.",
    )
    overflow: Literal["refuse", "drop-oldest"] = Field(
        default="refuse",
        description="A full queue: refuse keeps what is there and holds further dead letters where"
        " they failed, so that the queue's work comes to a halt rather than lose one; drop-oldest"
        " loses the oldest.",
    )


class NativeRetrySpec(Spec):
    """Retries that RabbitMQ itself delays, inside of the queue: ``min * failures``, up to ``max``."""

    min: Delay = Field(description="The wait after the first failure, and the step of the others.")
    max: Delay | None = Field(
        default=None, description="The longest wait. Default: as long as min, each time."
    )

    def delay(self, failures: int) -> float:
        """Return the seconds that RabbitMQ waits after a failure.

        Args:
            failures: how often it has failed by then, as RabbitMQ counts.
        """
        return min(self.min * max(1, failures), self.min if self.max is None else self.max)


class QueueSpec(Spec):
    """A logical queue: its work queue, its dead-letter queue and how workers consume it."""

    version: Generation = Field(
        default=1,
        description="The work queue's version. RabbitMQ cannot change a queue's arguments: raise this"
        " by one together with them, and stem-amqp topology migrate replaces the queue under load.",
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
        default=None, description="Tasks of this queue at once. Default: the worker's setting."
    )
    delivery_limit: Deliveries = Field(
        default=DELIVERY_LIMIT,
        description="Returns to the queue before the broker dead-letters a message: the backstop"
        " against a task that kills its worker. Quorum queues only.",
    )
    retry: Retry | None = Field(
        default=RetrySpec(),
        description="Retries of tasks that set none themselves: a mapping, or the name of one"
        " under retries. null: stem-amqp's own default.",
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
        " priorities from RabbitMQ 4.0 on, and need no such key.",
    )
    strict_priority: StrictBool = Field(
        default=False,
        description="The tasks rely on 32 strict priorities of a quorum queue. Needs RabbitMQ 4.3;"
        " older ones are refused.",
    )
    consumer_timeout: Timeout | None = Field(
        default=None,
        description="How long a worker may hold a delivery before RabbitMQ takes it back; longer"
        " than the time limits of the tasks, at least 1m. Needs RabbitMQ 3.12, and a quorum queue."
        " Default: the broker's, 30m.",
    )
    ttl: Ttl | None = Field(
        default=None,
        description="Tasks that waited longer go to the dead-letter queue. Default: never.",
    )
    max_length: Length | None = Field(
        default=None,
        description="Messages at most; see overflow for what happens then. Default: no limit.",
    )
    max_length_bytes: Bytes | None = Field(
        default=None,
        description="Bytes of their bodies at most; see overflow for what happens then."
        " Default: no limit.",
    )
    overflow: Literal["refuse", "drop-oldest"] = Field(
        default="refuse",
        description="A full queue: refuse gives the producer an error; drop-oldest moves the oldest"
        " tasks to the dead-letter queue, at-most-once: RabbitMQ can lose them on the way, and"
        " every other dead letter of this queue as well.",
    )
    single_active_consumer: StrictBool = Field(
        default=False, description="Only one worker at a time consumes; another takes over."
    )

    @property
    def retry_spec(self) -> RetrySpec | None:
        """The retries of tasks that set none themselves.

        Raises:
            ConfigurationError: it is a name still, which `Topology.queue` looks up.
        """
        if isinstance(self.retry, str):
            raise ConfigurationError(
                f"the retry policy {self.retry} is only a name here\n"
                "  Take the queue from Topology.queue, which looks it up."
            )
        return self.retry

    @property
    def returns(self) -> int:
        """Returns before the broker dead-letters a message: native retries are returns, too."""
        if self.native_retry is None:
            return self.delivery_limit
        retries = self.max_retries
        return self.delivery_limit + (DEFAULT_MAX_RETRIES if retries is None else retries)

    @property
    def max_retries(self) -> int | None:
        """Runs after the first one, for tasks that do not say it themselves."""
        return None if self.retry_spec is None else self.retry_spec.max_retries

    @property
    def max_age(self) -> float | None:
        """Seconds, the age from which tasks do not run again; None takes the setting."""
        return None if self.retry_spec is None else self.retry_spec.max_age

    @property
    def policy(self) -> RetryPolicy | None:
        """The retry policy of tasks that have none themselves."""
        return None if self.retry_spec is None else self.retry_spec.policy()


class ExchangeSpec(Spec):
    """An exchange of your own beside those of stem-amqp."""

    type: ExchangeKind | None = Field(
        default=None,
        description="topic, direct, fanout or headers; or a kind for which the broker needs a"
        " plugin or a certain release, such as x-consistent-hash. Not for an external one.",
    )
    internal: StrictBool = Field(
        default=False,
        description="Nobody can publish to it; it gets messages only from other exchanges.",
    )
    arguments: dict[str, JsonValue] = Field(
        default={},
        description="Arguments such as alternate-exchange; {namespace} is replaced in texts.",
    )
    external: StrictBool = Field(
        default=False,
        description="Someone else declares it: bindings may name it, and it is never declared or"
        " deleted here.",
    )


class BindingSpec(Spec):
    """A binding of your own beside those of stem-amqp."""

    source: StrictStr = Field(
        description='The exchange: one of the exchanges here, or one of ours, such as "{namespace}.tasks".'
    )
    destination: StrictStr = Field(
        description="One of the queues here, by its logical name, or one of extra_queues, by its"
        " full name; with to: exchange, an exchange."
    )
    key: StrictStr = Field(
        default="", description='Routing key or topic pattern; quote it: "#", "*.created".'
    )
    to: Literal["queue", "exchange"] = Field(
        default="queue", description="What the destination is."
    )
    arguments: dict[str, JsonValue] = Field(
        default={}, description="Arguments such as x-match, for a headers exchange."
    )


class RouteSpec(Spec):
    """Tasks that name no queue go to this one, if their name fits."""

    match: Pattern = Field(
        description="A task's name or a pattern: * is any text (dots too), ? any character."
    )
    queue: LogicalName = Field(description="The logical queue.")
