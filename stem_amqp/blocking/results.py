"""``producer.results``: lists and counts of tasks for code that cannot await."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

from typing_extensions import Unpack

from stem_amqp.blocking.ask import Asks
from stem_amqp.connected import Connected
from stem_amqp.results.filters import TaskFilters
from stem_amqp.results.listing import PAGE_LIMIT, TaskPage
from stem_amqp.results.lookup import Results
from stem_amqp.results.model import TaskRecord
from stem_amqp.states import TaskState

T = TypeVar("T")


class BlockingResults:
    """Lists and counts tasks; see `BlockingProducer.results`.

    Args:
        producer: the producer whose connections are used.
    """

    __slots__ = ("_producer",)

    def __init__(self, producer: Asks) -> None:
        self._producer = producer

    def list(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[TaskFilters]
    ) -> TaskPage:
        """List tasks, the newest first: ``producer.results.list(state="failed", limit=20)``.

        Args:
            limit: the maximum number of records on the page, 1 to 1,000.
            cursor: the cursor of the previous page; None for the first page.
            **filters: see `stem_amqp.results.filters.TaskFilters`; all must match.

        Returns:
            A page. No task is listed twice or missed, whatever is added or changes meanwhile.

        Raises:
            ConfigurationError: a filter, the limit or the cursor cannot be used, or the backend
                does not support lists.
            BackendUnavailableError: the backend does not answer.
            BrokerUnavailableError: there is no connection within the producer's timeout.
            StemError: an event loop runs in this thread.
        """
        return self._ask(
            lambda results: results.list(limit=limit, cursor=cursor, **filters),
            "await stem.results.list(…)",
        )

    def every(self, **filters: Unpack[TaskFilters]) -> Iterator[TaskRecord]:
        """Iterate over all tasks, page by page: ``for record in producer.results.every(…)``.

        Args:
            **filters: as for `list`.

        Raises:
            ConfigurationError: as for `list`. No error is raised before the first record is read.
            BackendUnavailableError: the backend does not answer.
            BrokerUnavailableError: there is no connection within the producer's timeout.
            StemError: an event loop runs in this thread.
        """
        cursor: str | None = None
        while True:
            page = self._ask(
                partial(_page, cursor=cursor, filters=filters),
                "async for record in stem.results.every(…)",
            )
            yield from page
            cursor = page.cursor
            if cursor is None:
                return

    def count(self, **filters: Unpack[TaskFilters]) -> dict[TaskState, int]:
        """Count tasks by their state; states without tasks are omitted.

        Args:
            **filters: as for `list`.

        Raises:
            ConfigurationError: as for `list`.
            BackendUnavailableError: the backend does not answer.
            BrokerUnavailableError: there is no connection within the producer's timeout.
            StemError: an event loop runs in this thread.
        """
        return self._ask(lambda results: results.count(**filters), "await stem.results.count(…)")

    def _ask(self, question: Callable[[Results], Coroutine[Any, Any, T]], instead: str) -> T:
        def work(connected: Connected) -> Coroutine[Any, Any, T]:
            return question(Results(lambda: connected.backend))

        return self._producer.ask(work, instead=instead, unclear="nothing was changed")


async def _page(results: Results, cursor: str | None, filters: TaskFilters) -> TaskPage:
    return await results.list(limit=PAGE_LIMIT, cursor=cursor, **filters)
