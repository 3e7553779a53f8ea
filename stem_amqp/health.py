"""Is everything there that tasks need? For deploy pipelines and for people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from stem_amqp.app import Stem
from stem_amqp.assembly import create_transport, entities_of
from stem_amqp.certificate_report import look_at_certificates, uses_tls
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.provision.versions import as_they_stand, look_at_versions
from stem_amqp.results.factory import backend_tls
from stem_amqp.results.factory import create as create_backend
from stem_amqp.settings import redacted
from stem_amqp.transport.base import Transport

_SHOWN = 6
"""Names of what is missing that are shown."""
DEFAULT_TIMEOUT = 5.0
"""Seconds that the whole check may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: ``certificates`` (with TLS), ``broker``, ``topology``, ``consumers``, ``unroutable``,
            ``dead-letters`` or
            ``backend``.
        ok: whether it is as it should be.
        detail: what was found, and the remedy where it is not.
        milliseconds: how long the check took.
        warning: whether it is well now, and will not be for long.
    """

    name: str
    ok: bool
    detail: str
    milliseconds: float = 0.0
    warning: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthReport:
    """All that was looked at.

    Args:
        checks: in the order in which they were made.
    """

    checks: tuple[Check, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether everything is as it should be."""
        return all(check.ok for check in self.checks)


async def check_health(
    app: Stem, *, require_consumers: Sequence[str] = (), timeout: float = DEFAULT_TIMEOUT
) -> HealthReport:
    """Look at broker, topology, consumers, parked messages, dead letters, and the backend.

    Nothing is declared, and nothing is raised: what fails is in the report.

    Args:
        app: the application; it need not be connected.
        require_consumers: logical queues that must have a worker.
        timeout: seconds for all checks together.
    """
    examination = _Examination(
        app=app, transport=create_transport(app.settings), required=tuple(require_consumers)
    )
    try:
        async with asyncio.timeout(timeout):
            await examination.run()
    except TimeoutError:
        examination.note_timeout(timeout)
    finally:
        await examination.transport.close()
    return HealthReport(checks=tuple(examination.checks))


class _UnhealthyError(StemError):
    """A check found something that is not as it should be."""


@dataclass(kw_only=True, slots=True)
class _Examination:
    app: Stem
    transport: Transport
    required: tuple[str, ...]
    checks: list[Check] = field(default_factory=list)
    _current: str = ""
    _warning: bool = False

    async def run(self) -> None:
        if self._uses_tls():
            await self._check("certificates", self._certificates)
        if await self._check("broker", self._broker):
            await self._check("topology", self._topology)
            await self._check("consumers", self._consumers)
            await self._check("unroutable", self._unroutable)
            await self._check("dead-letters", self._dead_letters)
            await self._check("backend", self._backend)
        elif self.app.settings.backend_url.get_secret_value().startswith("rpc:"):
            self.checks.append(Check(name="backend", ok=False, detail="rpc:// needs the broker"))
        else:
            await self._check("backend", self._backend)

    def _uses_tls(self) -> bool:
        try:
            return uses_tls(self.app.settings)
        except ConfigurationError:
            return False  # what is wrong with the URL is told by the check of the backend

    def note_timeout(self, timeout: float) -> None:
        self.checks.append(
            Check(
                name=self._current,
                ok=False,
                detail=f"no answer: the time for all checks, {format_seconds(timeout)}, is over",
                milliseconds=timeout * 1000,
            )
        )

    async def _check(self, name: str, look: Callable[[], Awaitable[str]]) -> bool:
        self._current = name
        self._warning = False
        started = time.perf_counter()
        try:
            detail, ok = await look(), True
        except StemError as error:
            detail, ok = str(error), False
        taken = (time.perf_counter() - started) * 1000
        self.checks.append(
            Check(
                name=name,
                ok=ok,
                detail=detail,
                milliseconds=round(taken, 1),
                warning=ok and self._warning,
            )
        )
        return ok

    async def _certificates(self) -> str:
        report = await look_at_certificates(self.app.settings, now=self.transport.clock.time())
        self._warning = report.warning
        if report.expired:
            raise _UnhealthyError(
                f"{report}\n  Replace the files: the next connection uses them, without a restart."
            )
        return str(report)

    async def _broker(self) -> str:
        info = await self.transport.connect()
        started = time.perf_counter()
        await self.transport.status([self.app.names.unroutable])
        taken = (time.perf_counter() - started) * 1000
        where = redacted(self.app.settings.broker_url[0].get_secret_value())
        return f"{info} at {where}, round trip {taken:.1f} ms"

    async def _topology(self) -> str:
        entities = await as_they_stand(self.transport, entities_of(self.app))
        missing = [entity.name for entity in await self.transport.missing(entities)]
        total = len(entities.exchanges) + len(entities.queues)
        if missing:
            # Work queues stand at the end, delay queues are many and say little
            delays = set(self.app.names.delay_queues())
            telling = [name for name in missing if name not in delays][: -_SHOWN - 1 : -1]
            rest = len(missing) - len(telling)
            raise _UnhealthyError(
                f"{len(missing)} of {total} exchanges and queues are missing:"
                f" {', '.join(telling)}{f' and {rest} more' if rest else ''}\n"
                "  Declare them: stem-amqp topology apply"
            )
        return f"{total} exchanges and queues are there, in namespace {self.app.names.namespace}"

    async def _consumers(self) -> str:
        names, topology = self.app.names, self.app.topology
        work = {
            queue: tuple(names.works(queue, topology.queue(queue).version).values())
            for queue in (*self.app.queues, *self.required)
        }
        sure = [names.work(queue, topology.queue(queue).version) for queue in work]
        others = {name for works in work.values() for name in works}.difference(sure)
        status = await look_at_versions(self.transport, sure, others)
        counts = {
            queue: sum(found.consumers for name in works if (found := status[name]) is not None)
            for queue, works in work.items()
        }
        idle = [queue for queue in self.required if not counts[queue]]
        if idle:
            raise _UnhealthyError(
                f"no worker consumes {', '.join(idle)}\n"
                f"  Start one: stem-amqp worker APP -Q {','.join(idle)}"
            )
        return ", ".join(f"{queue} {count}" for queue, count in counts.items())

    async def _unroutable(self) -> str:
        name = self.app.names.unroutable
        status = (await self.transport.status([name]))[name]
        if status is not None and status.ready:
            raise _UnhealthyError(
                f"messages that lost their queue are in {name}: {status.ready}\n"
                "  Declare the queue that they were for (stem-amqp topology apply), then move them"
                " there."
            )
        return "empty"

    async def _dead_letters(self) -> str:
        limit = self.app.settings.dlq_alarm
        spec = self.app.topology.queue
        names = {
            self.app.names.dlq(queue, spec(queue).dead_letter.version): queue
            for queue in self.app.queues
        }
        status = await self.transport.status(names)
        counts = {queue: found.ready for name, queue in names.items() if (found := status[name])}
        many = [f"{queue} {count}" for queue, count in counts.items() if count >= limit]
        if many:
            raise _UnhealthyError(
                f"many dead letters (STEM_DLQ_ALARM is {limit}): {', '.join(many)}\n"
                "  See why, then replay or purge them: stem-amqp dlq list QUEUE. A full dead-letter"
                " queue brings its tasks to a halt."
            )
        return ", ".join(f"{queue} {count}" for queue, count in counts.items()) or "none"

    async def _backend(self) -> str:
        settings = self.app.settings
        url = settings.backend_url.get_secret_value()
        backend = create_backend(
            url,
            clock=self.transport.clock,
            transport=self.transport,
            names=self.app.names,
            ttl=settings.result_ttl,
            tls_paths=backend_tls(settings),
        )
        await backend.open()
        try:
            await backend.ping()
        finally:
            await backend.close()
        return f"{redacted(url)} answers"
