"""Changes how many tasks of a queue run at once in this worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stem_amqp.messages.answers import QueueConcurrency
from stem_amqp.messages.commands import MOST_CONCURRENCY
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.running.threads import ThreadPool


class Concurrency:
    """Changes the concurrency of a worker's queues.

    Args:
        consumers: the worker's consumers.
        threads: run synchronous tasks.
        threads_follow: whether there is a thread for each task that runs at once; False: the settings say
            how many threads there are.

    Attributes:
        configured: the concurrency of each queue with which the worker started.
    """

    def __init__(
        self, consumers: Sequence[QueueConsumer], threads: ThreadPool, *, threads_follow: bool
    ) -> None:
        self.configured = {one.queue: one.concurrency for one in consumers}
        self._consumers = consumers
        self._threads = threads
        self._threads_follow = threads_follow
        # Deliveries beyond the concurrency stay as many as they were
        self._beyond = {one.queue: one.prefetch - one.concurrency for one in consumers}

    @property
    def current(self) -> dict[str, int]:
        """The concurrency of each queue now."""
        return {one.queue: one.concurrency for one in self._consumers}

    async def set(self, numbers: Mapping[str, int]) -> tuple[QueueConcurrency, ...]:
        """Set the concurrency of queues.

        Args:
            numbers: the number of tasks at once by logical queue, each 1 to 65535; queues that this worker
                does not consume are ignored.

        Returns:
            What was changed.

        Raises:
            BrokerError: a queue cannot be consumed now; the queues before it are changed.
        """
        changed = []
        for one in self._consumers:
            number = numbers.get(one.queue, one.concurrency)
            if number == one.concurrency:
                continue
            before, running = one.concurrency, one.running
            await one.resize(number, min(number + self._beyond[one.queue], MOST_CONCURRENCY))
            if self._threads_follow:
                self._threads.resize(sum(each.concurrency for each in self._consumers))
            changed.append(
                QueueConcurrency(queue=one.queue, before=before, now=number, running=running)
            )
        return tuple(changed)
