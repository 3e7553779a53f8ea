"""One delivery while the worker processes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.context.context import TaskContext
from stem_amqp.messages.message import (
    ATTEMPT,
    DELIVERY_COUNT,
    REPLAYS,
    UNIQUE_KEY,
    TaskMessage,
    header_int,
)
from stem_amqp.outcome import Outcome, Returned, Revoked
from stem_amqp.results.base import Progress
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.worker.batching.gathering import Part
from stem_amqp.worker.slots import Slot

TimeLimits = tuple[float | None, float | None]
"""The hard and the soft time limit of a run in seconds; None: there is none."""


@dataclass(kw_only=True, slots=True, eq=False)
class Job:
    """One delivery on its way through the worker.

    Args:
        body: the message's bytes.
        headers: its headers.
        queue: the logical queue.
        reply_to: where the producer waits for replies.
        redelivered: whether the broker delivered the message before.
        native: whether its queue has native retries, so that RabbitMQ counts the attempts.
        suspect: whether it may have killed a worker, and may have to run in its own process.
        type: AMQP ``type``: the task's name, not verified.
        correlation_id: AMQP ``correlation_id``: the task's id, not verified.
        message_id: AMQP ``message_id``, different for each publish.
        message: the decoded body; None before it is decoded.
        definition: the task; None before it is found.
        context: the context of the run; None before it starts.
        interruption: the outcome of a cancelled job; set before the job is cancelled.
        outcome: the outcome, once it is known; from then on the delivery is being settled.
        started: whether the run has started.
        in_child: whether it runs in a child process, of the pool or in quarantine.
        progress: the last progress that the run reported.
        waited: seconds that the run has waited for a thread or a process.
        begun: when the run started, in seconds of `time.monotonic`; 0 before that.
        duration: seconds that the run took; 0 until it has ended.
        nonce: the nonce of its signed publish; None once it is remembered or forgotten.
        untrusted: whether it is refused, or its body was not read, without a valid signature.
        claim: the key of its attempt, if it has claimed it; see `stem_amqp.worker.gates.claims`.
        unsigned: whether it is not signed, and was accepted.
        slot: the slot that it holds while it runs; None if its queue has none.
        give_back: gives back what its limits count while it runs; None if they count nothing.
        carried: values that exporters send with the job to a child process, if they do.
        given: the results of a group that its task takes, by parameter; None before it takes them.
        tried: whether it is the one run that a breaker tries while its queue or task is paused.
        unknown_since: since when its task is unknown, if it goes back to wait for a worker that knows it;
            seconds since the epoch.
        part: its place in a batch, if its task is a batch task and the batch may run.
        next_headers: headers that exporters add when the message is published again, if they do.
    """

    body: bytes
    headers: Mapping[str, Any]
    queue: str
    reply_to: str | None = None
    redelivered: bool = False
    native: bool = False
    suspect: bool = False
    type: str | None = None
    correlation_id: str | None = None
    message_id: str | None = None
    message: TaskMessage | None = None
    definition: TaskDefinition | None = None
    context: TaskContext | None = None
    interruption: Returned | Revoked | None = None
    outcome: Outcome | None = None
    started: bool = False
    in_child: bool = False
    progress: Progress | None = None
    waited: float = 0.0
    begun: float = 0.0
    duration: float = 0.0
    nonce: str | None = None
    claim: str | None = None
    untrusted: bool = False
    unsigned: bool = False
    slot: Slot | None = None
    give_back: Callable[[], None] | None = None
    carried: dict[str, str] | None = None
    unknown_since: float | None = None
    next_headers: dict[str, str] | None = None
    given: dict[str, Any] | None = None
    tried: bool = False
    part: Part | None = None
    attempt: int = field(init=False)
    replay: int = field(init=False)
    max_retries: int = field(init=False)
    arguments: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.attempt = self.replay = 0
        if self.headers:
            self.attempt = header_int(self.headers, ATTEMPT) + self.failures
            self.replay = header_int(self.headers, REPLAYS)

    @property
    def failures(self) -> int:
        """The number of failed deliveries of this message; 0 on a queue without native retries."""
        # RabbitMQ sets no count in a first delivery: there a producer wrote the header
        counted = self.native and self.redelivered
        return header_int(self.headers, DELIVERY_COUNT) if counted else 0

    def __str__(self) -> str:
        if self.message is None:
            # The properties are not verified: quoted, they cannot forge a line of the log
            claimed_id = "" if self.correlation_id is None else f" {self.correlation_id[:64]!r}"
            return f"an unread message{claimed_id} of queue {self.queue}"
        return f"task {self.message.task} {self.message.id}"

    @property
    def has_unique_key(self) -> bool:
        """Whether the task is unique by a key that is released when the task has ended."""
        return self.message is not None and UNIQUE_KEY in self.message.options

    @property
    def is_linked(self) -> bool:
        """Whether the task is in a composition, so that something may follow it."""
        return self.message is not None and self.message.links is not None

    @property
    def takes_results(self) -> bool:
        """Whether the task takes the results of a group, and has not taken them yet."""
        message = self.message
        if message is None or message.links is None:
            return False
        return message.links.source is not None and self.given is None

    @property
    def ignore_result(self) -> bool:
        """Whether nothing about the task is stored."""
        if self.message is None:
            return True
        ignore = self.message.options.get("ignore_result")
        if ignore is None:
            return self.definition is not None and self.definition.options.ignore_result
        return bool(ignore)

    @property
    def time_limits(self) -> TimeLimits:
        """The hard and the soft time limit of a run in seconds; None: there is none."""
        if self.definition is None or (self.message is not None and self.message.options):
            return self.option("time_limit"), self.option("soft_time_limit")
        return self.definition.options.time_limit, self.definition.options.soft_time_limit

    def option(self, name: str) -> Any:
        """Return an option of the call, else of the task, else None."""
        message = self.message
        if message is not None and message.options:
            value = message.options.get(name)
            if value is not None:
                return value
        return getattr(self.definition.options, name) if self.definition else None
