"""Resolve task ids that are typed in full or as a unique prefix."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise, takewhile

from stem_amqp.errors import ConfigurationError

SHORTEST = 4
"""The shortest prefix in characters; a shorter one could match by chance."""
_SHOWN = 5


def matches_id(found: str, given: str) -> bool:
    """Return whether an id equals the typed text or begins with it."""
    return found == given or (len(given) >= SHORTEST and found.startswith(given))


def resolve_id(given: str, found: Iterable[str]) -> str | None:
    """Return the id that a typed text matches; None if there is none.

    Args:
        given: a full id or a prefix.
        found: the existing ids.

    Raises:
        ConfigurationError: several ids match.
    """
    fitting = sorted({one for one in found if matches_id(one, given)})
    if given in fitting:
        return given
    if len(fitting) > 1:
        some = "".join(f"\n    {one}" for one in fitting[:_SHOWN])
        more = f"\n    … and {len(fitting) - _SHOWN} more" if len(fitting) > _SHOWN else ""
        raise ConfigurationError(
            f"{len(fitting)} ids begin with {given!r}\n  Type more of it:{some}{more}"
        )
    return fitting[0] if fitting else None


def distinguishing_length(ids: Iterable[str], least: int) -> int:
    """Return how many characters of ids tell those apart that differ.

    Args:
        ids: the ids; those that tasks get within one millisecond begin alike.
        least: the least number.
    """
    ordered = sorted(set(ids))
    common = (_common(one, two) for one, two in pairwise(ordered))
    return max(least, max(common, default=0) + 1)


def _common(one: str, two: str) -> int:
    """Return the number of characters at the beginning that two texts have in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
