"""A bounded memory of the nonces of publishes that a process has received."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto

CAPACITY = 100_000
"""Maximum number of nonces, about 20 MB; the oldest are forgotten first."""


class Taken(Enum):
    """The state of a nonce."""

    NEW = auto()
    """It was unknown; it is known from now on."""
    RUNNING = auto()
    """A delivery with it is not settled yet."""
    DONE = auto()
    """A delivery with it was processed."""


class NonceMemory:
    """Remembers nonces up to a capacity.

    The nonce of a requeued delivery is forgotten, so that it can be delivered again.

    Args:
        capacity: maximum number of nonces.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._done: OrderedDict[str, bool] = OrderedDict()

    def take(self, nonce: str) -> Taken:
        """Register a nonce; return its state before."""
        done = self._done.get(nonce)
        if done is not None:
            return Taken.DONE if done else Taken.RUNNING
        self._done[nonce] = False
        if len(self._done) > self._capacity:
            self._done.popitem(last=False)
        return Taken.NEW

    def end(self, nonce: str, *, done: bool) -> None:
        """Record that a delivery is settled.

        Args:
            nonce: the nonce of its publish.
            done: whether it was processed; otherwise it will be redelivered, and is forgotten.
        """
        if done:
            self._done[nonce] = True
        elif not self._done.get(nonce, False):
            self._done.pop(nonce, None)

    def __len__(self) -> int:
        return len(self._done)
