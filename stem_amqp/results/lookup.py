"""``stem.results``: lists and counts of the tasks in the result backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from typing_extensions import Unpack

from stem_amqp.results.base import ResultBackend
from stem_amqp.results.filters import TaskFilters, query_of
from stem_amqp.results.listing import PAGE_LIMIT, TaskPage
from stem_amqp.results.model import TaskRecord
from stem_amqp.states import TaskState


class Results:
    """Lists and counts tasks; see `Stem.results`.

    Args:
        backend: returns the open result backend.
    """

    def __init__(self, backend: Callable[[], ResultBackend]) -> None:
        self._backend = backend

    async def list(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[TaskFilters]
    ) -> TaskPage:
        """List tasks, the newest first: ``await stem.results.list(state="failed", limit=20)``.

        Args:
            limit: records of the page, 1 to 1,000.
            cursor: the cursor of the page before; None for the first page.
            **filters: see `stem_amqp.results.filters.TaskFilters`; a task must match all of them.

        Returns:
            A page. No task is listed twice or missed, even if tasks are added or change meanwhile.

        Raises:
            ConfigurationError: a filter, the limit or the cursor is invalid, or the backend cannot
                list tasks.
            BackendUnavailableError: the backend does not answer.
        """
        query = query_of(**filters)
        return await self._backend().list_tasks(query, cursor=cursor, limit=limit)

    async def every(self, **filters: Unpack[TaskFilters]) -> AsyncIterator[TaskRecord]:
        """Iterate over all tasks, page by page: ``async for record in stem.results.every(…)``.

        Args:
            **filters: as for `list`.

        Raises:
            ConfigurationError: as for `list`.
            BackendUnavailableError: the backend does not answer.
        """
        query, cursor = query_of(**filters), None
        while True:
            page = await self._backend().list_tasks(query, cursor=cursor, limit=PAGE_LIMIT)
            for record in page:
                yield record
            cursor = page.cursor
            if cursor is None:
                return

    async def count(self, **filters: Unpack[TaskFilters]) -> dict[TaskState, int]:
        """Count tasks by their state; states without tasks are left out.

        Args:
            **filters: as for `list`.

        Raises:
            ConfigurationError: as for `list`.
            BackendUnavailableError: the backend does not answer.
        """
        return await self._backend().count_tasks(query_of(**filters))
