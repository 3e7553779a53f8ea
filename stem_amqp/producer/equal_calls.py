"""Enqueue unique, debounced and throttled calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from stem_amqp.clock import Clock
from stem_amqp.errors import DuplicateTaskError
from stem_amqp.messages.message import TaskMessage, new_id
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.claim import claimed
from stem_amqp.results.debounce import Mark, read_mark, store_mark
from stem_amqp.tasks.call import Call, Enqueued
from stem_amqp.tasks.equal_calls.debounce import Debounce, Place
from stem_amqp.tasks.equal_calls.rule import Rule
from stem_amqp.tasks.equal_calls.throttle import Throttle
from stem_amqp.tasks.unique import Unique, key_of

Publish = Callable[[Call], Awaitable[Enqueued]]
"""Publishes a call, and returns once the broker has confirmed it."""


class EqualCalls:
    """Decides which of several equal calls are published.

    Args:
        backend: the result backend, which stores the keys.
        clock: the time of day.
        namespace: the namespace of the application.
        queue_of: returns the logical queue of a call.
    """

    def __init__(
        self,
        backend: ResultBackend,
        clock: Clock,
        *,
        namespace: str,
        queue_of: Callable[[Call], str],
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._namespace = namespace
        self._queue_of = queue_of
        self._in_order = _InOrder()

    async def enqueue(self, call: Call, rule: Rule, publish: Publish) -> Enqueued:
        """Publish a call as its rule says, or return the earlier one that stands for it.

        Args:
            call: the call.
            rule: its rule.
            publish: publishes a call.

        Raises:
            DuplicateTaskError: a further call is an error, and another one is enqueued.
            ConfigurationError: the backend keeps no keys, or an argument is missing or cannot be compared.
            BackendUnavailableError: the backend does not answer; nothing was published.
        """
        if call.options.task_id is None:
            call = replace(call, options=replace(call.options, task_id=new_id()))
        same = call.same_by(rule)
        if isinstance(rule, Unique):
            key = key_of(self._namespace, call.task, same)
            return await self._unique(call, rule, key, publish)
        if isinstance(rule, Throttle):
            key = key_of(self._namespace, call.task, same, kind="throttle")
            return await self._throttled(call, rule, key, publish)
        key = key_of(self._namespace, call.task, same, kind="debounce")
        async with self._in_order.of(key):
            return await self._debounced(call, rule, key, publish)

    async def _unique(self, call: Call, rule: Unique, key: str, publish: Publish) -> Enqueued:
        task_id = call.options.task_id or ""
        async with claimed(self._backend, key, task_id, rule.ttl) as first:
            if first == task_id:
                carried = key if rule.until == "finished" else None
                return await publish(replace(call, unique_key=carried))
        return self._earlier(call, first, rule.second)

    async def _throttled(self, call: Call, rule: Throttle, key: str, publish: Publish) -> Enqueued:
        """Publish a call if one of the period's keys is free.

        Each enqueued call holds a key for a whole period: so any period has at most as many calls as
        there are keys.
        """
        task_id, limit = call.options.task_id or "", rule.limit
        first = ""
        for number in range(limit.count):
            async with claimed(self._backend, f"{key}:{number}", task_id, limit.period) as owner:
                if owner == task_id:
                    return await publish(call)
                first = owner
        return self._earlier(call, first, rule.second)

    async def _debounced(self, call: Call, rule: Debounce, key: str, publish: Publish) -> Enqueued:
        """Publish a call that waits for the next one, and then mark it as the latest."""
        before, mark = await read_mark(self._backend, key)
        now = self._clock.time()
        mine = Mark.following(mark, call.options.task_id or "", rule, now)
        window, number, _ = mine.latest[-1]
        wait = mine.due - now
        place = Place(key=key, window=window, number=number)
        delayed = replace(call, place=place, options=replace(call.options, delay=wait))
        enqueued = await publish(delayed)
        await store_mark(self._backend, key, mine, before=before, now=now)
        return replace(enqueued, wait=wait)

    def _earlier(self, call: Call, first: str, second: str) -> Enqueued:
        if second == "error":
            raise DuplicateTaskError(call.task, first)
        return Enqueued(
            message=TaskMessage(id=first, task=call.task, args=call.args),
            queue=self._queue_of(call),
            ignore_result=call.ignore_result,
            existing=True,
        )


class _InOrder:
    """Lets the equal calls of this process take their places in the order in which they were made."""

    def __init__(self) -> None:
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Hold the turn of a key for a block."""
        lock, calls = self._turns.get(key) or (asyncio.Lock(), 0)
        self._turns[key] = lock, calls + 1
        try:
            async with lock:
                yield
        finally:
            lock, calls = self._turns.pop(key)
            if calls > 1:
                self._turns[key] = lock, calls - 1
