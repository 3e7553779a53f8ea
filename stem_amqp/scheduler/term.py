"""One term of a leader: it looks at what is due, publishes it, and stores how far it is."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.errors import StemError
from stem_amqp.schedule_store.base import ScheduleRecord, ScheduleStore
from stem_amqp.scheduler.by_hand import PREFIX, forget_runs
from stem_amqp.scheduler.decide import HORIZON, Decision, decide, next_at, removed
from stem_amqp.scheduler.definition import REMOVED, fingerprint
from stem_amqp.scheduler.followed import RECHECK, Followed, differs, later
from stem_amqp.scheduler.lead import LEADER, Lead
from stem_amqp.scheduler.pauses import Pauses
from stem_amqp.scheduler.publishing import TickPublisher
from stem_amqp.scheduler.reports import report_ticks, report_unreadable
from stem_amqp.scheduler.sealing import Sealing
from stem_amqp.scheduler.state import ScheduleState
from stem_amqp.schedules import Schedule
from stem_amqp.text import count

log = logging.getLogger("stem_amqp.scheduler")

PAUSES = 30.0
"""Seconds between two reads of the pauses, unless another process says that they have changed."""
BATCH = 500
"""Stored schedules of one look, and states of one write."""


class Term:
    """Publishes the ticks of all schedules, while this process leads.

    Args:
        blueprint: the application.
        connected: its connections.
        store: the store of schedules.
        schedules: those of code and file.

    Attributes:
        behind: whether more stored schedules were due than one look takes: look again at once.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        connected: Connected,
        store: ScheduleStore,
        schedules: Mapping[str, Schedule],
    ) -> None:
        self.behind = False
        self._first = ""
        self._blueprint = blueprint
        self._connected = connected
        self._store = store
        self._schedules = dict(schedules)
        self._sealing = Sealing(connected.seal)
        self._clock = connected.transport.clock
        self._own: dict[str, Followed] = {}
        self._heap: list[tuple[float, str]] = []
        self._dirty: dict[str, Followed] = {}
        self._pauses = Pauses()
        self._paused: frozenset[str] = frozenset()
        self._pauses_at = -PAUSES
        self._lead = Lead(store)
        self._publisher = TickPublisher(blueprint, connected)

    @property
    def followed(self) -> Iterable[Followed]:
        """The schedules of code and file, with what is known of them."""
        return self._own.values()

    async def begin(self) -> None:
        """Read what is stored of the schedules of code and file, and withdraw those that are gone.

        Raises:
            StemError: the store or the broker does not answer.
        """
        await self._store.open()
        stored = await self._stored()
        now = self._clock.time()
        self._lead.begin(stored.pop(LEADER, None), now)
        await self._read_pauses()
        runs = [stored.pop(name) for name in list(stored) if name.startswith(PREFIX)]
        await forget_runs(self._store, runs, self._schedules)
        gone = [record for name, record in stored.items() if name not in self._schedules]
        await self._forget(gone, now)
        for name, schedule in self._schedules.items():
            self._follow(schedule, stored.get(name) or ScheduleRecord(name=name))

    async def _stored(self) -> dict[str, ScheduleRecord]:
        found: dict[str, ScheduleRecord] = {}
        after = ""
        while page := await self._store.page(after=after, dynamic=False):
            found |= {record.name: record for record in page}
            after = page[-1].name
        return found

    def _follow(self, schedule: Schedule, record: ScheduleRecord) -> None:
        own = Followed(
            schedule=schedule,
            print=fingerprint(schedule),
            record=record,
            state=ScheduleState.decode(record.state) if record.revision else None,
        )
        self._own[schedule.name] = own
        heapq.heappush(self._heap, (0.0, schedule.name))

    async def replace(self, schedules: Mapping[str, Schedule]) -> None:
        """Follow other schedules of code and file from now on.

        Args:
            schedules: all of them.

        Raises:
            StemError: the store or the broker does not answer; call it again.
        """
        now = self._clock.time()
        gone = [own for name, own in self._own.items() if name not in schedules]
        await self._forget([own.stored for own in gone], now)
        for own in gone:
            self._own.pop(own.schedule.name, None)
            self._dirty.pop(own.schedule.name, None)
        new = [name for name in schedules if name not in self._own]
        stored = dict(zip(new, await self._store.get(new), strict=True))
        for name, schedule in schedules.items():
            known = self._own.get(name)
            if known is None:
                self._follow(schedule, stored[name] or ScheduleRecord(name=name))
            elif known.schedule != schedule:
                known.schedule, known.print = schedule, fingerprint(schedule)
                heapq.heappush(self._heap, (0.0, name))
        self._schedules = dict(schedules)

    async def _forget(self, records: Iterable[ScheduleRecord], now: float) -> None:
        """Withdraw the ticks of schedules that are gone; what is stored of them is removed later."""
        ids: list[str] = []
        kept, over = [], []
        for record in records:
            self._publisher.forget(record.name)
            state = ScheduleState.decode(record.state)
            if state is None or (state.gone and now > state.revised_until):
                over.append(record)
            elif not state.gone:
                log.info("schedule %s is no longer defined", record.name)
                state, more = removed(state, now)
                ids += more
                kept.append(replace(record, state=state.encode(), due=later(record, now)))
        await self._publisher.withdraw(ids, "the schedule was removed")
        await self._store.save([record for record in kept if record.revision])
        await self._store.remove([record for record in over if record.revision])

    async def look(self, *, poked: bool = False) -> None:
        """Publish and withdraw what is due, and store it.

        Args:
            poked: whether another process said that something has changed.

        Raises:
            StemError: the store or the broker does not answer; the next look does what is left.
        """
        now = self._clock.time()
        await self._save(self._dirty.values())
        await self._look_for_pauses(now, poked)
        due = self._due_of_code(now)
        try:
            due += await self._due_of_store(now)
        finally:
            # what code defines is published while the store does not answer
            await self._do([(own, self._decided(own, now)) for own in due], now)
        await self._lead.say(now, self._publisher.failing)

    def _decided(self, own: Followed, now: float) -> Decision:
        return decide(
            own.schedule,
            own.state,
            now=now,
            alive=self._lead.alive,
            fingerprint=own.print,
            paused=self._pauses.of_schedule(own.schedule.name, now) is not None,
        )

    def _due_of_code(self, now: float) -> list[Followed]:
        found: dict[str, Followed] = {}
        while self._heap and self._heap[0][0] <= now + HORIZON:
            _, name = heapq.heappop(self._heap)
            if name in self._own:
                found[name] = self._own[name]
        return list(found.values())

    async def _due_of_store(self, now: float) -> list[Followed]:
        if not self._store.keeps_definitions:
            return []
        found, unread, gone = list[Followed](), list[ScheduleRecord](), list[ScheduleRecord]()
        due = await self._store.due(now + HORIZON, limit=BATCH)
        before, self._first = self._first, due[0].revision if due else ""
        # not at once if the look before has changed nothing
        self.behind = len(due) >= BATCH and self._first != before
        for record in due:
            if record.definition == REMOVED:
                gone.append(record)
                continue
            own = self._dynamic(record)
            if own is not None:
                found.append(own)
            else:
                unread.append(replace(record, due=later(record, now)))
        await self._store.save(unread)
        await self._forget(gone, now)
        return found

    def _dynamic(self, record: ScheduleRecord) -> Followed | None:
        try:
            schedule = self._sealing.opened(record)
        except StemError as error:
            self._publisher.fail(record.name, str(error))
            report_unreadable(self._blueprint.telemetry, record.name)
            return None
        if record.name in self._schedules:
            self._publisher.fail(
                record.name, "code or the topology file defines a schedule of this name"
            )
            return None
        return Followed(
            schedule=schedule,
            print=fingerprint(schedule),
            record=record,
            state=ScheduleState.decode(record.state),
        )

    async def _do(self, decisions: list[tuple[Followed, Decision]], now: float) -> None:
        published = await asyncio.gather(
            *(self._publisher.publish(own.schedule, one.publish) for own, one in decisions)
        )
        at = self._clock.time()
        for (own, decision), done in zip(decisions, published, strict=True):
            report_ticks(self._blueprint.telemetry, own, decision, done, at)
        ids = [name for _, decision in decisions for name in decision.withdraw]
        await self._publisher.withdraw(ids, "the schedule was changed or paused")
        changed = []
        for (own, decision), done in zip(decisions, published, strict=True):
            before, own.state = own.state, decision.after(done, now)
            complete = done == len(decision.publish)
            due = self._next(own, complete=complete, paused=own.state.paused, now=now)
            self._say(own, before, decision)
            if differs(before, own.state) or due != own.record.due:
                own.record = replace(own.record, due=due)
                changed.append(own)
        await self._save(changed)
        self._publisher.check()

    def _next(self, own: Followed, *, complete: bool, paused: bool, now: float) -> float | None:
        """Return when to look at a stored schedule again, and note it for one of code."""
        assert own.state is not None  # noqa: S101 - a decision was made
        name = own.schedule.name
        at = next_at(own.schedule, own.state)
        own.next = None if paused else at
        if paused or not complete:
            at = max(at or 0.0, now + HORIZON + RECHECK) if at is not None else None
        if own.record.definition is not None:
            return at
        if at is not None and self._own.get(name) is own:
            heapq.heappush(self._heap, (at, name))
        return None

    def _say(self, own: Followed, before: ScheduleState | None, decision: Decision) -> None:
        name, after = own.schedule.name, decision.state
        if before is not None and before.fingerprint != after.fingerprint:
            log.info("schedule %s has changed: %s", name, own.schedule.timing)
        if before is not None and before.paused != after.paused:
            log.info("schedule %s is %s", name, "paused" if after.paused else "resumed")
        if decision.missed:
            log.warning(
                "schedule %s: %s passed while no scheduler published, and will not run (misfire: %s)",
                name,
                count(decision.missed, "tick"),
                own.schedule.misfire.policy,
            )

    async def _save(self, changed: Iterable[Followed]) -> None:
        pending = {own.record.name: own for own in changed}
        self._dirty |= pending
        names = list(pending)
        for first in range(0, len(names), BATCH):
            some = [pending[name] for name in names[first : first + BATCH]]
            saved = await self._store.save([own.stored for own in some])
            for own, record in zip(some, saved, strict=True):
                self._dirty.pop(own.record.name, None)
                if record is not None:
                    own.record = record
                else:
                    await self._overtaken(own)

    async def _overtaken(self, own: Followed) -> None:
        """Another process has changed a schedule meanwhile: its state holds, and not what was published here."""
        (stored,) = await self._store.get([own.record.name])
        state = None if stored is None else ScheduleState.decode(stored.state)
        known = {tick.id for tick in state.ticks} if state is not None else set()
        if own.state is not None and own.record.definition is not None:
            now = self._clock.time()
            await self._publisher.withdraw(
                [tick.id for tick in own.state.ahead(now) if tick.id not in known],
                "the schedule was changed",
            )
        if own.record.definition is None and self._own.get(own.record.name) is own:
            own.record = stored or ScheduleRecord(name=own.record.name)
            own.state = state
            heapq.heappush(self._heap, (0.0, own.record.name))

    async def _look_for_pauses(self, now: float, poked: bool) -> None:
        if poked or not 0 <= now - self._pauses_at < PAUSES:
            await self._read_pauses()
        paused = self._pauses.in_force(now)
        if paused == self._paused:
            return
        before, self._paused = self._paused, paused
        for own in self._own.values():
            heapq.heappush(self._heap, (0.0, own.schedule.name))
        await self._wake(before ^ paused, now)

    async def _read_pauses(self) -> None:
        document = await self._connected.desk(self._blueprint).read()
        self._pauses, self._pauses_at = Pauses.of(document), self._clock.time()

    async def _wake(self, globs: frozenset[str], now: float) -> None:
        """Look at the stored schedules that were paused or resumed in this look."""
        after = ""
        while self._store.keeps_definitions and (
            page := await self._store.page(after=after, dynamic=True)
        ):
            after = page[-1].name
            woken = [
                replace(one, due=now)
                for one in page
                if one.due is not None and any(fnmatchcase(one.name, glob) for glob in globs)
            ]
            await self._store.save(woken)
