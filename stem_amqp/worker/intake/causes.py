"""Why a worker does not consume a queue."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """Why a worker does not consume a queue; a queue can have several causes at once."""

    THREADS = "threads"
    """Runs beyond their time limit hold all threads of this worker: a fault."""
    DIRECTIVE = "directive"
    """A directive pauses the queue in every worker: this is intended."""


INTENDED = frozenset({Cause.DIRECTIVE})
"""The causes that are no fault: a queue that is paused for no other is healthy."""
