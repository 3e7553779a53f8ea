"""Checks of the broker: connection, topology, a message's round trip, and clocks."""

from __future__ import annotations

import asyncio
import secrets
import time

from stem_amqp.app import Stem
from stem_amqp.durations import format_seconds
from stem_amqp.errors import BrokerRefusedError, ManagementError
from stem_amqp.health.report import Finding, UnhealthyError
from stem_amqp.management import Management
from stem_amqp.provision.versions import current_entities
from stem_amqp.text import redacted
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication

_SHOWN = 6
"""Maximum number of missing names that are shown."""
_ROUND_TRIP = 3.0
"""Maximum seconds of a message's round trip."""
_SKEW = 2.0
"""Difference of clocks in seconds that is reported; the broker's time has no fractions."""
_WRONG = 60.0
"""Difference of clocks in seconds at which a clock is wrong."""


async def check_broker(app: Stem, transport: Transport) -> Finding:
    """Connect, and ask for one queue.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access.
        ConfigurationError: the URL or a TLS file is not valid.
    """
    info = await transport.connect()
    started = time.perf_counter()
    await transport.status([app.names.unroutable])
    taken = (time.perf_counter() - started) * 1000
    where = redacted(app.settings.broker_url[0].get_secret_value())
    return Finding(f"{info} at {where}, round trip {taken:.1f} ms")


async def check_topology(app: Stem, transport: Transport) -> Finding:
    """Check that all exchanges and queues exist.

    Raises:
        UnhealthyError: some are missing.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    entities = await current_entities(transport, app.blueprint.entities)
    missing = [entity.name for entity in await transport.missing(entities)]
    total = len(entities.exchanges) + len(entities.queues)
    if missing:
        # Work queues come last in the list; the many delay queues are not informative
        delays = set(app.names.delay_queues())
        shown = [name for name in missing if name not in delays][: -_SHOWN - 1 : -1]
        rest = len(missing) - len(shown)
        raise UnhealthyError(
            f"{len(missing)} of {total} exchanges and queues are missing:"
            f" {', '.join(shown)}{f' and {rest} more' if rest else ''}\n"
            "  Declare them: stem-amqp topology apply"
        )
    return Finding(f"{total} exchanges and queues exist in namespace {app.names.namespace}")


async def check_round_trip(app: Stem, transport: Transport) -> Finding:
    """Publish a message to a queue of its own, on one connection, and consume it on the other.

    The queue is exclusive, and deleted at the end.

    Raises:
        UnhealthyError: the message did not arrive.
        BrokerError: the broker cannot be reached.
    """
    name = f"{app.names.control}.health-{secrets.token_hex(6)}"
    token = secrets.token_hex(8).encode()
    arrived = asyncio.Event()

    def take(delivery: Delivery) -> None:
        if delivery.body == token:
            arrived.set()

    try:
        async with transport.subscribe(name, take) as queue:
            started = time.perf_counter()
            await transport.publish(Publication(exchange="", routing_key=queue, body=token))
            async with asyncio.timeout(_ROUND_TRIP):
                await arrived.wait()
    except BrokerRefusedError:
        return Finding(
            f"not checked: the user may not declare {app.names.control}.health-*, or not write to"
            " amq.default",
            warning=True,
        )
    except TimeoutError:
        raise UnhealthyError(
            f"a message that was published and confirmed did not arrive within"
            f" {format_seconds(_ROUND_TRIP)}\n"
            "  The broker may be overloaded: see rabbitmq-diagnostics status"
        ) from None
    taken = (time.perf_counter() - started) * 1000
    return Finding(f"a message was published and consumed in {taken:.1f} ms")


async def check_clock(management: Management, now: float) -> Finding | None:
    """Compare this machine's clock with the broker's; None if the management API does not answer.

    Args:
        management: the management API.
        now: seconds since the epoch on this machine.

    Raises:
        UnhealthyError: a clock is wrong.
    """
    try:
        theirs = await management.time()
    except ManagementError:
        return None
    if theirs is None:
        return None
    skew = theirs - now
    if abs(skew) < _SKEW:
        return Finding("the broker's clock agrees with this machine's")
    ahead = "ahead of" if skew > 0 else "behind"
    text = (
        f"the broker's clock is {format_seconds(round(abs(skew)))} {ahead} this machine's\n"
        "  Synchronize both with NTP: expiry, eta and signatures compare the clocks of machines."
    )
    if abs(skew) >= _WRONG:
        raise UnhealthyError(text)
    return Finding(text, warning=True)
