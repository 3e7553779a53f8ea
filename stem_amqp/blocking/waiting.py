"""Wait in one thread for a result of another."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from stem_amqp.blocking.process import exiting
from stem_amqp.errors import BrokerUnavailableError, PublishTimeoutError, StemError
from stem_amqp.event_loop import running_loop

T = TypeVar("T")


def check_may_block(instead: str) -> None:
    """Refuse to block a thread in which an event loop runs.

    Args:
        instead: the expression to use there; for the error.

    Raises:
        StemError: an event loop runs in this thread.
    """
    if running_loop() is None:
        return
    raise StemError(
        "an event loop runs in this thread, which a blocking call would block.\n"
        f"  Do this: {instead}"
    )


def wait(future: Future[T], limit: float | None, unclear: str) -> T:
    """Wait for a future of another thread, and return its result.

    Args:
        future: the future.
        limit: seconds to wait; None waits without a limit.
        unclear: what remains uncertain if the wait is interrupted, such as by Ctrl-C; for the error.

    Raises:
        PublishTimeoutError: it took longer than the limit.
        BrokerUnavailableError: the producer was closed meanwhile.
        BaseException: the exception of the other thread, or the one that interrupted the wait, with a note.
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
    """Block a daemon thread during the exit, which ends it: an error there would only be noise."""
    if exiting.is_set() and threading.current_thread().daemon:
        threading.Event().wait()
