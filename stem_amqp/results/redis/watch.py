"""Listen to Redis for ends of tasks while they are waited for."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from stem_amqp.cancellation import end
from stem_amqp.errors import BackendError, BackendUnavailableError
from stem_amqp.results.base import TaskRecord
from stem_amqp.results.redis.client import CONNECT_TIMEOUT, OUTAGES, RedisClient
from stem_amqp.results.redis.errors import unavailable
from stem_amqp.results.redis.listener import RedisListener
from stem_amqp.results.redis.pool import closed, connected
from stem_amqp.results.waiters import Waiters

log = logging.getLogger("stem_amqp.results")

GIVE_UP = 30.0
"""Seconds without a connection after which waiters get an error."""
_SHORTEST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_FETCH_LIMIT = 100
"""Records fetched in one call; results can be large."""

Fetch = Callable[[Sequence[str]], Awaitable[Sequence[TaskRecord | None]]]
"""Returns the records of tasks."""


class RedisWatch:
    """Subscribes, on one connection, to the ends of the tasks that are waited for.

    The connection is opened by the first wait. If it is lost, it is opened again, and all tasks that are
    waited for are looked up, so that no end is missed.

    Args:
        client: opens the connections.
        channel: the prefix of the channels; a task's id follows.
        waiters: the waiters of the backend.
        fetch: returns the records of tasks.
    """

    def __init__(self, client: RedisClient, channel: str, waiters: Waiters, fetch: Fetch) -> None:
        self._client = client
        self._channel = channel
        self._waiters = waiters
        self._fetch = fetch
        self._wanted: dict[str, asyncio.Future[None]] = {}
        self._ended: dict[str, None] = {}
        self._to_fetch = asyncio.Event()
        self._listener: RedisListener | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, task_id: str) -> None:
        """Watch a task: an end that is stored after this returns is not missed.

        Raises:
            BackendUnavailableError: Redis does not accept the subscription.
        """
        if not self._client.is_open:
            raise BackendUnavailableError(f"the result backend {self._client.address} is not open")
        subscribed = self._wanted.get(task_id)
        if subscribed is None:
            subscribed = self._wanted[task_id] = asyncio.get_running_loop().create_future()
            if self._listener is not None:
                self._listener.want([task_id])
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="stem-amqp redis watch")
        # several waiters may share it, and a cancelled one must not cancel it for the others
        await asyncio.wait({subscribed})
        subscribed.result()

    def forget(self, task_id: str) -> None:
        """Unsubscribe from a task without waiters."""
        subscribed = self._wanted.pop(task_id, None)
        if subscribed is None:
            return
        subscribed.cancel()
        if self._listener is not None:
            self._listener.forget(task_id)

    async def close(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        for task_id in list(self._wanted):
            self.forget(task_id)
        await end(task)

    async def _run(self) -> None:
        try:
            await self._watch()
        except Exception as error:  # without the watch no waiter would ever be woken
            log.exception("waiting for results ended unexpectedly")
            problem = BackendUnavailableError(f"waiting for results failed: {error!r}")
            self._refuse_new(problem)
            self._waiters.fail(str(problem))

    async def _watch(self) -> None:
        pause, lost_at = _SHORTEST_PAUSE, time.monotonic()
        while True:
            problem = await self._listen()
            if self._listener is not None:  # it had been connected
                self._listener = None
                pause, lost_at = _SHORTEST_PAUSE, time.monotonic()
            self._refuse_new(problem)
            if not self._wanted:
                return
            if time.monotonic() - lost_at > GIVE_UP:
                self._waiters.fail(str(problem))
                return
            log.debug("waiting for results: %s", problem)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen(self) -> BackendUnavailableError:
        """Listen until the connection is lost, and return why."""
        connection = self._client.connection()
        problems: list[BaseException] = []
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await connected(connection)
            listener = RedisListener(
                connection, self._channel, on_subscribed=self._subscribed, on_ended=self._look_up
            )
            self._listener = listener
            listener.want(self._wanted)
            async with asyncio.TaskGroup() as group:
                group.create_task(listener.send(), name="stem-amqp redis subscriber")
                group.create_task(listener.read(), name="stem-amqp redis listener")
                group.create_task(self._fetch_ended(), name="stem-amqp redis fetcher")
        except* (*OUTAGES, BackendError) as errors:
            problems = list(errors.exceptions)
        finally:
            await closed(connection)
        problem = problems[0]
        if isinstance(problem, BackendUnavailableError):
            return problem
        return unavailable(self._client.address, problem)

    def _subscribed(self, task_id: str) -> None:
        subscribed = self._wanted.get(task_id)
        if subscribed is None:
            return
        if subscribed.done():  # on a new connection: the task may have ended in between
            self._look_up(task_id)
        else:
            subscribed.set_result(None)

    def _look_up(self, task_id: str) -> None:
        self._ended[task_id] = None
        self._to_fetch.set()

    async def _fetch_ended(self) -> None:
        while True:
            await self._to_fetch.wait()
            self._to_fetch.clear()
            # After a failure everything is looked up again on the next connection.
            ended, self._ended = [one for one in self._ended if one in self._waiters], {}
            for start in range(0, len(ended), _FETCH_LIMIT):
                for record in await self._fetch(ended[start : start + _FETCH_LIMIT]):
                    if record is not None and record.state.final:
                        self._waiters.ended(record)

    def _refuse_new(self, problem: BackendUnavailableError) -> None:
        """Fail the waits that have just begun; the others get another connection first."""
        for task_id, subscribed in list(self._wanted.items()):
            if not subscribed.done():
                del self._wanted[task_id]
                subscribed.set_exception(BackendUnavailableError(str(problem)))
