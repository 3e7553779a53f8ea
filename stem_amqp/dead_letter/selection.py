"""Selection of dead letters by id, task, composition, reason and age."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase

from stem_amqp.dead_letter.letter import DeadLetter
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.death import UNKNOWN
from stem_amqp.states import Reason

_REASONS = frozenset({UNKNOWN, *(reason.value for reason in Reason)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """A filter of dead letters; all given criteria must match, an empty selection matches all.

    Args:
        ids: task ids.
        tasks: a glob on the task's name, such as ``orders.*``.
        composition: the id of a composition.
        reasons: values of `stem_amqp.states.Reason`, or ``unknown``.
        older_than: minimum seconds since the failure.
        newer_than: maximum seconds since the failure.

    Raises:
        ConfigurationError: a reason does not exist, or an age is negative.
    """

    ids: frozenset[str] | None = None
    tasks: str | None = None
    composition: str | None = None
    reasons: frozenset[str] | None = None
    older_than: float | None = None
    newer_than: float | None = None

    def __post_init__(self) -> None:
        for reason in self.reasons or ():
            _check_reason(reason)
        for name in ("older_than", "newer_than"):
            age: float | None = getattr(self, name)
            if age is not None and not age >= 0:
                raise ConfigurationError(f"{name} must be an age in seconds, not {age!r}")

    def matches(self, letter: DeadLetter, now: float) -> bool:
        """Return whether a letter is selected. A letter without a time never matches an age.

        Args:
            letter: the letter.
            now: seconds since the epoch.
        """
        return (
            (self.ids is None or letter.id in self.ids)
            and (self.tasks is None or fnmatchcase(letter.task or "", self.tasks))
            and (self.composition is None or letter.composition == self.composition)
            and (self.reasons is None or letter.reason in self.reasons)
            and self._fits_age(letter, now)
        )

    def names(self, letter: DeadLetter) -> bool:
        """Return whether a letter is selected by its id."""
        return self.ids is not None and letter.id in self.ids

    def _fits_age(self, letter: DeadLetter, now: float) -> bool:
        if self.older_than is None and self.newer_than is None:
            return True
        if letter.failed_at is None:
            return False
        age = now - letter.failed_at.timestamp()
        return (self.older_than is None or age >= self.older_than) and (
            self.newer_than is None or age <= self.newer_than
        )


ALL = Selection()
"""Every dead letter."""


def _check_reason(reason: str) -> None:
    if reason in _REASONS:
        return
    close = difflib.get_close_matches(reason, _REASONS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigurationError(
        f"{reason!r} is not a valid reason of a dead letter{hint}\n"
        f"  The reasons are {', '.join(sorted(_REASONS))}."
    )
