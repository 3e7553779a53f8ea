"""The schedules of code and of the topology file, which is read again when it has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from stem_amqp.blueprint import Blueprint
from stem_amqp.errors import StemError
from stem_amqp.scheduler.definition import differences
from stem_amqp.schedules import Schedule

log = logging.getLogger("stem_amqp.scheduler")


class Watched:
    """The schedules of an application.

    Args:
        blueprint: the application.

    Attributes:
        schedules: the present schedules by name; those of the last file that could be read.

    Raises:
        ConfigurationError: a schedule cannot be used.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        self._path = blueprint.settings.topology
        self._seen = _stamp(self._path)
        self._pending = False
        self.schedules: Mapping[str, Schedule] = blueprint.schedules

    async def changed(self) -> Mapping[str, Schedule] | None:
        """Return the schedules if they have changed since the last call; None if they have not.

        A file that cannot be used is logged, and changes nothing.
        """
        if self._path is not None:
            stamp = await asyncio.to_thread(_stamp, self._path)
            if stamp != self._seen:
                self._seen = stamp
                await asyncio.to_thread(self._read, self._path)
        pending, self._pending = self._pending, False
        return self.schedules if pending else None

    def again(self) -> None:
        """Return the schedules once more: they could not be taken over."""
        self._pending = True

    def _read(self, path: Path) -> None:
        try:
            found = self._blueprint.replace(topology=path).schedules
        except StemError as error:
            log.error("%s is not used, the schedules stay as they are: %s", path, error)  # noqa: TRY400
            return
        lines = list(_changes(self.schedules, found))
        for line in lines:
            log.info("%s", line)
        self.schedules, self._pending = found, self._pending or bool(lines)


def _changes(old: Mapping[str, Schedule], new: Mapping[str, Schedule]) -> Iterator[str]:
    """Yield a line for each schedule that is added, removed or changed."""
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before is None and after is not None:
            yield f"schedule {name}: added, {after.timing} for {after.task}"
        elif after is None and before is not None:
            yield f"schedule {name}: removed, {before.timing} for {before.task}"
        elif before is not None and after is not None and before != after:
            yield f"schedule {name}: {'; '.join(differences(before, after))}"


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Return what changes with a file; None if it cannot be read."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)
