"""The report of a health check."""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.errors import StemError


class UnhealthyError(StemError):
    """A check failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check that passed.

    Args:
        detail: the findings.
        warning: whether the check will fail soon, or could not be made.
    """

    detail: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check.

    Args:
        name: ``certificates`` (with TLS), ``broker``, ``resources``, ``clock``, ``round-trip``, ``topology``,
            ``consumers``, ``schedulers``, ``age``, ``unroutable``, ``dead-letters``, ``backend`` or ``workers``.
        ok: whether it passed.
        detail: the findings, with the remedy if it failed.
        milliseconds: how long the check took.
        warning: whether it passed, but will fail soon.
    """

    name: str
    ok: bool
    detail: str
    milliseconds: float = 0.0
    warning: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthReport:
    """All checks.

    Args:
        checks: in the order in which they ran.
    """

    checks: tuple[Check, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)
