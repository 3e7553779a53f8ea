"""The contract of a schedule store.

A record belongs to one schedule. Several processes change it at the same time: the leader of the schedulers after
each publish, and whoever changes the schedule. So each change names the revision that it was made from, and is
refused if another process was faster.

Rules for every store:

- Calls take many records, in one round trip, and each of them is changed completely or not at all.
- What is stored when a call returns is durable.
- A store that cannot be reached raises `BackendUnavailableError`; repeating the call is safe, but a change that was
  stored although the call failed is then refused, since its revision is outdated: read the record again.
- Names are ordered by their bytes in UTF-8.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

PAGE = 1000
"""Records of one call, at most, unless the caller asks for more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleRecord:
    """What is stored of one schedule.

    Args:
        name: the schedule's name.
        definition: the schedule, as JSON; None for one that code or a file defines.
        state: how far it is published, as JSON.
        due: the time of its next tick that is not published, seconds since the epoch; None if it has none, or
            if the schedule is in code or a file.
        revision: a text that each change replaces; empty for a record that is not stored yet.
    """

    name: str
    definition: bytes | None = None
    state: bytes = b"{}"
    due: float | None = None
    revision: str = ""


class ScheduleStore(ABC):
    """Stores schedules of one namespace.

    Attributes:
        keeps_definitions: whether schedules can be added at run time.
    """

    keeps_definitions: bool = True

    @abstractmethod
    async def open(self) -> None:
        """Create what the store needs; opening twice is not an error.

        Raises:
            BackendUnavailableError: the store cannot be reached.
            ConfigurationError: it lacks a right.
        """

    @abstractmethod
    async def get(self, names: Sequence[str]) -> list[ScheduleRecord | None]:
        """Return records by their names, None for each that is not stored.

        Raises:
            BackendUnavailableError: the store cannot be reached.
        """

    @abstractmethod
    async def save(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord | None]:
        """Store records, each one if its revision is still the stored one.

        Args:
            records: any number, each name once; with an empty revision to add one that is not stored yet.

        Returns:
            Each record with its new revision; None where another process was faster.

        Raises:
            BackendUnavailableError: the store cannot be reached; any of them may be stored.
        """

    @abstractmethod
    async def remove(self, records: Sequence[ScheduleRecord]) -> list[bool]:
        """Remove records, each one if its revision is still the stored one; return for each whether it was.

        Raises:
            BackendUnavailableError: the store cannot be reached; any of them may be removed.
        """

    @abstractmethod
    async def page(
        self, *, after: str = "", limit: int = PAGE, dynamic: bool | None = None
    ) -> list[ScheduleRecord]:
        """Return records in the order of their names.

        Args:
            after: begin after this name; empty: with the first one.
            limit: records at most. Fewer mean that there are no more.
            dynamic: only those with a definition, or only those without; None: all.

        Raises:
            BackendUnavailableError: the store cannot be reached.
        """

    @abstractmethod
    async def due(self, before: float, *, limit: int = PAGE) -> list[ScheduleRecord]:
        """Return the records with a due time before a time, the earliest first, by an index.

        Args:
            before: seconds since the epoch.
            limit: records at most.

        Raises:
            BackendUnavailableError: the store cannot be reached.
        """


def new_revision() -> str:
    """Return a text that no other revision has."""
    return secrets.token_hex(8)
