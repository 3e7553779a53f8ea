"""What differs between RabbitMQ's releases: the one place where versions are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stem_amqp.errors import ConfigurationError
from stem_amqp.transport.base import BrokerInfo

_NUMBERS = 3
_NEWEST = 999
OLDEST_SUPPORTED = (3, 10)
"""Quorum queues have message TTL and at-least-once dead-lettering from here on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """Something that RabbitMQ has from a release on, and a topology may ask for.

    Args:
        key: the key of a queue that asks for it.
        since: the first release that has it.
        reason: what an older one does instead.
        remedy: what to do there.
    """

    key: str
    since: tuple[int, ...]
    reason: str
    remedy: str


NATIVE_RETRY = Feature(
    key="native_retry",
    since=(4, 3, 1),
    reason="RabbitMQ keeps the arguments without a word and delays nothing: a failing task would"
    " come back at once, again and again",
    remedy="Remove it: the delay queues retry on every release.",
)
CONSUMER_TIMEOUT = Feature(
    key="consumer_timeout",
    since=(3, 12),
    reason="RabbitMQ has one timeout for all of its queues, and ignores that of a queue",
    remedy="Remove it, and write into rabbitmq.conf: consumer_timeout = {ms}",
)
STRICT_PRIORITY = Feature(
    key="strict_priority",
    since=(4, 3),
    reason="a quorum queue has no priorities before RabbitMQ 4.0, and from 4.0 to 4.2 two lanes,"
    " of which the lower one gets every third turn",
    remedy="Remove it, and give what is urgent a queue of its own, or make this one"
    " type: classic with priority: 5.",
)
FEATURES = (NATIVE_RETRY, CONSUMER_TIMEOUT, STRICT_PRIORITY)
"""What a topology may ask for and not every supported release has."""


POLICY_KEYS: Mapping[str, tuple[int, ...]] = {
    "consumer-timeout": (3, 12),
    "target-group-size": (3, 13),
    "delayed-retry-type": (4, 3, 1),
    "delayed-retry-min": (4, 3, 1),
    "delayed-retry-max": (4, 3, 1),
}
"""Keys of policies by the release from which on RabbitMQ takes them; the others it always took."""
OPERATOR_POLICY_KEYS: Mapping[str, tuple[int, ...]] = {**POLICY_KEYS, "overflow": (3, 13)}
"""The same for operator policies."""
POLICY_QUEUE_TYPES = (3, 12)
"""From here on a policy can be for queues of one type."""
EXCHANGE_TYPES: Mapping[str, tuple[int, ...]] = {"x-local-random": (4, 0), "x-modulus-hash": (4, 3)}
"""Types of exchanges beside AMQP's own that RabbitMQ has without a plugin, from a release on."""
NO_TIMEOUT_OF_CLASSIC_QUEUES = (4, 3)
"""From here on a classic queue has no consumer timeout."""
TWO_HASHES_AT_MOST = (4, 3, 5)
"""From here on a topic pattern has two # at most."""
STREAM_QUEUE_FLAG_UNTIL = (3, 12)
"""Until here a feature flag of that name could be off, without which nothing is at-least-once."""


def has(broker: BrokerInfo, feature: Feature) -> bool:
    """Say whether a broker has a feature.

    Args:
        broker: what it says of itself.
        feature: one of `FEATURES`.
    """
    return broker.version >= feature.since


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


def release(text: str) -> BrokerInfo:
    """Return what a RabbitMQ of a release would say of itself.

    Args:
        text: such as ``3.10`` or ``4.3.1``; without the last number, the newest of its series.

    Raises:
        ConfigurationError: it is no release.
    """
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", text):
        raise ConfigurationError(
            f"{text!r} is no release of RabbitMQ\n  Write such as 3.10, 4.0 or 4.3.1."
        )
    numbers = tuple(int(number) for number in text.split("."))
    newest = () if len(numbers) == _NUMBERS else (_NEWEST,)
    return BrokerInfo(product="RabbitMQ", version=(*numbers, *newest), title=f"RabbitMQ {text}")


def supported(broker: BrokerInfo) -> bool:
    """Say whether a release is one that stem-amqp is tested with.

    Args:
        broker: what it says of itself.
    """
    return broker.version >= OLDEST_SUPPORTED
