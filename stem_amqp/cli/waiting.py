"""Wait at the start for a broker or a result backend that is not reachable yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from stem_amqp.app import Stem
from stem_amqp.errors import (
    BackendUnavailableError,
    BrokerUnavailableError,
    PublishTimeoutError,
)
from stem_amqp.management import explain, find_resources
from stem_amqp.settings import Settings
from stem_amqp.text import one_line

T = TypeVar("T")
log = logging.getLogger("stem_amqp.cli")

_PAUSE = wait_random_exponential(multiplier=0.5, max=5, min=0.5)
"""Seconds between attempts; random, so that not all processes connect at the same time."""
_REPEATED = 10
"""Attempts between two warnings about the missing connection."""


async def with_patience(connect: Callable[[], Awaitable[T]], patience: float) -> T:
    """Connect, and retry within a time while broker or backend cannot be reached.

    Other errors, such as wrong credentials or another topology, are not retried.

    Args:
        connect: one attempt.
        patience: seconds for all attempts; 0 tries once.

    Raises:
        BrokerUnavailableError: the broker was not reachable in time.
        BackendUnavailableError: the result backend was not reachable in time.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type((BrokerUnavailableError, BackendUnavailableError)),
        wait=_PAUSE,
        stop=stop_after_delay(patience),
        before_sleep=_report,
        sleep=asyncio.sleep,
        reraise=True,
    )
    return await retrying(connect)


@asynccontextmanager
async def connected(app: Stem, patience: float) -> AsyncIterator[Stem]:
    """Connect an application for a block, and wait for broker and backend first.

    Args:
        app: the application.
        patience: seconds to wait; 0 tries once.

    Raises:
        StemError: the error of the last `Stem.connect`.
    """
    async with explained(app.settings):
        await with_patience(app.connect, patience)
        try:
            yield app
        finally:
            await app.close()


@asynccontextmanager
async def explained(settings: Settings) -> AsyncIterator[None]:
    """Add the reason to the errors of a broker that does not answer, if it can be found out.

    Args:
        settings: the settings of the application.

    Raises:
        BrokerUnavailableError: the error of the block, with the reason.
        PublishTimeoutError: likewise.
    """
    try:
        yield
    except (BrokerUnavailableError, PublishTimeoutError) as error:
        silent = isinstance(error, PublishTimeoutError) or _timed_out(error)
        why = explain(await find_resources(settings, locally=True)) if silent else ""
        if not why:
            raise
        raise type(error)(f"{error}\n  {why}") from error


def _timed_out(error: BaseException) -> bool:
    """Return whether the error was a timeout, rather than a refusal."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _report(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    level = logging.WARNING if state.attempt_number % _REPEATED == 1 else logging.INFO
    reason = one_line(str(error).partition("\n")[0])
    log.log(level, "not connected yet, attempt %d: %s", state.attempt_number, reason)
