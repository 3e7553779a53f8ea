"""Who leads, and when it last looked: one record in the store of schedules."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import orjson

from stem_amqp.schedule_store.base import ScheduleRecord, ScheduleStore

LEADER = "$leader"
"""The name of the record; no schedule can have it."""
INTERVAL = 10.0
"""Seconds between two writes of the record."""
NAMED = 5
"""The most schedules that the record names."""
_WHY = 300
"""The most characters of a reason."""


@dataclass(frozen=True, slots=True)
class Leader:
    """The leader as it is stored.

    Args:
        name: its host and process id.
        alive: when it last looked at the schedules, seconds since the epoch.
        since: since when it leads.
        failing: schedules whose last tick it could not publish, `NAMED` at most, and why.
        more: the number of further ones.
    """

    name: str
    alive: float
    since: float
    failing: Mapping[str, str] = field(default_factory=dict)
    more: int = 0

    @classmethod
    def read(cls, record: ScheduleRecord | None) -> Leader | None:
        """Read the record; None if there is none."""
        if record is None:
            return None
        try:
            data = orjson.loads(record.state)
            return cls(
                str(data["name"]),
                float(data["alive"]),
                float(data["since"]),
                {str(name): str(why) for name, why in data.get("failing", {}).items()},
                int(data.get("more", 0)),
            )
        except (orjson.JSONDecodeError, TypeError, ValueError, KeyError, AttributeError):
            return None


class Lead:
    """The record of this process while it leads.

    Args:
        store: the store of schedules.

    Attributes:
        alive: when a scheduler last looked at the schedules, as this one knows it.
    """

    def __init__(self, store: ScheduleStore) -> None:
        self.alive = 0.0
        self._store = store
        self._record = ScheduleRecord(name=LEADER)
        self._since = 0.0
        self._said_at: float | None = None

    def begin(self, record: ScheduleRecord | None, now: float) -> None:
        """Begin to lead.

        Args:
            record: what the leader before has stored.
            now: seconds since the epoch.
        """
        former = Leader.read(record)
        self._record = record or self._record
        self._since = now
        self.alive = now if former is None else min(now, former.alive)

    async def say(self, now: float, failing: Mapping[str, str]) -> None:
        """Store that this process has looked, if it has not done so recently.

        Args:
            now: seconds since the epoch.
            failing: the schedules whose last tick could not be published, and why.

        Raises:
            BackendUnavailableError: the store does not answer.
            BrokerError: likewise, where RabbitMQ is the store.
        """
        self.alive = now
        if self._said_at is not None and 0 <= now - self._said_at < INTERVAL:
            return
        name = f"{socket.gethostname()}:{os.getpid()}"
        named = {one: why[:_WHY] for one, why in islice(failing.items(), NAMED)}
        state = {
            "name": name,
            "alive": round(now, 3),
            "since": round(self._since, 3),
            "failing": named,
            "more": len(failing) - len(named),
        }
        (saved,) = await self._store.save([replace(self._record, state=orjson.dumps(state))])
        if saved is None:  # a former leader that has not noticed yet that it leads no more
            (stored,) = await self._store.get([LEADER])
            saved = stored or ScheduleRecord(name=LEADER)
        self._record, self._said_at = saved, now
