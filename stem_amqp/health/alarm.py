"""Detect an alarm of the broker without the management API."""

from __future__ import annotations

import contextlib

from stem_amqp.errors import BrokerRefusedError, UnroutableError
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.publication import Publication


async def detect_alarm(transport: Transport, names: Names) -> str:
    """Publish a probe, and return what that says: a broker with an alarm reads no publish.

    The probe is published to a queue that cannot exist, so it is returned at once.

    Args:
        transport: connected.
        names: the names in the namespace.

    Raises:
        PublishTimeoutError: the probe was not returned in time: the broker has an alarm.
    """
    probe = Publication(exchange="", routing_key=f"{names.unroutable}.probe", body=b"")
    unknown = "file descriptors are not known: no management API answers"
    try:
        # The broker reads one message of a new publisher before it blocks the connection
        for _ in range(2):
            with contextlib.suppress(UnroutableError):
                await transport.publish(probe)
    except BrokerRefusedError:
        return f"alarms and {unknown}, and the user may not write to amq.default"
    return f"no alarm; {unknown}"
