"""A guard for side effects: a block that is carried out once for a task, across runs and workers.

The guard is a key in the result backend. A run takes it with a lease before the block, renews the
lease while the block runs, and settles the key with a value after it. So a later run finds the value
and skips the block; a run at the same time finds the lease and comes again later.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import orjson
import tenacity

from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    Snooze,
    StemError,
)
from stem_amqp.message import new_id
from stem_amqp.results.base import ResultBackend

T = TypeVar("T")

log = logging.getLogger("stem_amqp.worker")

LEASE = 30.0
"""Seconds after which another run may enter the block of a run that is not heard of any more."""
_SOONEST = 0.5
"""Seconds that a run which finds the block taken stays away, at least."""
_NAME_LIMIT = 200


@dataclass(kw_only=True, slots=True)
class Guards:
    """What the guards of one run have in common.

    Args:
        backend: where the keys are.
        task_id: the task.
        ttl: seconds that it is known that a block was carried out.
        loop: the event loop of the backend.
        thread: the thread in which it runs.
        open: names of the blocks that this run is in.
    """

    backend: ResultBackend
    task_id: str
    ttl: float
    loop: asyncio.AbstractEventLoop
    thread: int
    open: set[str] = field(default_factory=set)


class Once:
    """One guarded block; see `TaskContext.once`.

    Args:
        guards: what the run's guards have in common.
        name: the block's name, one of its own within the task.
        lease: seconds after which another run may enter, if this one is not heard of any more.

    Raises:
        ConfigurationError: the name or the lease cannot be used.
    """

    def __init__(self, guards: Guards, name: str, lease: Duration = LEASE) -> None:
        if not name or len(name) > _NAME_LIMIT:
            raise ConfigurationError(
                f"a guard's name has 1 to {_NAME_LIMIT} characters, such as 'charge'; not {name!r}"
            )
        self._guards = guards
        self._name = name
        self._key = f"once:{guards.task_id}:{name}"
        self._owner = new_id()
        self._lease = seconds(lease)
        if self._lease <= 0:
            raise ConfigurationError(f"a lease must be longer than nothing, not {lease!r}")
        self._value = b"null"
        self._first = False
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> bool:
        """Take the guard.

        Returns:
            Whether the block is to be carried out now; False if that has been done.

        Raises:
            Snooze: another run is in the block; this one comes again after its lease.
            ConfigurationError: the backend keeps no keys.
            StemError: this run is in the block already.
        """
        guards = self._guards
        if self._name in guards.open:
            raise StemError(f"this run is inside of once({self._name!r}) already")
        guards.open.add(self._name)
        try:
            self._first = await self._take()
        except BaseException:
            guards.open.discard(self._name)
            raise
        if self._first:
            self._renewing = asyncio.create_task(self._renew(), name=f"stem-amqp {self._key}")
        return self._first

    async def __aexit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Note that the block was carried out; or let the next run carry it out, if it raised."""
        try:
            if self._first and kind is None:
                await self._settle()
        finally:
            await self._stop_renewing()
            self._guards.open.discard(self._name)
        if self._first and kind is not None:
            await self._give_up()

    def __enter__(self) -> bool:
        """Take the guard in a synchronous task; see `__aenter__`."""
        entering = self._begin(self.__aenter__())
        try:
            return entering.result()
        except BaseException:
            # A time limit may interrupt the thread here: nobody would leave what it has entered
            entering.cancel()
            self._begin(self._leave_if_entered())
            raise

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Leave the block in a synchronous task; see `__aexit__`."""
        self._begin(self.__aexit__(kind, *details)).result()

    async def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Carry out a function once, and return what it returned: also to later runs.

        Args:
            function: an async function without arguments. What it returns must be JSON values,
                and small: it is stored.

        Raises:
            Snooze: another run is in it; this one comes again later.
            ConfigurationError: what it returned cannot be written as JSON. The function has been
                carried out, and the next run carries it out again.
        """
        async with self as first:
            if first:
                self._value = self._written(await function())
        value: T = orjson.loads(self._value)
        return value

    def call(self, function: Callable[[], T]) -> T:
        """Carry out a plain function once, in a synchronous task; see `run`."""
        with self as first:
            if first:
                self._value = self._written(function())
        value: T = orjson.loads(self._value)
        return value

    def _written(self, value: Any) -> bytes:
        try:
            return orjson.dumps(value)
        except TypeError as error:
            raise ConfigurationError(
                f"once({self._name!r}) cannot store what its function returned ({error});"
                " return plain values"
            ) from error

    async def _take(self) -> bool:
        guards = self._guards
        record = await self._patiently(
            lambda: guards.backend.claim_key(self._key, self._owner, ttl=self._lease)
        )
        if record.value is not None:
            self._value = record.value
            return False
        if record.owner != self._owner:
            self._come_again(record.remaining)
        return True

    def _come_again(self, remaining: float) -> NoReturn:
        raise Snooze(
            max(remaining, _SOONEST), f"another run of this task is inside of once({self._name!r})"
        )

    async def _settle(self) -> None:
        """Note that the block was carried out. What is done is done: failing now would repeat it."""
        guards = self._guards

        async def keep() -> bool:
            return await guards.backend.keep_key(
                self._key, self._owner, ttl=guards.ttl, value=self._value
            )

        if await self._patiently(keep):
            return
        # The lease ran out, in an outage for example; whether somebody came in since decides.
        if not await self._patiently(self._claim_again) or not await self._patiently(keep):
            log.error(
                "task %s was inside of once(%r) for longer than its lease of %g s, in which it could"
                " not be renewed: another run has entered, and the block may be carried out twice",
                guards.task_id,
                self._name,
                self._lease,
            )

    async def _claim_again(self) -> bool:
        record = await self._guards.backend.claim_key(self._key, self._owner, ttl=self._lease)
        return record.owner == self._owner

    async def _give_up(self) -> None:
        try:
            await self._guards.backend.release_key(self._key, self._owner)
        except BackendError as error:
            log.warning(
                "task %s: once(%r) stays taken for up to %g s: %s",
                self._guards.task_id,
                self._name,
                self._lease,
                error,
            )

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._claim_again()
            except BackendError as error:
                log.warning(
                    "task %s: the lease of once(%r) could not be renewed: %s",
                    self._guards.task_id,
                    self._name,
                    error,
                )

    async def _stop_renewing(self) -> None:
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()
            await asyncio.wait({renewing})

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take one step, again and again while the backend is away."""

        async def attempt() -> T:
            return await step()

        return await tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(BackendUnavailableError),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=15.0),
            before_sleep=lambda state: log.warning(
                "task %s waits at once(%r) for the result backend: %s",
                self._guards.task_id,
                self._name,
                state.outcome and state.outcome.exception(),
            ),
        )(attempt)

    async def _leave_if_entered(self) -> None:
        if self._first:
            await self.__aexit__(BaseException)

    def _begin(self, step: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a step in the event loop of the backend, from the thread of a synchronous task."""
        if self._guards.thread == threading.get_ident():
            step.close()
            raise StemError(
                f"`with ctx.once({self._name!r})` is for synchronous tasks:"
                " write `async with` in an async one"
            )
        return asyncio.run_coroutine_threadsafe(step, self._guards.loop)
