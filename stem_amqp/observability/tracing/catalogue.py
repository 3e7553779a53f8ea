"""The spans and their attributes, as data: the table of the documentation is made from it."""

from __future__ import annotations

from dataclasses import dataclass

CONVENTIONS = "1.37.0"
"""The version of OpenTelemetry's semantic conventions that names and values follow."""

SEND = "send"
"""The operation of spans of kind PRODUCER."""
PROCESS = "process"
"""The operation of spans of kind CONSUMER."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanAttribute:
    """An attribute of a span, or of a link.

    Args:
        name: its name.
        type: string, int, double or boolean.
        on: the operations of the spans that have it; ``link`` for links.
        description: one sentence.
    """

    name: str
    type: str
    on: tuple[str, ...]
    description: str


SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
ROUTING_KEY = "messaging.rabbitmq.destination.routing_key"
MESSAGE_ID = "messaging.message.id"
CONVERSATION_ID = "messaging.message.conversation_id"
BODY_SIZE = "messaging.message.body.size"
BATCH_COUNT = "messaging.batch.message_count"
TASK_NAME = "stem.task.name"
ATTEMPT = "stem.task.attempt"
REPLAY = "stem.task.replay"
REDELIVERED = "stem.task.redelivered"
WAITED = "stem.task.waited"
OUTCOME = "stem.task.outcome"
DELAY = "stem.task.next_run_delay"
REASON = "stem.task.dead_letter_reason"
LINK = "stem.link"

CREATION = "creation"
"""The value of `LINK` for the enqueue of the task."""
LAST_RUN = "last-run"
"""The value of `LINK` for the run before."""


def _attribute(name: str, kind: str, on: tuple[str, ...], description: str) -> SpanAttribute:
    return SpanAttribute(name=name, type=kind, on=on, description=description)


_BOTH = (SEND, PROCESS)
_SEND = (SEND,)
_PROCESS = (PROCESS,)

ATTRIBUTES = (
    _attribute(SYSTEM, "string", _BOTH, "Always `rabbitmq`, also for the in-memory broker."),
    _attribute(OPERATION_NAME, "string", _BOTH, "`send` or `process`."),
    _attribute(OPERATION_TYPE, "string", _BOTH, "The same as the operation's name."),
    _attribute(
        DESTINATION, "string", _BOTH, "The logical queue; missing on a bulk send to several queues."
    ),
    _attribute(
        ROUTING_KEY, "string", _BOTH, "The routing key in the exchange of tasks: the logical queue."
    ),
    _attribute(MESSAGE_ID, "string", _PROCESS, "AMQP `message_id`, new for each publish."),
    _attribute(
        CONVERSATION_ID, "string", _BOTH, "AMQP `correlation_id`: the task's id, equal in all runs."
    ),
    _attribute(BODY_SIZE, "int", _BOTH, "The size of the body in bytes."),
    _attribute(BATCH_COUNT, "int", _SEND, "The number of confirmed messages of a bulk send."),
    _attribute(
        "error.type",
        "string",
        _BOTH,
        "The class of the exception, else the reason of the dead letter; only if the status is ERROR.",
    ),
    _attribute(
        TASK_NAME,
        "string",
        _BOTH,
        "The task's name; missing on a bulk send, and if the worker does not know the task.",
    ),
    _attribute(ATTEMPT, "int", _PROCESS, "The number of retries so far."),
    _attribute(REPLAY, "int", _PROCESS, "The number of replays from the dead-letter queue."),
    _attribute(
        REDELIVERED, "boolean", _PROCESS, "Whether the broker delivered the message before."
    ),
    _attribute(
        WAITED,
        "double",
        _PROCESS,
        "Seconds that the run waited for a thread or a process, if it did.",
    ),
    _attribute(
        OUTCOME,
        "string",
        _PROCESS,
        "`succeeded`, `retried`, `snoozed`, `postponed`, `dead`, `revoked` or `returned`.",
    ),
    _attribute(DELAY, "double", _PROCESS, "Seconds until the next run, if the outcome has one."),
    _attribute(
        REASON,
        "string",
        _PROCESS,
        "The reason of a dead letter, also of one without a run, such as `expired` or `unknown-task`.",
    ),
    _attribute(
        LINK, "string", ("link",), "`creation` for the enqueue, `last-run` for the run before."
    ),
)
"""Every attribute that stem-amqp sets, except those of the event `exception`."""
