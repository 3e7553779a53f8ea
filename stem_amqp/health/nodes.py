"""The check of the broker's nodes: alarms, file descriptors, sockets, and nodes that are down."""

from __future__ import annotations

from collections.abc import Sequence

from stem_amqp.app import Stem
from stem_amqp.errors import PublishTimeoutError
from stem_amqp.health.alarm import detect_alarm
from stem_amqp.health.report import Finding, UnhealthyError
from stem_amqp.management import NodeResources, explain
from stem_amqp.transport.base import Transport


async def check_resources(
    app: Stem, transport: Transport, nodes: Sequence[NodeResources]
) -> Finding:
    """Check the nodes; without the management API, only whether the broker reads publishes.

    Args:
        app: the application.
        transport: connected.
        nodes: the nodes; empty if the management API does not answer.

    Raises:
        UnhealthyError: a node has an alarm, is down, or has run out of a resource.
        BrokerError: the broker cannot be reached.
    """
    problem = explain(nodes)
    if problem:
        raise UnhealthyError(problem)
    if not nodes:
        try:
            return Finding(await detect_alarm(transport, app.names))
        except PublishTimeoutError as error:
            raise UnhealthyError(f"publishers are blocked: {error}") from error
    warnings = [warning for node in nodes for warning in node.warnings]
    return Finding("; ".join(["no alarm", *map(str, nodes), *warnings]), warning=bool(warnings))
