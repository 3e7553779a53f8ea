"""Rows of workers and their runs, from heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from stem_amqp.cli.output import format_time
from stem_amqp.cli.top.numbers import memory, short
from stem_amqp.cli.top.snapshot import RunRow, WorkerRow
from stem_amqp.cli.top.sources.trends import Rates
from stem_amqp.errors import BrokerError
from stem_amqp.observability.registry.heartbeat import Heartbeat, RunningTask
from stem_amqp.observability.registry.watch import Seen, WorkerWatch, watch_workers
from stem_amqp.signing.seal import Seal
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport

ASK = 2.0
"""Seconds between two requests; a worker sends heartbeats by itself less often."""
_PERSISTENT = 8.0
"""Seconds after which consumers without an answer are reported; statistics are older than heartbeats."""


class WorkerSource:
    """Collects the heartbeats of all workers of a namespace.

    Args:
        transport: connected.
        names: the names on the broker.
        seal: signs the requests; None without keys.
    """

    def __init__(self, transport: Transport, names: Names, seal: Seal | None) -> None:
        self._transport = transport
        self._names = names
        self._seal = seal
        self._watch: WorkerWatch | None = None
        self._opened = asyncio.Event()
        self._problem = ""
        self._silent_since: float | None = None
        self._rates = Rates()

    async def run(self) -> None:
        """Collect heartbeats until cancelled."""
        while True:
            try:
                async with watch_workers(
                    self._transport, self._names, seal=self._seal
                ) as self._watch:
                    self._problem = ""
                    self._opened.set()
                    await self._ask(self._watch)
            except BrokerError as error:
                self._problem = str(error).partition("\n")[0]
            await asyncio.sleep(ASK)

    async def _ask(self, watch: WorkerWatch) -> None:
        while True:
            try:
                await watch.ask()
            except BrokerError as error:
                alarm = await self._transport.blocked()
                self._problem = alarm[:1].lower() + alarm[1:] or str(error).partition("\n")[0]
            else:
                self._problem = ""
            await asyncio.sleep(ASK)

    async def until_complete(self, consumers: Mapping[str, int], timeout: float) -> None:
        """Wait until there is an answer for each consumer.

        Args:
            consumers: the number of consumers by logical queue.
            timeout: the most seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._opened.wait()
                if (watch := self._watch) is not None:
                    await watch.until(lambda: not watch.silent(consumers), timeout)
        except TimeoutError:
            return

    def rows(self) -> tuple[WorkerRow, ...]:
        """Return the workers, by name."""
        found = () if self._watch is None else self._watch.workers
        self._rates.keep({_key(seen.heartbeat) for seen in found})
        return tuple(self._row(seen) for seen in found)

    def missing(self, at: float, consumers: Mapping[str, int]) -> str:
        """Return why workers are not known; an empty string if they are.

        Args:
            at: seconds on a monotonic clock.
            consumers: the number of consumers by logical queue.
        """
        if self._problem:
            return f"workers: not available, {self._problem}"
        silent = {} if self._watch is None else self._watch.silent(consumers)
        if not silent:
            self._silent_since = None
            return ""
        if self._silent_since is None:
            self._silent_since = at
        if at - self._silent_since < _PERSISTENT:
            return ""
        queues = ", ".join(f"{queue} {number}" for queue, number in silent.items())
        return f"consumers without heartbeats: {queues} (an earlier release, no heartbeats, or other keys)"

    def _row(self, seen: Seen) -> WorkerRow:
        worker = seen.heartbeat
        state = _state(seen)
        blocked = worker.blocked
        return WorkerRow(
            name=worker.name,
            queues=", ".join(_queue(worker, queue) for queue in worker.queues),
            running=worker.running,
            rate=self._rates.note(_key(worker), worker.at or seen.at, worker.done),
            lag=worker.lag if worker.interval else None,
            memory=worker.memory,
            age=seen.age,
            state=state,
            healthy=state in {"ok", "stopping", "paused"},
            facts=_facts(seen),
            stack="" if blocked is None else f"{blocked.place}\n{blocked.stack}",
            runs=tuple(_run(seen, run) for run in worker.runs),
        )


def _key(worker: Heartbeat) -> tuple[str, str, int]:
    return worker.name, worker.host, worker.pid


def _queue(worker: Heartbeat, queue: str) -> str:
    capacity = worker.capacity.get(queue)
    word = queue if capacity is None else f"{queue} x{capacity}"
    return f"{word} paused" if queue in worker.paused else word


def _state(seen: Seen) -> str:
    worker = seen.heartbeat
    if worker.blocked is not None:
        return f"blocked {short(worker.blocked.seconds + seen.age)}"
    if worker.threads_used_up:
        return "no free thread"
    if worker.state == "stopping":
        return "stopping"
    if worker.idle_queues:
        return "not consuming"
    return "paused" if worker.paused and not worker.consuming else "ok"


def _facts(seen: Seen) -> tuple[tuple[str, str], ...]:
    worker = seen.heartbeat
    facts = {
        "process": f"{worker.host}:{worker.pid}" if worker.host else "",
        "version": worker.version,
        "started": format_time(worker.started) if worker.started else "",
        "heartbeat": f"{short(seen.age)} ago",
        "queues": ", ".join(_queue(worker, queue) for queue in worker.queues),
        "not consumed": ", ".join(worker.idle_queues),
        "done": str(worker.done),
        "failures": str(worker.worker_failures or ""),
        "memory": memory(worker.memory),
        "cpu": f"{worker.cpu:.0%}",
        "threads": str(worker.threads or ""),
        "loop lag": f"{short(worker.lag)}, at most {short(worker.lag_peak)}",
        "blocked by": "" if worker.blocked is None else _blocker(worker),
    }
    return tuple((name, value) for name, value in facts.items() if value)


def _blocker(worker: Heartbeat) -> str:
    blocked = worker.blocked
    if blocked is None or blocked.task is None:
        return "a callback"
    return f"{blocked.task} {blocked.id or ''}".strip()


def _run(seen: Seen, run: RunningTask) -> RunRow:
    worker = seen.heartbeat
    percent = "" if run.fraction is None else f"{run.fraction:.0%}"
    return RunRow(
        id=run.id,
        task=run.task,
        queue=run.queue,
        worker=worker.name,
        seconds=max(0.0, worker.at - run.since) + seen.age,
        attempt=run.attempt,
        progress=f"{percent} {run.message or ''}".strip(),
        blocking=worker.blocked is not None and worker.blocked.id == run.id,
    )
