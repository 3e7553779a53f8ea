"""Errors in settings, options, the topology file and task definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem_amqp.errors.base import StemError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ConfigurationError(StemError, ValueError):
    """A setting, an option or a URL is not valid."""


class MessageTooLargeError(ConfigurationError):
    """A task message is larger than the producer may send; nothing was sent.

    Args:
        task: the task's name.
        size: bytes of the body.
        limit: the largest size in bytes.
        largest: the name of the largest argument, ``meta``, or ``links``: what follows the task in its
            composition; None if there is none.
        largest_size: its size in bytes.
    """

    def __init__(
        self, task: str, *, size: int, limit: int, largest: str | None, largest_size: int
    ) -> None:
        part = f"; the largest part is {largest!r} with {largest_size:,} bytes" if largest else ""
        remedy = "Store large data elsewhere and pass a reference to it"
        if largest == "links":
            remedy = "Let a link enqueue what follows it, with smaller groups or shorter arguments"
        super().__init__(
            f"task {task}: the message has {size:,} bytes, the limit is {limit:,}{part}.\n"
            f"  {remedy}, or raise STEM_MAX_BODY_SIZE."
        )
        self.task = task
        self.size = size
        self.limit = limit
        self.largest = largest
        self.largest_size = largest_size


class TopologyError(ConfigurationError):
    """The topology has a mistake.

    Args:
        problem: the problem, in one sentence.
        file: the file's path, if the topology was read from a file.
        line: the line, counted from 1.
        key: the dotted path of the key, such as ``queues.orders.prefetch``.
        remedy: what to write instead.
        more: the file's other mistakes, which the text also lists.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
        remedy: str | None = None,
        more: Sequence[TopologyError] = (),
    ) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key
        self.remedy = remedy
        self.more = tuple(more)
        place = ":".join(str(part) for part in (file, line) if part is not None)
        text = ": ".join(part for part in (place, key, problem) if part)
        own = f"{text}\n  {remedy}" if remedy else text
        super().__init__("\n".join([own, *map(str, self.more)]))


class TaskDefinitionError(ConfigurationError):
    """A function cannot be a task, or its options are inconsistent."""
