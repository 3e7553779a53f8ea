"""Translate aiormq's exceptions to stem-amqp's errors, with a remedy."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)

from stem_amqp.errors import (
    BrokerError,
    BrokerRefusedError,
    BrokerUnavailableError,
    TopologyMismatchError,
    TopologyMissingError,
)
from stem_amqp.transport.amqp.log_filter import filtered_log
from stem_amqp.transport.amqp.urls import BrokerUrl

T = TypeVar("T")

LOST = (
    AMQPError,
    ChannelInvalidStateError,
    ConnectionError,
    TimeoutError,
    asyncio.InvalidStateError,
)
"""The exceptions of aiormq when a channel or its connection is closed or does not answer."""

ALARM = (
    "\n  The broker blocks publishers because of a memory or disk alarm:"
    " see `rabbitmq-diagnostics alarms`"
)

BUSY = (
    "\n  The broker may be overloaded, or out of file descriptors or sockets:"
    " see `rabbitmq-diagnostics status`"
)
"""Likely causes when the broker does not answer."""

DOWN = (
    "\n  The queue exists, but its node does not run or is not in the cluster:"
    " see `rabbitmq-diagnostics cluster_status`"
)
"""The cause when a node does not answer for its queue."""
_DOWN = "is down or inaccessible"
"""How RabbitMQ's answer about such a queue ends; the reply code is that of a missing queue."""

_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<kind>\w+) '(?P<name>[^']*)'"
    r".*?: received (?P<ours>.*) but current is (?P<theirs>.*)$",
    re.DOTALL,
)
_VALUE = re.compile(r"^(?:the value )?'(?P<value>.*?)'(?: of type '.*')?$", re.DOTALL)


class InterruptedCallError(BrokerUnavailableError):
    """A call may be repeated: its connection has ended, or the node of its queue did not answer.

    RabbitMQ 4 also answers for a moment that a node is down while another client declares a queue.
    """


class QueueLockedError(BrokerRefusedError):
    """Another connection, possibly a dead one that the broker still has, uses the queue exclusively."""


@contextmanager
def aiormq_call() -> Iterator[None]:
    """Call aiormq without duplicate log lines, and with errors instead of its cancellations.

    When a connection ends, aiormq cancels its waiters; a supervisor that took this for its own
    cancellation would end permanently.

    Raises:
        ConnectionResetError: instead of a CancelledError of a task that was not cancelled.
    """
    before = cancellations()
    try:
        with filtered_log():
            yield
    except asyncio.CancelledError as error:
        if cancellations() > before:
            raise
        raise ConnectionResetError("connection closed") from error
    except Exception as error:
        if is_lost(error) and not isinstance(error, LOST):
            raise ConnectionResetError("connection closed") from error
        raise


async def answered(call: Awaitable[T], subject: str, *, timeout: float) -> T:
    """Wait for the broker's reply.

    Args:
        call: a call of aiormq.
        subject: the beginning of the error, such as ``cannot declare queue 'orders'``.
        timeout: the timeout in seconds.

    Raises:
        BrokerError: the broker refuses it or does not answer; see `entity_error`.
    """
    try:
        with aiormq_call():
            async with asyncio.timeout(timeout):
                return await call
    except LOST as error:
        raise entity_error(error, subject) from error


def is_lost(error: Exception) -> bool:
    """Return whether aiormq raised it because a channel or its connection is closed.

    Args:
        error: the exception; aiormq raises a bare `Exception` if it knows no reason.
    """
    return isinstance(error, LOST) or type(error) is Exception


def cancellations() -> int:
    """Return the number of cancellation requests of the current task."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def reason(error: BaseException | None) -> str:
    """Return a short description of why a channel or a connection ended.

    Args:
        error: the exception with which aiormq closed it; None for a normal end.
    """
    if error is None or isinstance(error, asyncio.CancelledError) or type(error) is Exception:
        return "connection closed"
    if isinstance(error.__cause__, asyncio.IncompleteReadError):
        return "connection aborted"
    texts = [str(part) for part in error.args if isinstance(part, str) and part]
    # RabbitMQ wraps and indents its longer texts
    return " ".join(texts[-1].split()) if texts else type(error).__name__


def connect_error(
    error: BaseException, url: BrokerUrl, *, refusal: str, timeout: float
) -> BrokerError:
    """Return the error for a connection that could not be opened.

    Args:
        error: the exception of the attempt.
        url: the broker's URL.
        refusal: the text with which the broker closed the connection, if it did.
        timeout: the timeout of the attempt in seconds.
    """
    text = refusal or reason(error)
    if isinstance(error, ProbableAuthenticationError):
        return BrokerRefusedError(
            f"the broker at {url} refused user {url.user!r}: {text}\n"
            "  Check user and password in STEM_BROKER_URL"
        )
    if isinstance(error, AuthenticationError):
        return BrokerRefusedError(
            f"the broker at {url} offers no supported login mechanism; it offers: {error.args[0]}"
        )
    if refusal:
        return BrokerRefusedError(
            f"the broker at {url} refused virtual host {url.virtual_host!r} to user {url.user!r}:"
            f" {refusal}\n  Check the path of STEM_BROKER_URL, or create it and its permissions:"
            f" rabbitmqctl add_vhost; rabbitmqctl set_permissions"
        )
    return BrokerUnavailableError(f"no connection to {url}: {_network(error, url, text, timeout)}")


def _network(error: BaseException, url: BrokerUrl, text: str, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return (
            f"no answer within {timeout:g} s; check host and port in STEM_BROKER_URL,"
            " the firewall, and whether the broker is overloaded or out of file descriptors"
            " (`rabbitmq-diagnostics status` on its machine)"
        )
    if isinstance(error, socket.gaierror):
        return f"the host name {url.host!r} is unknown ({text}); check it in STEM_BROKER_URL"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message});"
            " set STEM_TLS_CA to its authority, or STEM_TLS_SERVER_NAME to its name"
        )
    ended = _ended_by_peer(error) if url.tls else None
    if ended is not None:
        return (
            f"the broker ended the TLS session ({ended})\n  It may require a valid client certificate that"
            " its authority has signed: set STEM_TLS_CERT\n  and STEM_TLS_KEY."
            " `stem-amqp health` shows when the certificate expires"
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"no TLS session ({error.reason or text});"
            " check that this port speaks TLS, usually 5671, else use amqp://"
        )
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; start a broker, or set STEM_BROKER_URL"
    if isinstance(error, OSError) and not isinstance(error, AMQPError):
        return f"{error.strerror or text}; check STEM_BROKER_URL and the network"
    return f"the server does not speak AMQP ({text})" + (
        "; check the port in STEM_BROKER_URL" if url.tls else "; a TLS port needs amqps://"
    )


def _ended_by_peer(error: BaseException) -> str | None:
    """Return how the peer ended a TLS session, as it does if it requires a client certificate.

    Its alert with the reason is lost if it arrives during a write. None if the peer did not end it.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return str(cause.reason)
        if isinstance(cause, ConnectionResetError | BrokenPipeError | asyncio.IncompleteReadError):
            return "connection reset"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def entity_error(error: BaseException, subject: str) -> BrokerError:
    """Return the error for an operation on an exchange or a queue that the broker refused.

    Args:
        error: the exception of aiormq.
        subject: the beginning of the error, such as ``cannot declare queue 'orders'``.
    """
    text = reason(error)
    if isinstance(error, ChannelNotFoundEntity):
        if text.endswith(_DOWN):
            return InterruptedCallError(f"{subject}: {text}{DOWN}")
        return TopologyMissingError(f"{subject}: {text}\n  Run `stem-amqp topology apply`")
    if isinstance(error, ChannelPreconditionFailed):
        return _mismatch(subject, text)
    if isinstance(error, ChannelAccessRefused):
        return BrokerRefusedError(f"{subject}: {text}\n  {_access_remedy(text)}")
    if isinstance(error, ChannelLockedResource):
        return QueueLockedError(f"{subject}: {text}\n  Another connection uses it exclusively")
    if isinstance(error, TimeoutError):
        return BrokerUnavailableError(f"{subject}: the broker did not answer in time{BUSY}")
    return InterruptedCallError(f"{subject}: {text}")


def _access_remedy(text: str) -> str:
    if "exclusive use" in text:
        return "Another consumer uses it exclusively: stop that one first"
    return "Give the user the permission: rabbitmqctl set_permissions"


def _mismatch(subject: str, text: str) -> TopologyMismatchError:
    found = _INEQUIVALENT.search(text)
    if found is None:
        return TopologyMismatchError(f"{subject}: {text}")
    kind, name, argument = found["kind"], found["name"], found["argument"]
    current, wanted = _value(found["theirs"]), _value(found["ours"])
    return TopologyMismatchError(
        f"{kind} {name!r} was declared with other arguments: {argument} is"
        f" {current} on the broker and {wanted} in the topology.\n"
        f"  RabbitMQ cannot change it. For all differences and remedies run: stem-amqp topology plan",
        argument=argument,
        wanted=wanted,
        current=current,
    )


def _value(text: str) -> str:
    found = _VALUE.match(text.strip())
    return found["value"] if found else text.strip()
