"""The base class of exporters, which receive what producers and workers report."""

from __future__ import annotations

from stem_amqp.observability.reported import (
    BreakerChange,
    Bulk,
    Delivered,
    End,
    Publishing,
    SchedulerLook,
    TicksReport,
    WorkerView,
)
from stem_amqp.outcome import Dead, Outcome
from stem_amqp.results.base import Progress
from stem_amqp.states import TaskState
from stem_amqp.transport.base import ConnectionChange


class Exporter:
    """Receives reports; override the methods that you need, the others cost nothing.

    ::

        class Failures(Exporter):
            def settled(self, delivered: Delivered, outcome: Outcome, at: float) -> None:
                if isinstance(outcome, Dead):
                    pager.notify(delivered.queue, outcome.reason)

    Methods are called in the event loop, often once for each task: they must return at once, and start
    a thread or an asyncio task for anything that takes time. An exception is logged, and affects neither
    the task nor other exporters. Add an exporter with ``Stem(exporters=[…])`` or `Stem.add_exporter`.
    """

    def publishing(self, publishing: Publishing) -> End | None:
        """Handle that a producer is about to publish a new task.

        Args:
            publishing: the publish; headers that are added to it are sent with the message.

        Returns:
            A function to call at the end of the publish, or None.
        """

    def publishing_many(self, bulk: Bulk) -> End | None:
        """Handle that a producer starts to publish the calls of one ``enqueue_many``.

        Args:
            bulk: its headers are sent with each message.

        Returns:
            A function to call at its end, or None.
        """

    def received(self, delivered: Delivered) -> None:
        """Handle that a worker received a message; its body is not decoded yet."""

    def rate_limited(self, delivered: Delivered, wait: float) -> None:
        """Handle that a task has to wait because of its rate limit.

        Args:
            delivered: the message.
            wait: seconds.
        """

    def not_limited(self, delivered: Delivered) -> None:
        """Handle that a task starts without its limits, because their store does not answer."""

    def unknown_task(self, delivered: Delivered, waited: float) -> None:
        """Handle that the worker does not know the task, whose message waits for a worker that does.

        Args:
            delivered: the message.
            waited: seconds that it has waited so far; 0 for the first time.
        """

    def started(self, delivered: Delivered) -> None:
        """Handle that the task's function is about to be called.

        It is called in the asyncio task that calls the function, so context variables that are set
        here are seen by an async task, and copied for a task in a thread.
        """

    def sent_to_child(self, delivered: Delivered) -> None:
        """Handle that a run that was started is about to be sent to a child process.

        The child process reports only `run_in_child`; everything else is reported here.

        Args:
            delivered: what is added to its ``carried`` is sent along.
        """

    def run_in_child(self, delivered: Delivered) -> None:
        """Handle, in a child process of a worker, that the task's function is about to be called.

        It is called in the asyncio task that calls the function.

        Args:
            delivered: its ``carried`` has what `sent_to_child` added to it.
        """

    def progressed(self, delivered: Delivered, progress: Progress) -> None:
        """Handle progress that a task reported."""

    def ended(self, delivered: Delivered, outcome: Outcome) -> None:
        """Handle that a run that was started has its outcome, which is not settled yet.

        It is called in the same asyncio task as `started`.
        """

    def not_run(self, delivered: Delivered, outcome: Dead) -> None:
        """Handle that a message becomes a dead letter without a run, which is not settled yet.

        It cannot be read, its signature is refused, its task is not known, its arguments are not valid,
        or it has expired. Of a message whose ``untrusted`` is set, nothing is verified.
        """

    def followed(self, delivered: Delivered) -> None:
        """Handle that what follows a task of a composition is published next, and the task did not run.

        It was revoked, has expired or became a dead letter without a run. It is called in the asyncio task
        that publishes, so context variables that are set here are seen there.
        """

    def settled(self, delivered: Delivered, outcome: Outcome, at: float) -> None:
        """Handle that an outcome is settled: what follows is confirmed, and the message acknowledged.

        Args:
            delivered: the message.
            outcome: its outcome.
            at: when settling began; seconds since the epoch.
        """

    def dead_letter_refused(self, delivered: Delivered, outcome: Dead, error: str) -> None:
        """Handle that a dead-letter queue has no room; the worker keeps the message and tries again."""

    def settle_refused(self, delivered: Delivered, error: str) -> None:
        """Handle that the broker refused what follows a run, so that the message was rejected."""

    def reply_given_up(self, delivered: Delivered, state: TaskState, error: str) -> None:
        """Handle that a reply to a producer was given up."""

    def worker_failed(self, delivered: Delivered, error: BaseException) -> None:
        """Handle that the worker's own code failed on a message, which was rejected."""

    def connection_changed(self, change: ConnectionChange) -> None:
        """Handle that a worker lost or restored a connection to the broker, or a consumer."""

    def commanded(self, command: str, outcome: str) -> None:
        """Handle that a worker received a command of an operator, or found a stored one that it ignores.

        Args:
            command: its name, such as ``shutdown``; ``other`` if it is unknown or cannot be read.
            outcome: ``done``, ``failed``, or why it was ignored: ``malformed``, ``too-large``, ``signature``,
                ``replayed``, ``stale`` or ``too-many``.
        """

    def breaker_changed(self, change: BreakerChange) -> None:
        """Handle that the breaker of a queue or task opened, is tried, or closed."""

    def ticked(self, report: TicksReport) -> None:
        """Handle that a scheduler published ticks of a schedule, could not, or found that ticks were missed."""

    def scheduler_looked(self, look: SchedulerLook) -> None:
        """Handle that a scheduler looked at its schedules, once a second, begins to lead, or leads no more."""

    def worker_started(self, worker: WorkerView) -> None:
        """Handle that a worker is about to consume."""

    def worker_stopped(self, worker: WorkerView) -> None:
        """Handle that a worker has settled everything."""

    def exiting(self) -> None:
        """Handle that this process exits without Python's functions for the exit (`atexit`).

        Send what is buffered here; it should take no more than 2 seconds.
        """
