"""What is stored of one schedule: how far it is published, and its last ticks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from stem_amqp.schedules import tick_id

KEPT = 20
"""The last ticks of a schedule that are kept; the history shows them."""


@dataclass(frozen=True, slots=True)
class Published:
    """One tick that was published.

    Args:
        id: the id of its task.
        at: the time that the schedule names, seconds since the epoch.
        due: when it runs: ``at`` and the jitter.
        published: when it was published, or 0 if it is not yet.
        withdrawn: whether it was withdrawn before it was due.
    """

    id: str
    at: float
    due: float
    published: float = 0.0
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """How far a schedule is published.

    Args:
        last: no tick up to this time is published any more, seconds since the epoch.
        fingerprint: identifies what the published ticks were made from.
        ticks: the last ticks, the oldest first.
        revision: how often ticks were withdrawn. Until ``revised_until`` it is a part of the ids: a tick with the id of
            a withdrawn one would not run.
        revised_until: the latest time that a withdrawn tick can have.
        missed: the number of ticks that never run, since they were missed.
        missed_at: the time of the last one; 0 if there is none.
        paused: whether it was paused when it was last looked at.
        gone: whether the schedule was removed, and its ticks are withdrawn.
    """

    last: float
    fingerprint: str = ""
    ticks: tuple[Published, ...] = field(default=())
    revision: int = 0
    revised_until: float = 0.0
    missed: int = 0
    missed_at: float = 0.0
    paused: bool = False
    gone: bool = False

    def id_of(self, schedule: str, at: float) -> str:
        """Return the id of the task of a tick.

        Args:
            schedule: the schedule's name.
            at: the time that the schedule names, seconds since the epoch.
        """
        plain = tick_id(schedule, at)
        return f"{plain}~{self.revision}" if at <= self.revised_until else plain

    def ahead(self, now: float) -> tuple[Published, ...]:
        """Return the published ticks that are not due yet.

        Args:
            now: seconds since the epoch.
        """
        return tuple(tick for tick in self.ticks if tick.due > now and not tick.withdrawn)

    def encode(self) -> bytes:
        """Write the state as JSON."""
        return orjson.dumps(
            {
                "last": self.last,
                "print": self.fingerprint,
                "ticks": [
                    [one.id, one.at, one.due, one.published, one.withdrawn] for one in self.ticks
                ],
                "revision": self.revision,
                "until": self.revised_until,
                "missed": self.missed,
                "missed_at": self.missed_at,
                "paused": self.paused,
                "gone": self.gone,
            }
        )

    @classmethod
    def decode(cls, text: bytes) -> Self | None:
        """Read a state; None if it is none, so that the schedule begins anew."""
        try:
            data = orjson.loads(text)
            return cls._read(data)
        except (orjson.JSONDecodeError, TypeError, ValueError, KeyError):
            return None

    @classmethod
    def _read(cls, data: Any) -> Self:
        return cls(
            last=float(data["last"]),
            fingerprint=str(data["print"]),
            ticks=tuple(
                Published(str(name), float(at), float(due), float(published), bool(withdrawn))
                for name, at, due, published, withdrawn in data["ticks"]
            ),
            revision=int(data["revision"]),
            revised_until=float(data["until"]),
            missed=int(data["missed"]),
            missed_at=float(data["missed_at"]),
            paused=bool(data["paused"]),
            gone=bool(data.get("gone")),
        )
