"""Every exception that stem-amqp raises, and the control flow of a task.

StemError
├── ConfigurationError            a setting, an option or a URL cannot be used
│   ├── MessageTooLargeError      a body beyond STEM_MAX_BODY_SIZE
│   ├── TopologyError             the topology file: file, line, key and remedy
│   └── TaskDefinitionError       a function that cannot become a task
├── DecodeError                   a body that is no task message (keeps the bytes)
├── SignatureError                a message that is not signed, or not by a key that is accepted
├── UnknownTaskError              a name that nobody registered
├── ArgumentsError                arguments that do not fit the task's signature
├── BrokerError
│   ├── BrokerUnavailableError    no connection could be had
│   ├── BrokerRefusedError        credentials, virtual host or permission
│   ├── ManagementError           the management API does not answer, or refuses
│   ├── TopologyMismatchError     the broker's entity differs from the topology
│   ├── TopologyMissingError      an entity of the topology is not on the broker
│   ├── MigrationTimeoutError     a queue's migration did not get on in time
│   ├── StaleDeliveryError        settling a delivery of a channel that is gone
│   └── PublishError
│       ├── UnwritableError       it cannot be written as AMQP, now or later
│       ├── UnroutableError       no queue took the message
│       ├── PublishRefusedError   the broker answered with a nack
│       └── PublishTimeoutError   no confirm in time: it may or may not have arrived
├── BackendError                  the result backend
│   ├── BackendUnavailableError
│   ├── ReplyRefusedError         the broker refuses the reply to a producer
│   └── ResultUnavailableError    this backend cannot know the answer
├── DuplicateTaskError            a unique task is on its way already
├── DeadLetterNotFoundError       no dead letter of that id in the queue
├── ResultTimeoutError            the result did not arrive in time
├── TaskFailedError               the task ended without a result, raised by ``result()``
├── TimeLimitError                a run took longer than its hard time limit
└── SoftTimeLimitError            raised inside the task at its soft time limit

TaskControl (a BaseException: ``except Exception`` in a task does not catch it)
├── Retry                         run again later; spends an attempt
├── Snooze                        run again later; spends none
└── Reject                        to the dead-letter queue at once
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stem_amqp.durations import Duration


class StemError(Exception):
    """Base of every error that stem-amqp raises."""


class ConfigurationError(StemError, ValueError):
    """A setting, an option or a URL cannot be used as given."""


class MessageTooLargeError(ConfigurationError):
    """A task message is larger than the producer may send; nothing was sent.

    Args:
        task: the task's name.
        size: bytes of the body.
        limit: bytes that it may have.
        largest: name of the largest argument, or ``meta``; None if there is none.
        largest_size: its bytes.
    """

    def __init__(
        self, task: str, *, size: int, limit: int, largest: str | None, largest_size: int
    ) -> None:
        part = f"; the largest part is {largest!r} with {largest_size:,} bytes" if largest else ""
        super().__init__(
            f"task {task}: the message has {size:,} bytes, the limit is {limit:,}{part}.\n"
            "  Store what is large elsewhere and pass a reference to it, or raise"
            " STEM_MAX_BODY_SIZE."
        )
        self.task = task
        self.size = size
        self.limit = limit
        self.largest = largest
        self.largest_size = largest_size


class TopologyError(ConfigurationError):
    """The topology has a mistake.

    Args:
        problem: what is wrong, in one sentence.
        file: the file's path, if the topology came from one.
        line: the line, counted from 1.
        key: the dotted path of the key, such as ``queues.orders.prefetch``.
        remedy: what to write instead.
        more: the file's other mistakes, which the text lists too.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
        remedy: str | None = None,
        more: Sequence[TopologyError] = (),
    ) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key
        self.remedy = remedy
        self.more = tuple(more)
        place = ":".join(str(part) for part in (file, line) if part is not None)
        text = ": ".join(part for part in (place, key, problem) if part)
        own = f"{text}\n  {remedy}" if remedy else text
        super().__init__("\n".join([own, *map(str, self.more)]))


class TaskDefinitionError(ConfigurationError):
    """A function cannot become a task, or its options make no sense."""


class DecodeError(StemError):
    """A message body is not a task message.

    Args:
        problem: what is wrong with it.
        body: the bytes as received; they are kept, never thrown away.
    """

    def __init__(self, problem: str, body: bytes) -> None:
        super().__init__(problem)
        self.problem = problem
        self.body = body


class SignatureError(StemError):
    """A message is not signed, or its signature is not that of a key that is accepted."""


class UnknownTaskError(StemError):
    """No task of that name is registered here."""


class ArgumentsError(StemError):
    """Arguments do not fit the task's signature; it is never retried."""


class BrokerError(StemError):
    """The broker, or the way to it, failed."""


class BrokerUnavailableError(BrokerError):
    """No connection to the broker could be had."""


class BrokerRefusedError(BrokerError):
    """The broker refused: credentials, virtual host, permission or a limit."""


class ManagementError(BrokerError):
    """The management API does not answer, refuses, or does not know what it was asked for."""


class TopologyMismatchError(BrokerError):
    """An entity on the broker differs from the topology in what cannot be changed.

    Args:
        text: the message, with the remedy.
        argument: the argument that differs, where that is known.
        wanted: its value in the topology, as RabbitMQ writes it.
        current: its value on the broker.
    """

    def __init__(
        self, text: str, *, argument: str = "", wanted: str = "", current: str = ""
    ) -> None:
        super().__init__(text)
        self.argument = argument
        self.wanted = wanted
        self.current = current


class FeatureMissingError(BrokerError):
    """The topology wants what this release of the broker has not."""


class TopologyMissingError(BrokerError):
    """An entity of the topology is not on the broker."""


class StaleDeliveryError(BrokerError):
    """The delivery's channel is gone; the broker delivers the message again."""


class PublishError(BrokerError):
    """A message was not accepted by the broker."""


class UnwritableError(PublishError):
    """The message cannot be written as AMQP; to try again does not help."""


class UnroutableError(PublishError):
    """No queue took the message: the exchange has no binding for its routing key."""


class PublishRefusedError(PublishError):
    """The broker answered with a nack: a full or unavailable queue."""


class PublishTimeoutError(PublishError):
    """No confirm arrived in time. The message may or may not be on the broker."""


class EnqueueManyError(StemError):
    """Some calls of a bulk enqueue were not taken by the broker.

    Args:
        done: by their position, the calls that are on the broker.
        failed: by their position, the errors of those that are not.
    """

    def __init__(self, done: Mapping[int, object], failed: Mapping[int, Exception]) -> None:
        first = min(failed)
        super().__init__(
            f"{len(failed)} of {len(failed) + len(done)} calls were not enqueued;"
            f" the first, at position {first}: {failed[first]}"
        )
        self.done = done
        self.failed = failed


class DuplicateTaskError(StemError):
    """A unique task is on its way already, so this call was not enqueued.

    Args:
        task: the task's name.
        task_id: the id of the first one.
    """

    def __init__(self, task: str, task_id: str) -> None:
        super().__init__(
            f"task {task} is unique, and {task_id} is on its way already or was within the window"
        )
        self.task = task
        self.task_id = task_id


class DeadLetterNotFoundError(StemError):
    """The dead-letter queue has no letter of that id."""


class BackendError(StemError):
    """The result backend failed."""


class BackendUnavailableError(BackendError):
    """The result backend cannot be reached."""


class ReplyRefusedError(BackendError):
    """The broker refuses a reply: its queue is full, or the worker may not write to it."""


class ResultUnavailableError(BackendError):
    """This backend cannot answer the question; the message names one that can."""


class MigrationTimeoutError(BrokerError, TimeoutError):
    """A queue's migration did not get on in time; it goes on where it was when it is started again."""


class ResultTimeoutError(StemError, TimeoutError):
    """The result did not arrive in time; the task goes on."""


class TaskFailedError(StemError):
    """A task ended without a result.

    Args:
        task_id: the task's id.
        state: the state in which it ended, such as ``failed`` or ``expired``.
        reason: why, such as ``retries-exhausted``.
        error: type and message of the last exception, if there was one.
        traceback: the worker's traceback as text, if there was one.
    """

    def __init__(
        self,
        task_id: str,
        state: str,
        *,
        reason: str | None = None,
        error: str | None = None,
        traceback: str | None = None,
    ) -> None:
        detail = ": ".join(part for part in (reason, error) if part)
        super().__init__(f"task {task_id} {state}" + (f" ({detail})" if detail else ""))
        self.task_id = task_id
        self.state = state
        self.reason = reason
        self.error = error
        self.traceback = traceback


class TimeLimitError(StemError, TimeoutError):
    """A run took longer than its hard time limit."""


class ProcessDiedError(StemError):
    """The child process in which a task ran died, of a signal or with an exit code."""


class SoftTimeLimitError(StemError, TimeoutError):
    """The soft time limit is reached: clean up and leave before the hard one."""


class TaskControl(BaseException):
    """Base of the ways in which a task steers its own message.

    It is no `Exception`, so that ``except Exception`` in a task does not catch it.
    """


class Retry(TaskControl):
    """Run the task again later. It spends an attempt.

    Args:
        delay: seconds or a duration such as ``"30s"``; None takes the retry policy's.
        reason: for the log, the signals and the dead letter.
    """

    def __init__(self, delay: Duration | None = None, reason: str | None = None) -> None:
        super().__init__(reason or "retry requested")
        self.delay = delay
        self.reason = reason


class Snooze(TaskControl):
    """Run the task again later. It spends no attempt.

    Args:
        delay: seconds or a duration such as ``"5m"``.
        reason: for the log and the signals.
    """

    def __init__(self, delay: Duration, reason: str | None = None) -> None:
        super().__init__(reason or "snoozed")
        self.delay = delay
        self.reason = reason


class Reject(TaskControl):
    """Send the task to its dead-letter queue at once.

    Args:
        reason: why; it stands in the dead letter's ``stem-error``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
