"""Hold the key of a unique task while its message is published."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from stem_amqp.errors import BackendError
from stem_amqp.results.base import ResultBackend

log = logging.getLogger("stem_amqp.results")

UNCONFIRMED = 60.0
"""Seconds that a key is held for a message that the broker has not confirmed yet.

A producer that dies in between leaves a key without a task. Such a key must not block other calls for
the whole window."""


@contextlib.asynccontextmanager
async def claimed(backend: ResultBackend, key: str, task_id: str, ttl: float) -> AsyncIterator[str]:
    """Take a task's key for a block that publishes the task.

    The key is released if the block raises. Otherwise it is held for `ttl` seconds from then on.

    Args:
        backend: where the keys are.
        key: the key.
        task_id: the task that takes the key.
        ttl: seconds for which the task blocks other calls.

    Yields:
        The id of the task that holds the key: another task's if that one came first.

    Raises:
        ConfigurationError: the backend keeps no keys.
        BackendUnavailableError: the backend does not answer; nothing was published.
    """
    record = await backend.claim_key(key, task_id, ttl=min(ttl, UNCONFIRMED))
    try:
        yield record.owner
    except BaseException:
        if record.owner == task_id:
            await _release(backend, key, task_id)
        raise
    if record.owner == task_id and ttl > UNCONFIRMED:
        await _keep(backend, key, task_id, ttl)


async def _release(backend: ResultBackend, key: str, task_id: str) -> None:
    try:
        await backend.release_key(key, task_id)
    except BackendError as error:
        log.warning(
            "task %s was not enqueued, and its key blocks other calls for up to %g s: %s",
            task_id,
            UNCONFIRMED,
            error,
        )


async def _keep(backend: ResultBackend, key: str, task_id: str, ttl: float) -> None:
    """Hold the key for its whole time, unless the task has already ended and released it."""
    try:
        await backend.keep_key(key, task_id, ttl=ttl)
    except BackendError as error:
        log.warning(
            "task %s is enqueued, but its key blocks other calls for only %g s: %s",
            task_id,
            UNCONFIRMED,
            error,
        )
