"""Differences between RabbitMQ's releases; all comparisons of versions are here."""

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
"""The first release whose quorum queues have message TTL and at-least-once dead-lettering."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """A feature that RabbitMQ has from a release on and that a topology can require.

    Args:
        key: the key of a queue that requires it.
        since: the first release that has it.
        reason: the behaviour of older releases.
        remedy: what to change for an older release.
    """

    key: str
    since: tuple[int, ...]
    reason: str
    remedy: str


NATIVE_RETRY = Feature(
    key="native_retry",
    since=(4, 3, 1),
    reason="RabbitMQ silently accepts the arguments and delays nothing: a failing task would be"
    " redelivered at once, again and again",
    remedy="Remove it: the delay queues retry on every release.",
)
CONSUMER_TIMEOUT = Feature(
    key="consumer_timeout",
    since=(3, 12),
    reason="RabbitMQ has one timeout for all queues and ignores the queue's own",
    remedy="Remove it, and write into rabbitmq.conf: consumer_timeout = {ms}",
)
STRICT_PRIORITY = Feature(
    key="strict_priority",
    since=(4, 3),
    reason="a quorum queue has no priorities before RabbitMQ 4.0, and from 4.0 to 4.2 two levels,"
    " of which the lower one gets every third delivery",
    remedy="Remove it, and use a separate queue for urgent tasks, or make this one"
    " type: classic with priority: 5.",
)
FEATURES = (NATIVE_RETRY, CONSUMER_TIMEOUT, STRICT_PRIORITY)
"""The features that a topology can require and not every supported release has."""


POLICY_KEYS: Mapping[str, tuple[int, ...]] = {
    "consumer-timeout": (3, 12),
    "target-group-size": (3, 13),
    "delayed-retry-type": (4, 3, 1),
    "delayed-retry-min": (4, 3, 1),
    "delayed-retry-max": (4, 3, 1),
}
"""Keys of policies with the first release that accepts them; all supported releases accept the others."""
OPERATOR_POLICY_KEYS: Mapping[str, tuple[int, ...]] = {**POLICY_KEYS, "overflow": (3, 13)}
"""The same for operator policies."""
POLICY_QUEUE_TYPES = (3, 12)
"""The first release in which a policy can apply to queues of one type."""
EXCHANGE_TYPES: Mapping[str, tuple[int, ...]] = {"x-local-random": (4, 0), "x-modulus-hash": (4, 3)}
"""Types of exchanges, besides AMQP's, that RabbitMQ has without a plugin from a release on."""
NO_TIMEOUT_OF_CLASSIC_QUEUES = (4, 3)
"""The first release in which a classic queue has no consumer timeout."""
TWO_HASHES_AT_MOST = (4, 3, 5)
"""The first release that allows at most two # in a topic pattern."""
STREAM_QUEUE_FLAG_UNTIL = (3, 12)
"""The last release in which the feature flag ``stream_queue``, which at-least-once needs, can be off."""


def has(broker: BrokerInfo, feature: Feature) -> bool:
    """Return whether a broker has a feature.

    Args:
        broker: the broker's information.
        feature: one of `FEATURES`.
    """
    return broker.version >= feature.since


def broker_info(properties: Mapping[str, Any]) -> BrokerInfo:
    """Return the broker's information from the handshake.

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
    """Return the information of a RabbitMQ of a given release.

    Args:
        text: such as ``3.10`` or ``4.3.1``; without the last number, the newest of its series.

    Raises:
        ConfigurationError: it is not a valid release.
    """
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", text):
        raise ConfigurationError(
            f"{text!r} is not a valid release of RabbitMQ\n  Write for example 3.10, 4.0 or 4.3.1."
        )
    numbers = tuple(int(number) for number in text.split("."))
    newest = () if len(numbers) == _NUMBERS else (_NEWEST,)
    return BrokerInfo(product="RabbitMQ", version=(*numbers, *newest), title=f"RabbitMQ {text}")


def supported(broker: BrokerInfo) -> bool:
    """Return whether stem-amqp supports a broker's release.

    Args:
        broker: the broker's information.
    """
    return broker.version >= OLDEST_SUPPORTED
