"""Which ends of runs count for a breaker."""

from __future__ import annotations

from stem_amqp.outcome import Dead, Outcome, Retried, Succeeded


def failed(outcome: Outcome) -> bool | None:
    """Return whether a run failed; None if its end says nothing about what it depends on.

    An end that the application planned (`Reject`, an exception of ``expected``), a snooze and a run that was
    interrupted say nothing.

    Args:
        outcome: the outcome of a run that was started.
    """
    if isinstance(outcome, Succeeded):
        return False
    if isinstance(outcome, Retried):
        return True
    return None if not isinstance(outcome, Dead) or outcome.expected else True
