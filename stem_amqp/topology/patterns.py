"""Which routing keys a topic pattern fits, where the keys are only known as patterns themselves."""

from __future__ import annotations

from functools import lru_cache

ANY = "#"
"""The pattern that fits every key."""


@lru_cache(maxsize=4096)
def overlap(one: str, other: str) -> bool:
    """Say whether there is a routing key that two topic patterns both fit.

    Args:
        one: a pattern; a key without ``*`` and ``#`` stands for itself.
        other: likewise.
    """
    return _overlap(_words(one), _words(other))


def narrower(one: str, other: str) -> str:
    """Return of two patterns that overlap the one that says more."""
    return max(one, other, key=lambda pattern: sum(w not in {"*", ANY} for w in _words(pattern)))


def is_pattern(key: str) -> bool:
    """Say whether a routing key is one for topic exchanges only."""
    return any(word in {"*", ANY} for word in _words(key))


def _words(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.split(".")) if pattern else ()


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if not one or not other:
        return all(word == ANY for word in (*one, *other))
    if one[0] == ANY:
        return _overlap(one[1:], other) or _overlap(one, other[1:])
    if other[0] == ANY:
        return _overlap(other, one)
    same = one[0] == other[0] or "*" in {one[0], other[0]}
    return same and _overlap(one[1:], other[1:])
