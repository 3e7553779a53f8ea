"""The checks of ``stem-amqp health``: whether everything that tasks need is available."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from stem_amqp.app import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.durations import format_seconds
from stem_amqp.errors import BrokerRefusedError, ConfigurationError, StemError
from stem_amqp.health.age import check_age
from stem_amqp.health.backend import check_backend
from stem_amqp.health.broker import check_broker, check_clock, check_round_trip, check_topology
from stem_amqp.health.certificates import check_certificates, uses_tls
from stem_amqp.health.nodes import check_resources
from stem_amqp.health.report import Check, Finding, HealthReport, UnhealthyError
from stem_amqp.health.schedulers import check_schedulers
from stem_amqp.health.tasks import check_consumers, check_dead_letters, check_unroutable
from stem_amqp.health.workers import (
    ask_workers,
    different_stores,
    with_failures,
    without_threads,
)
from stem_amqp.management import Management, NodeResources, explain, find_resources
from stem_amqp.tls import can_read_certificates
from stem_amqp.transport.base import Transport

_PROBE = 1.0
"""Maximum seconds for an unroutable message to be returned by a broker that reads publishes."""
DEFAULT_TIMEOUT = 5.0
"""Maximum seconds of the whole check."""


async def check_health(
    app: Stem,
    *,
    require_consumers: Sequence[str] = (),
    timeout: float = DEFAULT_TIMEOUT,
    ask_workers_for: float = 0.0,
    waiting_fails: bool = True,
    thorough: bool = False,
) -> HealthReport:
    """Check broker, topology, consumers, unroutable messages, dead letters, and the result backend.

    It raises nothing: failures are in the report. It declares no part of the topology.

    Args:
        app: the application; it need not be connected.
        require_consumers: logical queues that must have a worker.
        timeout: seconds for all checks together.
        ask_workers_for: seconds to wait for reports of the workers; 0 does not ask them. The queue
            for their answers is deleted with the check.
        waiting_fails: whether a queue with waiting tasks and without a consumer is a failure; otherwise
            it is a warning, for producers, which work without workers.
        thorough: whether to send a message through an exclusive queue, to write a key to the backend, to
            compare clocks, and to look at the oldest ready messages; not for frequent checks.
    """
    # The probe for alarms waits no longer than this for its confirm
    settings = app.settings.replace(publish_timeout=_PROBE)
    examination = _Examination(
        app=app,
        transport=create_transport(settings),
        waiting_fails=waiting_fails,
        required=tuple(require_consumers),
        ask_workers_for=ask_workers_for,
        thorough=thorough,
    )
    try:
        async with asyncio.timeout(timeout):
            await examination.run()
    except TimeoutError:
        examination.note_timeout(timeout)
    finally:
        await examination.end()
        await examination.transport.close()
    return HealthReport(checks=tuple(examination.checks))


@dataclass(kw_only=True, slots=True)
class _Examination:
    app: Stem
    transport: Transport
    required: tuple[str, ...]
    waiting_fails: bool = True
    ask_workers_for: float = 0.0
    thorough: bool = False
    checks: list[Check] = field(default_factory=list)
    _current: str = ""
    _resources_asked: asyncio.Task[list[NodeResources]] | None = None

    async def run(self) -> None:
        app, transport = self.app, self.transport
        if not app.settings.in_memory:
            # Asked concurrently: a broker that has run out of a resource does not answer by AMQP
            self._resources_asked = asyncio.create_task(find_resources(app.settings))
        if self._uses_tls():
            await self._check("certificates", self._certificates)
        if await self._check("broker", lambda: check_broker(app, transport)):
            await self._check_broker()
            await self._check_messages()
            await self._check("backend", self._backend)
            if self.ask_workers_for:
                await self._check_workers()
        elif app.settings.backend_url.get_secret_value().startswith("rpc:"):
            self.checks.append(Check(name="backend", ok=False, detail="rpc:// needs the broker"))
        else:
            await self._check("backend", self._backend)

    async def _check_broker(self) -> None:
        app, transport = self.app, self.transport
        if self._resources_asked is not None:
            await self._check("resources", self._resources)
            if self.thorough:
                await self._check("clock", self._clock)
        if self.thorough:
            await self._check("round-trip", lambda: check_round_trip(app, transport))
        await self._check("topology", lambda: check_topology(app, transport))

    async def _check_messages(self) -> None:
        app, transport = self.app, self.transport
        await self._check(
            "consumers",
            lambda: check_consumers(
                app, transport, self.required, waiting_fails=self.waiting_fails
            ),
        )
        await self._check("schedulers", lambda: check_schedulers(app, transport))
        if self.thorough:
            await self._check("age", self._age)
        await self._check("unroutable", lambda: check_unroutable(app, transport))
        await self._check("dead-letters", lambda: check_dead_letters(app, transport))

    def _uses_tls(self) -> bool:
        try:
            return uses_tls(self.app.settings)
        except ConfigurationError:
            return False  # the check of the backend reports the invalid URL

    async def end(self) -> None:
        if self._resources_asked is not None:
            self._resources_asked.cancel()
            await asyncio.wait({self._resources_asked})

    def note_timeout(self, timeout: float) -> None:
        why = self._explanation() or (
            "The broker may be overloaded, out of file descriptors, or unreachable: see"
            " `rabbitmq-diagnostics status` on its machine"
        )
        over = f"no answer within {format_seconds(timeout)}, the time for all checks"
        self.checks.append(
            Check(
                name=self._current,
                ok=False,
                detail=f"{over}\n  {why}",
                milliseconds=timeout * 1000,
            )
        )

    async def _check(self, name: str, examine: Callable[[], Awaitable[Finding | None]]) -> bool:
        """Add a check, unless it has nothing to say; return whether it passed."""
        self._current = name
        started = time.perf_counter()
        try:
            finding, problem = await examine(), ""
        except StemError as error:
            finding, problem = Finding(str(error)), str(error)
        taken = (time.perf_counter() - started) * 1000
        if finding is not None:
            self.checks.append(
                Check(
                    name=name,
                    ok=not problem,
                    detail=finding.detail,
                    milliseconds=round(taken, 1),
                    warning=finding.warning,
                )
            )
        return not problem

    def _explanation(self) -> str:
        """Return the problems of the broker's resources, if they are known already."""
        asked = self._resources_asked
        if asked is None or not asked.done() or asked.cancelled() or asked.exception() is not None:
            return ""
        return explain(asked.result())

    async def _resources(self) -> Finding:
        assert self._resources_asked is not None  # noqa: S101 - the check is made only with it
        return await check_resources(self.app, self.transport, await self._resources_asked)

    async def _clock(self) -> Finding | None:
        return await check_clock(Management.of(self.app.settings), self.transport.clock.time())

    async def _age(self) -> Finding | None:
        return await check_age(self.app, self.transport, await self.transport.connect())

    async def _backend(self) -> Finding:
        return await check_backend(self.app, self.transport, write=self.thorough)

    async def _check_workers(self) -> None:
        """Add the check of the workers, if one of them reports a problem."""
        await self._check("workers", self._workers)

    async def _workers(self) -> Finding | None:
        try:
            answers = await ask_workers(self.app, self.transport, wait=self.ask_workers_for)
        except BrokerRefusedError:
            return None  # this user may not ask the workers
        stuck = without_threads(answers)
        if stuck:
            raise UnhealthyError(
                f"no thread is left for synchronous tasks in {', '.join(stuck)}: runs that"
                " exceeded their time limit hold them\n"
                "  Restart these workers. Set timeouts on the blocking calls of such tasks, or run"
                " them with executor='process'."
            )
        problems = []
        if failed := with_failures(answers):
            problems.append(
                "the worker's own code failed on messages, which are in dead-letter queues now; the log has"
                f" the tracebacks: {', '.join(failed)}"
            )
        if different := different_stores(answers):
            problems.append(different)
        return Finding("\n".join(problems), warning=True) if problems else None

    async def _certificates(self) -> Finding:
        if not can_read_certificates():
            return Finding(
                "not checked: reading them needs the cryptography package\n"
                "  pip install 'stem-amqp[tls]'",
                warning=True,
            )
        report = await check_certificates(self.app.settings, now=self.transport.clock.time())
        if report.expired:
            raise UnhealthyError(
                f"{report}\n  Replace the files: the next connection uses them, without a restart."
            )
        return Finding(str(report), warning=report.warning)
