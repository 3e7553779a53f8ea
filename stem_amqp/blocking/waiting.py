"""Waiting in one thread for what happens in another."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from stem_amqp.blocking.process import exiting
from stem_amqp.errors import BrokerUnavailableError, PublishTimeoutError, StemError

T = TypeVar("T")


def check_may_block(instead: str) -> None:
    """Make sure that no event loop would stand still while this thread waits.

    Args:
        instead: what to write there.

    Raises:
        StemError: an event loop runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise StemError(
        "an event loop runs in this thread, and a blocking call would stop all that it does.\n"
        f"  Do this: {instead}"
    )


def wait(future: Future[T], limit: float | None, unclear: str) -> T:
    """Wait for a result of another thread.

    Args:
        future: where it will be.
        limit: seconds after which it is given up; None waits for ever.
        unclear: what is to be known when the wait ends before its time, such as by Ctrl-C.

    Raises:
        PublishTimeoutError: the limit is over.
        BrokerUnavailableError: the producer was closed meanwhile.
        BaseException: what interrupted the wait, with a note, or what the other thread raised.
    """
    try:
        return future.result(limit)
    except CancelledError:
        _end_with_the_interpreter()
        raise BrokerUnavailableError(f"the producer was closed meanwhile: {unclear}") from None
    except BaseException as error:
        if future.done() and not future.cancelled() and future.exception() is error:
            _end_with_the_interpreter()
            raise
        future.cancel()
        if isinstance(error, TimeoutError) and limit is not None:
            raise PublishTimeoutError(f"no answer within {limit:g} s: {unclear}") from None
        error.add_note(f"stem-amqp: {unclear}")
        raise


def _end_with_the_interpreter() -> None:
    """Keep a daemon thread from an error that is only that of the exit, which ends it anyway."""
    if exiting.is_set() and threading.current_thread().daemon:
        threading.Event().wait()
