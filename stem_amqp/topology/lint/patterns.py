"""Compare topic patterns: whether two of them match a common routing key."""

from __future__ import annotations

from functools import lru_cache

ANY = "#"
"""The pattern that matches every key."""


@lru_cache(maxsize=4096)
def overlap(one: str, other: str) -> bool:
    """Return whether a routing key exists that two topic patterns both match.

    Args:
        one: a pattern; a key without ``*`` and ``#`` matches only itself.
        other: the other pattern.
    """
    return _overlap(_words(one), _words(other))


def narrower(one: str, other: str) -> str:
    """Return the more specific one of two overlapping patterns."""
    return max(one, other, key=lambda pattern: sum(w not in {"*", ANY} for w in _words(pattern)))


def is_pattern(key: str) -> bool:
    """Return whether a routing key contains a wildcard of topic exchanges."""
    return any(word in {"*", ANY} for word in _words(key))


def _words(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.split(".")) if pattern else ()


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Compare word by word from the end; each pair of positions is compared once."""
    below = [False] * len(other) + [True]
    for at in range(len(other) - 1, -1, -1):
        below[at] = below[at + 1] and other[at] == ANY
    for word in reversed(one):
        row = [False] * len(other) + [word == ANY and below[-1]]
        for at in range(len(other) - 1, -1, -1):
            match = other[at]
            if ANY in {word, match}:
                # # matches no word, or one more word
                row[at] = below[at] or row[at + 1] if word == ANY else row[at + 1] or below[at]
            else:
                row[at] = below[at + 1] and (word == match or "*" in {word, match})
        below = row
    return below[0]
