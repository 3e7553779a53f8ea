"""What operators do with schedules of any origin: run one now, pause and resume, and their history."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import timestamp
from stem_amqp.connected import Connected
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.model import Directive, Kind, Target
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import BrokerError, ConfigurationError
from stem_amqp.results.base import TaskRecord
from stem_amqp.results.handle import TaskHandle
from stem_amqp.schedule_store.base import ScheduleStore
from stem_amqp.scheduler.by_hand import PREFIX, note_run, runs_in
from stem_amqp.scheduler.definition import REMOVED
from stem_amqp.scheduler.enqueue import call_of
from stem_amqp.scheduler.in_broker import no_definitions
from stem_amqp.scheduler.leadership import publish
from stem_amqp.scheduler.process import shared_store
from stem_amqp.scheduler.sealing import Sealing
from stem_amqp.scheduler.state import KEPT, Published, ScheduleState
from stem_amqp.schedules import Schedule
from stem_amqp.topology.spec.mistake import did_you_mean

log = logging.getLogger("stem_amqp.scheduler")

_SUGGESTED = 1000
"""The most stored names that are read for a suggestion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PastTick:
    """One tick in the history of a schedule, or one run by hand.

    Args:
        tick: the tick; of a run by hand, all its times are that of the run.
        record: the record of its task; None if there is none (any more).
        by_hand: whether `Operated.run` or ``stem-amqp schedules run`` has enqueued it.
    """

    tick: Published
    record: TaskRecord | None
    by_hand: bool = False


class Operated:
    """The part of `stem_amqp.scheduler.managed.Schedules` for schedules of code, file and store.

    Args:
        blueprint: returns the application.
        connected: returns its connections.
    """

    def __init__(
        self, blueprint: Callable[[], Blueprint], connected: Callable[[], Connected]
    ) -> None:
        self._get_blueprint = blueprint
        self._get_connected = connected

    async def run(self, name: str) -> TaskHandle[Any]:
        """Enqueue the task of a schedule now, whatever its timing, and also if it is paused.

        The history shows it, where the result backend stores schedules.

        Args:
            name: the schedule's name, of code, of the file or stored.

        Returns:
            A handle of the task; its id is the name, ``@`` and the time.

        Raises:
            ConfigurationError: there is no such schedule.
            PublishError: the broker did not take it.
        """
        schedule, connected = await self._any(name), self._connected
        now = round(self._now(), 3)
        tick = Published(id=f"{name}@{timestamp(now)}~run", at=now, due=now)
        call = call_of(self._blueprint, schedule, tick)
        enqueued = await connected.producer.enqueue(call)
        handle = connected.producer.handle(call, enqueued)
        store = shared_store(self._blueprint, connected)
        if store is not None:
            await note_run(store, name, handle.id, now)
        return handle

    async def pause(
        self, name: str, *, reason: str = "", lifetime: Duration | None = None, issuer: str = ""
    ) -> Issued:
        """Pause schedules: no tick is published, and what is published already is withdrawn.

        It is stored as a directive, and holds until `resume`, also for schedules that are added later.

        Args:
            name: the name, or a glob of names such as ``reports.*``.
            reason: why, for logs and the history.
            lifetime: how long it holds; None: until `resume`.
            issuer: who pauses, for the history; default: ``STEM_ISSUER``, else ``user@host``.

        Raises:
            ConfigurationError: there is no such schedule, or too many directives are stored.
            StemError: as for `Stem.revoke`.
        """
        if not any(letter in name for letter in "*?["):
            await self._any(name)
        directive = Directive(
            kind=Kind.SCHEDULE_PAUSE,
            target=Target(name=name),
            reason=reason,
            by=issuer,
            expires=_expiry(lifetime, self._now()),
        )
        issued = await self._connected.desk(self._blueprint).issue(directive)
        await self._poke()
        return issued

    async def resume(self, name: str, *, issuer: str = "") -> Issued:
        """End a pause; ticks that passed meanwhile do not run.

        Args:
            name: the name or glob, as it was paused.
            issuer: who resumes, for the history.

        Raises:
            ConfigurationError: there is no such pause; the message names those that there are.
            StemError: as for `Stem.revoke`.
        """
        desk = self._connected.desk(self._blueprint)
        issued = await desk.withdraw(Kind.SCHEDULE_PAUSE, Target(name=name), by=issuer)
        await self._poke()
        return issued

    async def history(self, name: str) -> list[PastTick]:
        """Return the last 20 published ticks and runs by hand, the oldest first, and what became of each.

        Args:
            name: the schedule's name, of code, of the file or stored.

        Raises:
            ConfigurationError: there is no such schedule, or this result backend stores none.
            BackendError: the result backend does not answer.
        """
        store = await self._opened()
        record, noted = await store.get([name, f"{PREFIX}{name}"])
        state = None if record is None else ScheduleState.decode(record.state)
        if state is None:
            await self._any(name)
        runs = runs_in(noted)
        ticks = sorted((*(state.ticks if state else ()), *runs), key=lambda one: one.at)[-KEPT:]
        backend = self._connected.backend
        records = await asyncio.gather(*(backend.get(tick.id) for tick in ticks))
        return [
            PastTick(tick=tick, record=found, by_hand=tick in runs)
            for tick, found in zip(ticks, records, strict=True)
        ]

    async def _any(self, name: str) -> Schedule:
        """Return a schedule of code, of the file or of the store."""
        defined: Mapping[str, Schedule] = self._blueprint.schedules
        if name in defined:
            return defined[name]
        store = shared_store(self._blueprint, self._connected)
        if store is None:
            raise unknown(name, defined)
        await store.open()
        (record,) = await store.get([name])
        if record is None or record.definition in {None, REMOVED}:
            page = await store.page(limit=_SUGGESTED, dynamic=True)
            made = (one.name for one in page if one.definition != REMOVED)
            raise unknown(name, [*defined, *made])
        return self._sealing.opened(record)

    async def _opened(self) -> ScheduleStore:
        store = shared_store(self._blueprint, self._connected)
        if store is None:
            raise no_definitions()
        await store.open()
        return store

    async def _poke(self) -> None:
        """Tell the leader of a change; without this it looks within half a minute."""
        try:
            await publish(self._connected.transport, self._blueprint.names)
        except BrokerError as error:
            log.warning("the scheduler learns of the change within 30 s: %s", error)

    def _now(self) -> float:
        return self._connected.transport.clock.time()

    @property
    def _blueprint(self) -> Blueprint:
        return self._get_blueprint()

    @property
    def _connected(self) -> Connected:
        return self._get_connected()

    @property
    def _sealing(self) -> Sealing:
        return Sealing(self._connected.seal)


def unknown(name: str, known: Iterable[str]) -> ConfigurationError:
    """Return the error that there is no schedule of a name.

    Args:
        name: the name.
        known: the names that there are.
    """
    return ConfigurationError(
        f"there is no schedule {name!r:.80}{did_you_mean(name, list(known))}\n"
        "  List them: stem-amqp schedules list"
    )


def _expiry(lifetime: Duration | None, now: float) -> float | None:
    lasting = None if lifetime is None else seconds(lifetime)
    if lasting is not None and lasting <= 0:
        raise ConfigurationError(f"a pause must hold for more than 0 s, not {lasting:g} s")
    return None if lasting is None else round(now + lasting, 3)
