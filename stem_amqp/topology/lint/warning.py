"""Topology warnings: valid but risky settings, with their consequence and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LintWarning:
    """A warning about a valid but risky setting.

    Args:
        key: the dotted path of the key.
        problem: the consequence.
        remedy: what to do instead.
    """

    key: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}\n  {self.remedy}"


def summarized(names: Iterable[str]) -> str:
    """Format the first of several names and the number of the others."""
    first, *rest = names
    return f"{first} and {len(rest)} more" if rest else first
