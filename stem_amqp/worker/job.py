"""One delivery on its way through the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.definition import TaskDefinition
from stem_amqp.message import ATTEMPT, DELIVERY_COUNT, REPLAYS, TaskMessage, header_int
from stem_amqp.worker.context import TaskContext
from stem_amqp.worker.outcome import Outcome, Returned, Revoked


@dataclass(kw_only=True, slots=True, eq=False)
class Job:
    """One delivery on its way through the worker.

    Args:
        body: the message's bytes.
        headers: its headers.
        queue: the logical queue.
        reply_to: where the producer waits for replies.
        redelivered: whether the broker delivered the message before.
        native: whether its queue retries by itself, so that RabbitMQ counts the attempts.
        suspect: whether it is to run in a process of its own.
        type: AMQP ``type``: the task's name, as far as the properties tell.
        correlation_id: AMQP ``correlation_id``: its id, as far as the properties tell.
        message: the body decoded, once it is.
        definition: the task, once it is found.
        context: the running task's context, once it is started.
        interruption: the outcome that a cancellation is to have; set by who cancels.
        outcome: what came of it, once that is known; from then on it is being settled.
        started: whether the task's function has been entered.
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
    message: TaskMessage | None = None
    definition: TaskDefinition | None = None
    context: TaskContext | None = None
    interruption: Returned | Revoked | None = None
    outcome: Outcome | None = None
    started: bool = False
    attempt: int = field(init=False)
    replay: int = field(init=False)

    def __post_init__(self) -> None:
        self.attempt = header_int(self.headers, ATTEMPT) + self.failures
        self.replay = header_int(self.headers, REPLAYS)

    @property
    def failures(self) -> int:
        """Failed deliveries of this very message, where its queue retries by itself."""
        # A first delivery has no count of RabbitMQ's: the header is whatever a producer wrote
        counted = self.native and self.redelivered
        return header_int(self.headers, DELIVERY_COUNT) if counted else 0

    def __str__(self) -> str:
        if self.message is None:
            # Nobody has vouched for the properties: quoted, they cannot forge a line of the log
            told = "" if self.correlation_id is None else f" {self.correlation_id[:64]!r}"
            return f"an unread message{told} of queue {self.queue}"
        return f"task {self.message.task} {self.message.id}"

    @property
    def ignore_result(self) -> bool:
        """Whether nothing about the task is stored."""
        if self.message is None:
            return True
        ignore = self.message.options.get("ignore_result")
        if ignore is None:
            return self.definition is not None and self.definition.options.ignore_result
        return bool(ignore)

    def option(self, name: str) -> Any:
        """Return an option of the call, else of the task, else None."""
        if self.message is not None and self.message.options.get(name) is not None:
            return self.message.options[name]
        return getattr(self.definition.options, name) if self.definition else None
