"""What a release of RabbitMQ refuses of a topology, or ignores without a word."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Self

from stem_amqp.errors import ManagementError
from stem_amqp.management import Management
from stem_amqp.provision.demands import unsupported
from stem_amqp.topology.caution import Caution
from stem_amqp.topology.entities import BUILT_IN_TYPES
from stem_amqp.topology.mistake import dotted
from stem_amqp.topology.patterns import ANY
from stem_amqp.topology.planned import Planned
from stem_amqp.transport.amqp.features import (
    EXCHANGE_TYPES,
    NO_TIMEOUT_OF_CLASSIC_QUEUES,
    OLDEST_SUPPORTED,
    OPERATOR_POLICY_KEYS,
    POLICY_KEYS,
    POLICY_QUEUE_TYPES,
    STREAM_QUEUE_FLAG_UNTIL,
    TWO_HASHES_AT_MOST,
    supported,
)
from stem_amqp.transport.base import BrokerInfo

_OF_ONE_TYPE = frozenset({"classic_queues", "quorum_queues", "streams"})
_HASHES = 2
_PLUGINS = {
    "x-consistent-hash": "rabbitmq_consistent_hash_exchange",
    "x-modulus-hash": "rabbitmq_sharding",
    "x-random": "rabbitmq_random_exchange",
    "x-recent-history": "rabbitmq_recent_history_exchange",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Abilities:
    """What a broker can do, as far as it is known.

    Args:
        broker: what it says of itself.
        exchange_types: the types of exchanges that it has; None if nobody tells.
        disabled_flags: feature flags that are off.
        reason: why no more than its release is known, or an empty text.
    """

    broker: BrokerInfo
    exchange_types: frozenset[str] | None = None
    disabled_flags: frozenset[str] = field(default_factory=frozenset)
    reason: str = ""

    @classmethod
    async def of(cls, broker: BrokerInfo, management: Management) -> Self:
        """Ask the management API for what the release does not tell.

        Args:
            broker: what the broker says of itself.
            management: the API; where it does not answer, only the release counts.
        """
        try:
            overview = await management.get("overview")
            flags = await management.get("feature-flags")
        except ManagementError as error:
            return cls(broker=broker, reason=str(error).partition("\n")[0])
        return cls(
            broker=broker,
            exchange_types=frozenset(one["name"] for one in overview["exchange_types"]),
            disabled_flags=frozenset(one["name"] for one in flags if one["state"] == "disabled"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitness:
    """What of a topology does not fit a broker.

    Args:
        refused: what it, or stem-amqp for it, refuses.
        ignored: what it takes and does not do.
    """

    refused: tuple[Caution, ...] = ()
    ignored: tuple[Caution, ...] = ()


def fitness(planned: Planned, abilities: Abilities) -> Fitness:
    """Compare a topology with what a broker can do.

    Args:
        planned: the topology and what it compiles to.
        abilities: what the broker can do.
    """
    broker = abilities.broker
    return Fitness(
        refused=(
            *_too_old(broker),
            *unsupported(planned.topology, planned.logical, broker),
            *_policies(planned, broker),
            *_patterns(planned, broker),
            *_exchange_types(planned, abilities, known=True),
        ),
        ignored=(
            *_exchange_types(planned, abilities, known=False),
            *_timeouts(planned, broker),
            *_strategies(planned, abilities),
        ),
    )


def _too_old(broker: BrokerInfo) -> Iterator[Caution]:
    if not supported(broker):
        yield Caution(
            key="version",
            problem=f"{broker} dead-letters nothing at-least-once, and its quorum queues know no TTL:"
            " the delay queues would keep what they get",
            remedy=f"Use RabbitMQ {_written(OLDEST_SUPPORTED)} or newer.",
        )


def _policies(planned: Planned, broker: BrokerInfo) -> Iterator[Caution]:
    for place, policy in planned.written():
        if policy.apply_to in _OF_ONE_TYPE and broker.version < POLICY_QUEUE_TYPES:
            yield Caution(
                key=dotted((*place, "apply_to")),
                problem=f"{broker} refuses {policy.apply_to}, which RabbitMQ"
                f" {_written(POLICY_QUEUE_TYPES)} brought",
                remedy="Write apply_to: queues, and a pattern that fits these queues only.",
            )
        known = OPERATOR_POLICY_KEYS if policy.operator else POLICY_KEYS
        for key in sorted(policy.definition.keys() & known.keys()):
            if broker.version < known[key]:
                yield Caution(
                    key=dotted((*place, "definition", key)),
                    problem=f"{broker} refuses the policy for this key, which RabbitMQ"
                    f" {_written(known[key])} brought",
                    remedy="Remove it, or upgrade.",
                )


def _patterns(planned: Planned, broker: BrokerInfo) -> Iterator[Caution]:
    topics = {one.name for one in planned.entities.exchanges if one.type == "topic"} | {"amq.topic"}
    for place, binding in planned.own_bindings():
        hashes = binding.key.split(".").count(ANY)
        if binding.source in topics and hashes > _HASHES and broker.version >= TWO_HASHES_AT_MOST:
            yield Caution(
                key=dotted((*place, "key")),
                problem=f"{broker} refuses a topic pattern with {hashes} #; it takes {_HASHES}",
                remedy="Use * for single words, or several bindings.",
            )


def _exchange_types(planned: Planned, abilities: Abilities, *, known: bool) -> Iterator[Caution]:
    """Yield types of exchanges that a broker has not, or, where that is not known, may not have."""
    there: Collection[str] | None = abilities.exchange_types
    if known is (there is None):
        return
    for name, spec in planned.topology.exchanges.items():
        kind = spec.type
        if kind is None or kind in BUILT_IN_TYPES or (there is not None and kind in there):
            continue
        since = EXCHANGE_TYPES.get(kind)
        plugin = _PLUGINS.get(kind)
        if there is None and since is not None and abilities.broker.version >= since:
            continue
        needs = [f"RabbitMQ {_written(since)}"] if since else []
        needs += [f"the plugin {plugin}"] if plugin else []
        has_not = "has no exchanges of this type" if known else "has this type of exchange only"
        tail = "" if known else f" with {' or '.join(needs)}"
        yield Caution(
            key=dotted(("exchanges", name, "type")),
            problem=f"{abilities.broker} {has_not}{tail}",
            remedy=f"rabbitmq-plugins enable {plugin}; or use another type."
            if plugin
            else "Use another type, or upgrade.",
        )


def _timeouts(planned: Planned, broker: BrokerInfo) -> Iterator[Caution]:
    for place, policy in planned.written():
        fitting = planned.fitting(policy)
        classic = [name for name in fitting if planned.kind(name) == "classic"]
        if (
            "consumer-timeout" in policy.definition
            and classic == fitting != []
            and broker.version >= NO_TIMEOUT_OF_CLASSIC_QUEUES
        ):
            yield Caution(
                key=dotted((*place, "definition", "consumer-timeout")),
                problem=f"has no effect on {classic[0]}: classic queues have no timeout on {broker}",
                remedy="Remove it, or use a quorum queue.",
            )


def _strategies(planned: Planned, abilities: Abilities) -> Iterator[Caution]:
    flag = "stream_queue"
    if abilities.broker.version < STREAM_QUEUE_FLAG_UNTIL and flag in abilities.disabled_flags:
        yield Caution(
            key="queues",
            problem=f"the feature flag {flag} is off, without which RabbitMQ dead-letters at-most-once:"
            f" tasks that wait in {planned.names.delay_exchange(0)} and its like can be lost",
            remedy=f"rabbitmqctl enable_feature_flag {flag}",
        )


def _written(since: tuple[int, ...]) -> str:
    return ".".join(map(str, since))
