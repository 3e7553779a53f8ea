"""Parts of a topology that a release of RabbitMQ refuses or silently ignores."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Self

from stem_amqp.errors import ManagementError
from stem_amqp.management import Management
from stem_amqp.provision.demands import unsupported
from stem_amqp.topology.entities import BUILT_IN_TYPES
from stem_amqp.topology.lint import ANY, LintWarning, Planned
from stem_amqp.topology.spec.mistake import dotted
from stem_amqp.transport.base import BrokerInfo
from stem_amqp.transport.features import (
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
    """The known features of a broker.

    Args:
        broker: its release.
        exchange_types: its exchange types; None if not known.
        disabled_flags: disabled feature flags.
        reason: why only its release is known, or an empty string.
    """

    broker: BrokerInfo
    exchange_types: frozenset[str] | None = None
    disabled_flags: frozenset[str] = field(default_factory=frozenset)
    reason: str = ""

    @classmethod
    async def of(cls, broker: BrokerInfo, management: Management) -> Self:
        """Ask the management API for exchange types and feature flags.

        Args:
            broker: the broker's release.
            management: the API; if it does not answer, only the release is known.
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
    """The parts of a topology that a broker does not support.

    Args:
        refused: what the broker or stem-amqp refuses.
        ignored: what the broker accepts without effect.
    """

    refused: tuple[LintWarning, ...] = ()
    ignored: tuple[LintWarning, ...] = ()


def fitness(planned: Planned, abilities: Abilities) -> Fitness:
    """Compare a topology with the features of a broker.

    Args:
        planned: the topology, with its compiled entities.
        abilities: the broker's features.
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


def _too_old(broker: BrokerInfo) -> Iterator[LintWarning]:
    if not supported(broker):
        yield LintWarning(
            key="version",
            problem=f"{broker} does not support at-least-once dead-lettering, and no message TTL in quorum"
            " queues: messages would never leave the delay queues",
            remedy=f"Use RabbitMQ {_written(OLDEST_SUPPORTED)} or newer.",
        )


def _policies(planned: Planned, broker: BrokerInfo) -> Iterator[LintWarning]:
    for place, policy in planned.written():
        if policy.apply_to in _OF_ONE_TYPE and broker.version < POLICY_QUEUE_TYPES:
            yield LintWarning(
                key=dotted((*place, "apply_to")),
                problem=f"{broker} refuses {policy.apply_to}, which needs RabbitMQ"
                f" {_written(POLICY_QUEUE_TYPES)}",
                remedy="Write apply_to: queues, and a pattern that matches only these queues.",
            )
        known = OPERATOR_POLICY_KEYS if policy.operator else POLICY_KEYS
        for key in sorted(policy.definition.keys() & known.keys()):
            if broker.version < known[key]:
                yield LintWarning(
                    key=dotted((*place, "definition", key)),
                    problem=f"{broker} refuses the policy for this key, which needs RabbitMQ"
                    f" {_written(known[key])}",
                    remedy="Remove it, or upgrade.",
                )


def _patterns(planned: Planned, broker: BrokerInfo) -> Iterator[LintWarning]:
    topics = {one.name for one in planned.entities.exchanges if one.type == "topic"} | {"amq.topic"}
    for place, binding in planned.own_bindings():
        hashes = binding.key.split(".").count(ANY)
        if binding.source in topics and hashes > _HASHES and broker.version >= TWO_HASHES_AT_MOST:
            yield LintWarning(
                key=dotted((*place, "key")),
                problem=f"{broker} refuses a topic pattern with {hashes} #; at most {_HASHES} are allowed",
                remedy="Use * for single words, or several bindings.",
            )


def _exchange_types(
    planned: Planned, abilities: Abilities, *, known: bool
) -> Iterator[LintWarning]:
    """Yield exchange types that a broker lacks, or, if its types are not known, may lack."""
    existing: Collection[str] | None = abilities.exchange_types
    if known is (existing is None):
        return
    for name, spec in planned.topology.exchanges.items():
        kind = spec.type
        if kind is None or kind in BUILT_IN_TYPES or (existing is not None and kind in existing):
            continue
        since = EXCHANGE_TYPES.get(kind)
        plugin = _PLUGINS.get(kind)
        if existing is None and since is not None and abilities.broker.version >= since:
            continue
        needs = [f"RabbitMQ {_written(since)}"] if since else []
        needs += [f"the plugin {plugin}"] if plugin else []
        has_not = "does not have this exchange type" if known else "has this exchange type only"
        tail = "" if known else f" with {' or '.join(needs)}"
        yield LintWarning(
            key=dotted(("exchanges", name, "type")),
            problem=f"{abilities.broker} {has_not}{tail}",
            remedy=f"rabbitmq-plugins enable {plugin}; or use another type."
            if plugin
            else "Use another type, or upgrade.",
        )


def _timeouts(planned: Planned, broker: BrokerInfo) -> Iterator[LintWarning]:
    for place, policy in planned.written():
        fitting = planned.fitting(policy)
        classic = [name for name in fitting if planned.kind(name) == "classic"]
        if (
            "consumer-timeout" in policy.definition
            and classic == fitting != []
            and broker.version >= NO_TIMEOUT_OF_CLASSIC_QUEUES
        ):
            yield LintWarning(
                key=dotted((*place, "definition", "consumer-timeout")),
                problem=f"has no effect on {classic[0]}: classic queues have no consumer timeout on {broker}",
                remedy="Remove it, or use a quorum queue.",
            )


def _strategies(planned: Planned, abilities: Abilities) -> Iterator[LintWarning]:
    flag = "stream_queue"
    if abilities.broker.version < STREAM_QUEUE_FLAG_UNTIL and flag in abilities.disabled_flags:
        yield LintWarning(
            key="queues",
            problem=f"the feature flag {flag} is disabled; without it RabbitMQ dead-letters at-most-once:"
            f" tasks in the delay queues (such as {planned.names.delay_exchange(0)}) can be lost",
            remedy=f"rabbitmqctl enable_feature_flag {flag}",
        )


def _written(since: tuple[int, ...]) -> str:
    return ".".join(map(str, since))
