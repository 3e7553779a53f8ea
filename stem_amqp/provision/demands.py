"""Features that a topology requires and the broker's release lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stem_amqp.errors import FeatureMissingError
from stem_amqp.topology.lint import LintWarning
from stem_amqp.topology.model import Topology
from stem_amqp.topology.spec.queues import QueueSpec
from stem_amqp.transport.base import BrokerInfo
from stem_amqp.transport.features import FEATURES, Feature, has


def refuse_unsupported(topology: Topology, queues: Iterable[str], broker: BrokerInfo) -> None:
    """Refuse a topology that needs missing features, before anything is declared.

    Args:
        topology: the topology.
        queues: all logical queues, including those named only by tasks.
        broker: the broker's release.

    Raises:
        FeatureMissingError: the release is too old; the message lists everything.
    """
    lines = [
        f"{one.key}: {one.problem}\n  {one.remedy}" for one in unsupported(topology, queues, broker)
    ]
    if lines:
        raise FeatureMissingError(
            f"the topology needs features that {broker} does not have:\n" + "\n".join(lines)
        )


def unsupported(topology: Topology, queues: Iterable[str], broker: BrokerInfo) -> list[LintWarning]:
    """Return the features that a topology uses in its queues and the broker lacks.

    Args:
        topology: the topology.
        queues: all logical queues, including those named only by tasks.
        broker: the broker's release.
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
    """Return the keys that use a feature, grouped by their value."""
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


def _lack(keys: list[str], feature: Feature, value: object) -> LintWarning:
    release = ".".join(map(str, feature.since))
    milliseconds = round(value * 1000) if isinstance(value, float) else ""
    return LintWarning(
        key=", ".join(keys),
        problem=f"needs RabbitMQ {release}. On this one {feature.reason}.",
        remedy=feature.remedy.format(ms=milliseconds),
    )
