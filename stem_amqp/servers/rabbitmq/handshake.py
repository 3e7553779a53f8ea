"""Check that a RabbitMQ answers: by a whole AMQP handshake, because an open port proves nothing."""

from __future__ import annotations

import asyncio
import errno
import logging
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import aio_pika
from aio_pika.exceptions import AMQPError

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.answer import run_blocking, wait_until

logger = logging.getLogger("stem_amqp.testing")

AMQP_PORTS = {"amqp": 5672, "amqps": 5671}
MANAGEMENT_OFFSET = 10_000
"""RabbitMQ's convention: AMQP on port 5672, the management API on 15672."""


def broker_version(url: str, *, timeout: float = 5.0) -> str:
    """Do the AMQP handshake and return the broker's version, such as ``3.10.8``.

    Args:
        url: the AMQP URL, with the credentials to log in with.
        timeout: seconds for everything.

    Raises:
        BrokerUnavailableError: no server answers, it does not speak AMQP, or it refuses the login; the
            message is the reason alone, for the caller to put into its own message.
    """
    return run_blocking(_handshake(url, timeout))


def wait_for_broker(url: str, *, timeout: float, alive: Callable[[], bool]) -> str:
    """Wait until a starting broker answers and return its version.

    Args:
        url: the AMQP URL.
        timeout: seconds to wait at most.
        alive: whether the broker still runs, asked before each attempt.

    Raises:
        BrokerUnavailableError: the broker does not answer in time, or is no longer alive.
    """
    return wait_until(
        lambda: broker_version(url),
        timeout=timeout,
        unavailable=BrokerUnavailableError,
        alive=alive,
    )


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
    """Return the management URL of a broker by RabbitMQ's convention, port + 10000, if it answers.

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
            # A plain connect first: the client library logs an error for each closed port.
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            async with await aio_pika.connect(url) as connection:
                transport = connection.transport
                properties = transport.connection.server_properties if transport else {}
                return str(properties.get("version", "of unknown version"))
    except TimeoutError:
        raise BrokerUnavailableError(f"no AMQP handshake within {timeout:g} s") from None
    except (OSError, AMQPError) as error:
        raise BrokerUnavailableError(_reason(error)) from error


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        if parts.scheme in AMQP_PORTS and parts.hostname:
            return parts.hostname, parts.port or AMQP_PORTS[parts.scheme]
    except ValueError:  # a port that is not a number, or half an IPv6 address
        logger.debug("not a URL", exc_info=True)
    raise BrokerUnavailableError("this is not a URL such as amqp://user:password@host:5672/")


def _reason(error: BaseException) -> str:
    # asyncio combines the failures of several addresses of one host in one text
    if f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "nothing listens there"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
