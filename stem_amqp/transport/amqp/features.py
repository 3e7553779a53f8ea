"""What differs between RabbitMQ's releases: the one place where versions are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stem_amqp.transport.base import BrokerInfo

OLDEST_SUPPORTED = (3, 10)
"""Quorum queues have message TTL and at-least-once dead-lettering from here on."""


def broker_info(properties: Mapping[str, Any]) -> BrokerInfo:
    """Read what the broker says of itself in the handshake.

    Args:
        properties: the ``server_properties`` of AMQP's ``connection.start``.
    """
    numbers = re.findall(r"\d+", str(properties.get("version", "")))
    return BrokerInfo(
        product=str(properties.get("product", "unknown broker")),
        version=tuple(int(number) for number in numbers[:3]),
        cluster=str(properties.get("cluster_name", "")),
    )


def supported(broker: BrokerInfo) -> bool:
    """Say whether a release is one that stem-amqp is tested with.

    Args:
        broker: what it says of itself.
    """
    return broker.version >= OLDEST_SUPPORTED
