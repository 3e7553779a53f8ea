"""A guard for side effects: a block that runs once for a task, across runs and workers.

The guard is a key in the result backend. A run claims it with a lease before the block, renews the
lease while the block runs, and stores a value under the key after it. A later run finds the value
and skips the block; a concurrent run finds the lease and snoozes.
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
from stem_amqp.errors import BackendError, BackendUnavailableError, ConfigurationError, StemError
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import ResultBackend
from stem_amqp.task_control import Snooze

T = TypeVar("T")

log = logging.getLogger("stem_amqp.worker")

LEASE = 30.0
"""Seconds after which another run may enter a block whose run no longer renews the lease."""
_MINIMUM_SNOOZE = 0.5
"""The shortest snooze of a run that finds the block taken, in seconds."""
_NAME_LIMIT = 200


@dataclass(kw_only=True, slots=True)
class Guards:
    """State that the guards of one run share.

    Args:
        backend: the backend that stores the keys.
        task_id: the task's id.
        ttl: seconds for which a completed block is remembered.
        loop: the event loop of the backend.
        thread: the thread in which that event loop runs.
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
        guards: state that the run's guards share.
        name: the block's name, unique within the task.
        lease: seconds after which another run may enter if this one does not renew the lease.

    Raises:
        ConfigurationError: the name or the lease is not valid.
    """

    def __init__(self, guards: Guards, name: str, lease: Duration = LEASE) -> None:
        if not name or len(name) > _NAME_LIMIT:
            raise ConfigurationError(
                f"a guard's name must have 1 to {_NAME_LIMIT} characters, such as 'charge'; not {name!r}"
            )
        self._guards = guards
        self._name = name
        self._key = f"once:{guards.task_id}:{name}"
        self._owner = new_id()
        self._lease = seconds(lease)
        if self._lease <= 0:
            raise ConfigurationError(f"a lease must be longer than 0, not {lease!r}")
        self._value = b"null"
        self._first = False
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> bool:
        """Claim the guard.

        Returns:
            True if the block is to run now; False if it has already run.

        Raises:
            Snooze: another run is in the block; this task runs again after the lease.
            ConfigurationError: the backend does not support keys.
            StemError: this run is already in the block.
        """
        guards = self._guards
        if self._name in guards.open:
            raise StemError(f"this run is already in once({self._name!r})")
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
        """Store that the block is complete; if it raised, release the guard for the next run."""
        try:
            if self._first and kind is None:
                await self._settle()
        finally:
            await self._stop_renewing()
            self._guards.open.discard(self._name)
        if self._first and kind is not None:
            await self._give_up()

    def __enter__(self) -> bool:
        """Claim the guard in a synchronous task; see `__aenter__`."""
        entering = self._begin(self.__aenter__())
        try:
            return entering.result()
        except BaseException:
            # A time limit may interrupt the thread here, and `__exit__` would not be called
            entering.cancel()
            self._begin(self._leave_if_entered())
            raise

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Leave the block in a synchronous task; see `__aexit__`."""
        self._begin(self.__aexit__(kind, *details)).result()

    async def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call a function once, and return its stored result in this and later runs.

        Args:
            function: an async function without arguments. Its result must be JSON values, and
                small, since it is stored.

        Raises:
            Snooze: another run is in the block; this task runs again later.
            ConfigurationError: the result cannot be written as JSON. The function has been called,
                and the next run calls it again.
        """
        async with self as first:
            if first:
                self._value = self._written(await function())
        value: T = orjson.loads(self._value)
        return value

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function once, in a synchronous task; see `run`."""
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
                f"once({self._name!r}) cannot store the result of its function ({error});"
                " return plain values"
            ) from error

    async def _take(self) -> bool:
        guards = self._guards
        record = await self._with_retries(
            lambda: guards.backend.claim_key(self._key, self._owner, ttl=self._lease)
        )
        if record.value is not None:
            self._value = record.value
            return False
        if record.owner != self._owner:
            self._snooze(record.remaining)
        return True

    def _snooze(self, remaining: float) -> NoReturn:
        raise Snooze(
            max(remaining, _MINIMUM_SNOOZE), f"another run of this task is in once({self._name!r})"
        )

    async def _settle(self) -> None:
        """Store that the block is complete; only log errors: failing the run would repeat it."""
        guards = self._guards

        async def keep() -> bool:
            return await guards.backend.keep_key(
                self._key, self._owner, ttl=guards.ttl, value=self._value
            )

        if await self._with_retries(keep):
            return
        # The lease expired, in an outage for example; the block is safe if no other run claimed it
        if not await self._with_retries(self._claim_again) or not await self._with_retries(keep):
            log.error(
                "task %s was in once(%r) for longer than its lease of %g s, which could not be renewed:"
                " another run has entered, and the block may run twice",
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
                "task %s: once(%r) remains claimed for up to %g s: %s",
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

    async def _with_retries(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step, with retries while the backend is unavailable."""

        async def attempt() -> T:
            return await step()

        return await tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(BackendUnavailableError),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=15.0),
            before_sleep=lambda state: log.warning(
                "task %s: once(%r) waits for the result backend: %s",
                self._guards.task_id,
                self._name,
                state.outcome and state.outcome.exception(),
            ),
        )(attempt)

    async def _leave_if_entered(self) -> None:
        if self._first:
            await self.__aexit__(BaseException)

    def _begin(self, step: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a step in the backend's event loop from the thread of a synchronous task."""
        if self._guards.thread == threading.get_ident():
            step.close()
            raise StemError(
                f"`with ctx.once({self._name!r})` is for synchronous tasks:"
                " write `async with` in an async one"
            )
        return asyncio.run_coroutine_threadsafe(step, self._guards.loop)
