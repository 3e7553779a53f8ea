"""Ask all workers of a namespace for their state."""

from __future__ import annotations

import asyncio

from stem_amqp import cancellation
from stem_amqp.errors import PublishTimeoutError
from stem_amqp.messages.commands import REPORT, Report, signed_part
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.publication import Publication

ALARM_AFTER = 1.0
"""Seconds without a confirm after which a request is given up if the broker blocks publishers."""


async def ask(
    transport: Transport, names: Names, command: Report, *, seal: Seal | None, reply_to: str | None
) -> None:
    """Publish a request, and give it up early while an alarm blocks publishers.

    Args:
        transport: connected.
        names: the names on the broker.
        command: the request.
        seal: signs it; None without keys.
        reply_to: the queue for the answers; None if no answer is wanted.

    Raises:
        UnroutableError: no worker runs.
        PublishTimeoutError: the broker did not take it; the text names the alarm if there is one.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    message = question(transport, names, command, seal=seal, reply_to=reply_to)
    publishing = asyncio.create_task(transport.publish(message), name="stem-amqp question")
    try:
        await asyncio.wait({publishing}, timeout=ALARM_AFTER)
        if not publishing.done() and (alarm := await transport.blocked()):
            raise PublishTimeoutError(f"no worker can be asked during an alarm\n  {alarm}")
        await publishing
    finally:
        await cancellation.end(publishing)


def question(
    transport: Transport, names: Names, command: Report, *, seal: Seal | None, reply_to: str | None
) -> Publication:
    """Return the message that asks the workers.

    Args:
        transport: its clock is used.
        names: the names on the broker.
        command: the request.
        seal: signs it; None without keys.
        reply_to: the queue for the answers; None if no answer is wanted.
    """
    body = command.encode()
    headers: dict[str, str] = {}
    if seal is not None:
        part = signed_part(body, None, {}, type=REPORT, reply_to=reply_to)
        headers = seal.stamp(part, domain=Domain.COMMAND, at=transport.clock.time())
    return Publication(
        exchange=names.control,
        routing_key="",
        body=body,
        type=REPORT,
        reply_to=reply_to,
        app_id=names.namespace,
        headers=headers,
    )
