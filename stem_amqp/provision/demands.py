"""What a topology asks of the broker's release, and the refusal where the release has it not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stem_amqp.errors import FeatureMissingError
from stem_amqp.topology.caution import Caution
from stem_amqp.topology.model import Topology
from stem_amqp.topology.specs import QueueSpec
from stem_amqp.transport.amqp.features import FEATURES, Feature, has
from stem_amqp.transport.base import BrokerInfo


def refuse_unsupported(topology: Topology, queues: Iterable[str], broker: BrokerInfo) -> None:
    """Refuse a topology that wants what the broker has not, before anything is declared.

    Args:
        topology: the topology.
        queues: all logical queues, those that only tasks name among them.
        broker: what the broker says of itself.

    Raises:
        FeatureMissingError: the release is too old; the message lists everything.
    """
    lines = [
        f"{one.key}: {one.problem}\n  {one.remedy}" for one in unsupported(topology, queues, broker)
    ]
    if lines:
        raise FeatureMissingError(f"the topology wants what {broker} has not:\n" + "\n".join(lines))


def unsupported(topology: Topology, queues: Iterable[str], broker: BrokerInfo) -> list[Caution]:
    """Return what a topology wants of its queues and the broker has not.

    Args:
        topology: the topology.
        queues: all logical queues, those that only tasks name among them.
        broker: what the broker says of itself.
    """
    names = tuple(queues)
    return [
        _lack(keys, feature, value)
        for feature in FEATURES
        if not has(broker, feature)
        for value, keys in _demands(topology, names, feature).items()
    ]


def _demands(
    topology: Topology, queues: Iterable[str], feature: Feature
) -> dict[object, list[str]]:
    """Return the keys that ask for a feature, by what they ask."""
    found: dict[object, list[str]] = {}
    for key, spec in _places(topology, queues, feature):
        value = getattr(spec, feature.key)
        if value:
            keys = found.setdefault(value, [])
            if key not in keys:
                keys.append(key)
    return found


def _places(
    topology: Topology, queues: Iterable[str], feature: Feature
) -> Iterator[tuple[str, QueueSpec]]:
    for name in queues:
        own = topology.queues.get(name)
        here = own is not None and feature.key in own.model_fields_set
        yield f"{f'queues.{name}' if here else 'defaults'}.{feature.key}", topology.queue(name)


def _lack(keys: list[str], feature: Feature, value: object) -> Caution:
    release = ".".join(map(str, feature.since))
    milliseconds = round(value * 1000) if isinstance(value, float) else ""
    return Caution(
        key=", ".join(keys),
        problem=f"needs RabbitMQ {release}. On this one {feature.reason}.",
        remedy=feature.remedy.format(ms=milliseconds),
    )
