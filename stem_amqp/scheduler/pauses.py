"""Which schedules are paused: by lasting directives, as queues and tasks are."""

from __future__ import annotations

from fnmatch import fnmatchcase

from stem_amqp.directives.document import Document
from stem_amqp.directives.model import Directive, Kind


class Pauses:
    """The pauses of schedules that are stored.

    Args:
        directives: those that were read.
    """

    def __init__(self, directives: tuple[Directive, ...] = ()) -> None:
        self._directives = directives

    @classmethod
    def of(cls, document: Document) -> Pauses:
        """Return the pauses in the document of directives."""
        return cls(tuple(one for one in document.directives if one.kind == Kind.SCHEDULE_PAUSE))

    def of_schedule(self, name: str, now: float) -> Directive | None:
        """Return the pause of a schedule; None if it is not paused.

        Args:
            name: the schedule's name.
            now: seconds since the epoch.
        """
        for one in reversed(self._directives):
            glob = one.target.name
            if glob is not None and one.holds("", now) and fnmatchcase(name, glob):
                return one
        return None

    def in_force(self, now: float) -> frozenset[str]:
        """Return the names and globs that are paused.

        Args:
            now: seconds since the epoch.
        """
        return frozenset(
            one.target.name for one in self._directives if one.target.name and one.holds("", now)
        )
