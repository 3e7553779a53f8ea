"""What a topology allows and will be regretted: where, what will happen, what to do instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution:
    """Something to think about.

    Args:
        key: the dotted path of the key.
        problem: what will happen.
        remedy: what to do instead.
    """

    key: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}\n  {self.remedy}"


def among(names: Iterable[str]) -> str:
    """Write the first of several names, and how many more there are."""
    first, *rest = names
    return f"{first} and {len(rest)} more" if rest else first
