"""The place of a task that waits for its limits, which travels with its message.

The header `PLACE` is ``<token> <start> <revision>``: the token by which the store knows the task, the
start that is reserved for it in milliseconds of the store's clock (with ``~``: the time at which it asks
again; ``-``: it asks at once), and the revision of the limits that the start was reserved under. A retry,
a snooze and a replay carry no place: they wait anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from stem_amqp.messages.message import PLACE, new_id
from stem_amqp.worker.job import Job

_WORDS = 3
_LONGEST = 128
"""Characters of the header at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A task's place in the wait for its limits.

    Args:
        token: identifies the task's next start in the store.
        start: its start, or the time of its next ask, in seconds of the store's clock; None: it asks at once.
        reserved: whether the start is reserved for it.
        revision: the revision of the limits that it was reserved under.
        waited: whether the task has waited before.
    """

    token: str
    start: float | None = None
    reserved: bool = False
    revision: str = ""
    waited: bool = False

    @classmethod
    def of(cls, job: Job, revision: str) -> Self:
        """Return the place of a job: the one in its message, or a new one.

        A redelivered message gets a new token: an earlier delivery may still run with the other one. A
        start that was reserved under other limits is not valid.

        Args:
            job: the job.
            revision: the revision of its limits.
        """
        value = job.headers.get(PLACE)
        words = value.split(" ") if isinstance(value, str) and len(value) <= _LONGEST else []
        if len(words) != _WORDS or not words[0]:
            return cls(token=new_id(), revision=revision)
        token, start, under = words
        if job.redelivered:
            return cls(token=new_id(), revision=revision, waited=True)
        millis = start.removeprefix("~")
        at = int(millis) / 1000 if millis.isdecimal() and under == revision else None
        return cls(
            token=token,
            start=at,
            reserved=at is not None and start == millis,
            revision=revision,
            waited=True,
        )

    def renewed(self) -> Self:
        """Return the place with another token, for a start that was missed."""
        return replace(self, token=new_id(), start=None, reserved=False, waited=True)

    def headers(self) -> dict[str, str]:
        """Return the header that carries it."""
        start = "-"
        if self.start is not None:
            start = f"{'' if self.reserved else '~'}{round(self.start * 1000)}"
        return {PLACE: f"{self.token} {start} {self.revision}"}
