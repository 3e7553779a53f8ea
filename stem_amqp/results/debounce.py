"""The mark of debounced calls in the result backend: which of several equal calls is the latest.

A producer publishes a call first, and then marks it as the latest one; a worker compares a message with
the mark before it runs. So a producer that dies in between supersedes nothing, and its message runs too.

Calls belong to the same *window* until the latest of them is due. A window ends with one run; the next
call begins the next window. The mark keeps the latest calls of the last windows, since a message that has
waited in its queue may be compared after further windows have begun.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import orjson

from stem_amqp.errors import BackendError
from stem_amqp.results.base import ResultBackend
from stem_amqp.tasks.equal_calls.debounce import Debounce, Place

log = logging.getLogger("stem_amqp.results")

OWNER = "debounce"
"""The owner of every key: all producers share it."""
KEPT = 86400.0
"""Seconds for which a mark is kept after its latest call is due. A message that waits longer in its queue
runs, even if it was not the latest."""
_WINDOWS = 16
"""The windows whose latest calls are kept. A message of an older one runs."""
_TRIES = 20
_READ_TTL = 1.0
"""Seconds for which an empty key is held when a mark that does not exist is read."""

_Latest = tuple[int, int, str]
"""The number of a window, the number of its latest call, and that call's task id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What is stored about the equal calls of a debounced task.

    Args:
        first: when the first call of the present window was made; seconds since the epoch.
        due: when its latest call is due.
        latest: the latest calls of the last windows; the present window is the last one.
    """

    first: float
    due: float
    latest: tuple[_Latest, ...]

    def encode(self) -> bytes:
        """Return the mark as JSON."""
        return orjson.dumps({"first": self.first, "due": self.due, "latest": self.latest})

    @classmethod
    def decode(cls, value: bytes | None) -> Mark | None:
        """Return the stored mark; None if there is none, or none that can be read."""
        if value is None:
            return None
        try:
            fields = orjson.loads(value)
            latest = tuple((int(w), int(n), str(one)) for w, n, one in fields["latest"])
            mark = cls(first=float(fields["first"]), due=float(fields["due"]), latest=latest)
        except (ValueError, TypeError, KeyError):
            return None
        return mark if latest else None

    @classmethod
    def following(cls, mark: Mark | None, task_id: str, rule: Debounce, now: float) -> Mark:
        """Return the mark after one more call.

        Args:
            mark: the mark before it.
            task_id: the id of the call.
            rule: the rule of its task.
            now: seconds since the epoch.
        """
        if mark is None:
            return cls(first=now, due=rule.due(now, now), latest=((1, 1, task_id),))
        window, number, _ = mark.latest[-1]
        if now < mark.due:
            latest = (*mark.latest[:-1], (window, number + 1, task_id))
            return cls(first=mark.first, due=rule.due(mark.first, now), latest=latest)
        latest = (*mark.latest, (window + 1, 1, task_id))[-_WINDOWS:]
        return cls(first=now, due=rule.due(now, now), latest=latest)

    def with_call(self, mine: Mark) -> Mark | None:
        """Return this mark with the latest call of another one; None if it is not later than the marked one.

        Args:
            mine: the mark that this process wanted to store, and another one came before.
        """
        window, number, task_id = mine.latest[-1]
        known = {one[0]: one for one in self.latest}
        if window in known and known[window][1] >= number:
            return None
        known[window] = (window, number, task_id)
        latest = tuple(known[one] for one in sorted(known))[-_WINDOWS:]
        newest = mine if window >= self.latest[-1][0] else self
        return Mark(first=newest.first, due=max(self.due, newest.due), latest=latest)

    def superseding(self, place: Place, task_id: str) -> str | None:
        """Return the id of the call that supersedes another one; None if that one is the latest.

        A call that is later than the marked one was published by a producer that could not mark it, and
        runs.

        Args:
            place: the place of the call.
            task_id: its id.
        """
        for window, number, latest in self.latest:
            if window == place.window and number >= place.number and latest != task_id:
                return latest
        return None


async def read_mark(backend: ResultBackend, key: str) -> tuple[bytes | None, Mark | None]:
    """Return the stored value of a key, and the mark in it.

    Args:
        backend: where the keys are.
        key: the key of the equal calls.

    Raises:
        ConfigurationError: the backend keeps no keys.
        BackendUnavailableError: the backend does not answer.
    """
    record = await backend.claim_key(key, OWNER, ttl=_READ_TTL)
    return record.value, Mark.decode(record.value)


async def store_mark(
    backend: ResultBackend, key: str, mark: Mark, *, before: bytes | None, now: float
) -> None:
    """Mark a call that was published as the latest one, unless a later one is marked already.

    If the backend does not answer, this is only logged: the call runs, and so does the one before it.

    Args:
        backend: where the keys are.
        key: the key of the equal calls.
        mark: the mark to store.
        before: the value that was read before the publish.
        now: seconds since the epoch.
    """
    mine, wanted = mark, mark
    try:
        for _ in range(_TRIES):
            value = wanted.encode()
            ttl = max(0.0, wanted.due - now) + KEPT
            record = await backend.swap_key(key, OWNER, ttl=ttl, expected=before, value=value)
            if record.value == value:
                return
            stored = Mark.decode(record.value)
            merged = mine if stored is None else stored.with_call(mine)
            if merged is None:
                return
            before, wanted = record.value, merged
    except BackendError as error:
        log.warning(
            "task %s is enqueued, but it cannot be marked as the latest of its debounced calls, so an"
            " earlier one may run too: %s",
            mark.latest[-1][2],
            error,
        )
