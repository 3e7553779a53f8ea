"""Whether a RabbitMQ answers: a whole AMQP handshake, because an open port proves nothing."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import aiormq
from aiormq.exceptions import AMQPError

from stem_amqp.errors import BrokerUnavailableError

logger = logging.getLogger("stem_amqp.testing")

T = TypeVar("T")

POLL = 0.1
"""Seconds between two attempts while a broker starts."""
AMQP_PORTS = {"amqp": 5672, "amqps": 5671}
MANAGEMENT_OFFSET = 10_000
"""RabbitMQ's habit: 5672 speaks AMQP, 15672 is the management API."""


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from synchronous code.

    It runs on a thread of its own, so that it also works, and leaves no trace, where the caller's
    thread has an event loop.

    Args:
        work: the coroutine.

    Raises:
        BaseException: whatever the coroutine raised.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 it is raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=target, name="stem-amqp-blocking", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def broker_version(url: str, *, timeout: float = 5.0) -> str:
    """Do the AMQP handshake and return the broker's version, such as ``3.10.8``.

    Args:
        url: the AMQP URL, with the credentials to log in with.
        timeout: seconds for everything.

    Raises:
        BrokerUnavailableError: nobody answers, it is not AMQP, or the login is refused; the
            message is the reason alone, to stand behind the caller's own words.
    """
    return run_blocking(_handshake(url, timeout))


def wait_for_broker(url: str, *, timeout: float, alive: Callable[[], bool]) -> str:
    """Wait until a starting broker answers and return its version.

    Args:
        url: the AMQP URL.
        timeout: seconds to wait at most.
        alive: whether waiting still makes sense, asked before each attempt.

    Raises:
        BrokerUnavailableError: the time is over, or the broker is no longer alive.
    """

    async def wait() -> str:
        deadline = time.monotonic() + timeout
        while True:
            if not alive():
                raise BrokerUnavailableError("it ended while starting")
            try:
                return await _handshake(url, 5.0)
            except BrokerUnavailableError as error:
                if time.monotonic() > deadline:
                    raise BrokerUnavailableError(
                        f"it did not answer within {timeout:g} s: {error}"
                    ) from error
            await asyncio.sleep(POLL)

    return run_blocking(wait())


def management_answers(url: str, login: str, *, timeout: float = 2.0) -> bool:
    """Tell whether a RabbitMQ management API answers.

    Args:
        url: such as ``http://localhost:15672``.
        login: ``user:password``.
        timeout: seconds.
    """
    request = urllib.request.Request(  # noqa: S310 the callers build the URL with http://
        f"{url}/api/overview",
        headers={"Authorization": f"Basic {b64encode(login.encode()).decode()}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as response:
            return b"rabbitmq_version" in response.read()
    except (OSError, ValueError, urllib.error.URLError):
        return False


def management_beside(url: str) -> str | None:
    """Return the management URL of a broker by RabbitMQ's habit of port + 10000, if it answers.

    Args:
        url: the broker's AMQP URL.
    """
    parts = urlsplit(url)
    port = (parts.port or AMQP_PORTS["amqp"]) + MANAGEMENT_OFFSET
    management = f"http://{parts.hostname}:{port}"
    login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
    return management if management_answers(management, login) else None


async def _handshake(url: str, timeout: float) -> str:
    host, port = _address(url)
    try:
        async with asyncio.timeout(timeout):
            # A plain connect first: aiormq logs an error for each port that nobody listens on.
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            connection = await aiormq.connect(url)
            try:
                return str(connection.server_properties.get("version", "of unknown version"))
            finally:
                await connection.close()
    except TimeoutError:
        raise BrokerUnavailableError(f"no AMQP handshake within {timeout:g} s") from None
    except (OSError, AMQPError) as error:
        raise BrokerUnavailableError(_reason(error)) from error


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        if parts.scheme in AMQP_PORTS and parts.hostname:
            return parts.hostname, parts.port or AMQP_PORTS[parts.scheme]
    except ValueError:  # a port that is no number, or half an IPv6 address
        logger.debug("not a URL", exc_info=True)
    raise BrokerUnavailableError("this is no URL such as amqp://user:password@host:5672/")


def _reason(error: BaseException) -> str:
    # asyncio folds the failures of several addresses of one host into one text
    if f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "nobody listens there"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
