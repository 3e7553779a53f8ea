"""The statistics of a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStatistics:
    """The state of a worker at one moment, and its counters since the start.

    Args:
        name: the worker's name.
        queues: the number of running tasks by logical queue.
        consuming: the logical queues that the worker currently consumes.
        running: the number of running tasks.
        paused: the logical queues that are paused on purpose, and therefore not consumed.
        done: the number of settled deliveries.
        abandoned_threads: the number of threads whose run outlived its time limit.
        waiting_for_threads: the number of tasks that wait for a thread, and have not started.
        threads_used_up: whether runs that outlived their time limit hold all threads, so that the
            worker pauses the queues of synchronous tasks.
        signature_invalid: the number of messages refused because of their signature, and not run.
        settle_refused: the number of messages rejected because the broker refused their follow-up.
        replies_given_up: the number of ``rpc://`` replies given up because the broker refused them.
        worker_failures: the number of messages dead-lettered because the worker's own code failed.
    """

    name: str
    queues: Mapping[str, int]
    consuming: tuple[str, ...]
    running: int
    done: int
    abandoned_threads: int
    signature_invalid: int = 0
    settle_refused: int = 0
    replies_given_up: int = 0
    waiting_for_threads: int = 0
    threads_used_up: bool = False
    worker_failures: int = 0
    paused: tuple[str, ...] = ()
