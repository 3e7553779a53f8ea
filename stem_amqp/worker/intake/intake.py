"""Starts, pauses and resumes what a worker takes from a logical queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from stem_amqp.worker.intake.causes import INTENDED, Cause
from stem_amqp.worker.intake.sources import Sources
from stem_amqp.worker.job import Job


class Intake:
    """Consumes a logical queue unless there is a cause to pause it.

    Args:
        sources: its queues on the broker.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._causes: set[Cause] = set()
        self._stopping = False
        self._changing = asyncio.Lock()
        self._trial: asyncio.Future[Job] | None = None

    @property
    def consuming(self) -> bool:
        """Whether the broker delivers from all versions of the queue."""
        return self._sources.consuming

    @property
    def paused(self) -> bool:
        """Whether the queue is paused, and only for causes that are intended."""
        return bool(self._causes) and self._causes <= INTENDED

    @property
    def held(self) -> tuple[str, ...]:
        """The queues of tasks that were paused, as far as they are consumed."""
        return self._sources.held

    def is_paused_for(self, cause: Cause) -> bool:
        """Return whether a cause pauses the queue."""
        return cause in self._causes

    def refuses(self, job: Job) -> bool:
        """Return whether a job must not start now; the one run of a trial may.

        Args:
            job: a job that has not started.
        """
        if self._stopping:
            return True
        if not self._causes or job.tried:
            return False
        trial = self._trial
        if trial is None or trial.done() or self._causes != {Cause.DIRECTIVE}:
            return True
        job.tried = True
        trial.set_result(job)
        return False

    async def start(self) -> None:
        """Start to consume, unless the queue is paused: then `resume` does.

        Raises:
            BrokerError: the queue cannot be consumed.
        """
        async with self._changing:
            if not self._causes:
                await self._sources.open()

    async def stop(self) -> None:
        """Take no more deliveries; those that were taken can still be settled."""
        self._stopping = True
        async with self._changing:
            await self._sources.stop()

    async def pause(self, cause: Cause) -> bool:
        """Take no more deliveries until `resume`; return False if nothing changed.

        Args:
            cause: why; the queue is paused until every cause is resumed.
        """
        if self._stopping or cause in self._causes:
            return False
        self._causes.add(cause)
        async with self._changing:
            if self._causes and not self._stopping:
                await self._sources.leave()
        return True

    async def resume(self, cause: Cause) -> bool:
        """Consume again, unless there is another cause to pause; return whether it does.

        Args:
            cause: the cause that has ended.

        Raises:
            BrokerError: the queue cannot be consumed now; it stays paused.
        """
        async with self._changing:
            if cause not in self._causes:
                return False
            self._causes.discard(cause)
            if self._stopping or self._causes:
                return False
            try:
                await self._sources.open()
            except BaseException:
                self._causes.add(cause)
                raise
        return True

    async def changed(self) -> None:
        """Wait until a pause, a stop or another change is carried out on the broker."""
        async with self._changing:
            return

    async def renew(self, prefetch: int, jobs: Iterable[asyncio.Task[None]]) -> None:
        """Change the prefetch.

        Args:
            prefetch: the most unsettled deliveries of each queue on the broker.
            jobs: the asyncio tasks of the deliveries that are not settled.

        Raises:
            BrokerError: a queue cannot be consumed now; everything is as before.
        """
        async with self._changing:
            await self._sources.renew(prefetch, jobs)

    async def open_held(self, names: Sequence[str], prefetch: int | None = None) -> None:
        """Also consume queues in which messages of a task waited while it was paused.

        Args:
            names: their names on the broker.
            prefetch: the most unsettled deliveries of each; default: the queue's.

        Raises:
            BrokerError: one cannot be consumed.
        """
        async with self._changing:
            if not self._causes and not self._stopping:
                await self._sources.open_held(names, prefetch)

    async def leave_held(self, names: Sequence[str]) -> None:
        """Consume such queues no longer; their deliveries can still be settled.

        Args:
            names: their names on the broker.
        """
        await self._sources.leave_held(names)

    async def try_one(self, held: Sequence[str]) -> Job:
        """Let one job of the paused queue start, and return it when it does; then take nothing more.

        Args:
            held: queues of tasks that were paused, from which it may also come.

        Raises:
            BrokerError: the queue cannot be consumed.
        """
        trial: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._trial = trial
        try:
            async with self._changing:
                if not self._stopping:
                    await self._sources.open(prefetch=1)
                    await self._sources.open_held(held, prefetch=1)
            return await trial
        finally:
            self._trial = None
            async with self._changing:
                if self._causes and not self._stopping:
                    await self._sources.leave()

    async def forget(self) -> None:
        """Close channels that are no longer used, once no delivery is unsettled."""
        await self._sources.forget()

    async def close(self) -> None:
        """Close all channels: the broker requeues deliveries that are not settled."""
        await self._sources.close()
