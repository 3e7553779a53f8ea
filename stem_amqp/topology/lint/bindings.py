"""Lint of bindings: keys that match nothing, or more than intended."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from stem_amqp.delay import LEVELS
from stem_amqp.topology.lint.patterns import is_pattern, overlap
from stem_amqp.topology.lint.warning import LintWarning
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.topology.spec.mistake import did_you_mean, dotted
from stem_amqp.topology.spec.routing import BindingSpec
from stem_amqp.topology.spec.values import NAMESPACE

_OWN = Names(NAMESPACE)
_KINDS = {
    _OWN.tasks: "topic",
    _OWN.dead: "direct",
    _OWN.deliver: "topic",
    _OWN.unroutable: "fanout",
    _OWN.control: "fanout",
    _OWN.events: "topic",
    **{_OWN.delay_exchange(level): "topic" for level in range(LEVELS)},
    "amq.topic": "topic",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.headers": "headers",
    "amq.match": "headers",
}


def warnings(topology: Topology, logical: Collection[str]) -> Iterator[LintWarning]:
    """Yield the warnings about bindings.

    Args:
        topology: the topology.
        logical: all logical queues.
    """
    for index, binding in enumerate(topology.bindings):
        key = dotted(("bindings", index))
        source = topology.exchanges.get(binding.source)
        kind = _KINDS.get(binding.source) or (source.type if source else None)
        yield from _key(key, kind, binding)
        if binding.source == _OWN.tasks:
            yield from _tap(logical, key, binding)
        if binding.source == _OWN.dead:
            yield from _dead(logical, key, binding)


def _key(key: str, kind: str | None, binding: BindingSpec) -> Iterator[LintWarning]:
    if kind in {"fanout", "headers"} and binding.key:
        yield LintWarning(
            key=f"{key}.key",
            problem=f"a {kind} exchange ignores routing keys",
            remedy="Remove the key.",
        )
    if kind == "topic" and any(w not in {"*", "#"} and {"*", "#"} & {*w} for w in _words(binding)):
        yield LintWarning(
            key=f"{key}.key",
            problem="a * or # that is only part of a word is an ordinary character in a topic"
            " pattern",
            remedy="Use * for a whole word between dots, # for any number of words.",
        )
    if kind == "direct" and is_pattern(binding.key):
        yield LintWarning(
            key=f"{key}.key",
            problem="a direct exchange compares keys exactly: * and # are not wildcards here",
            remedy="Bind the keys one by one, or use a topic exchange.",
        )


def _words(binding: BindingSpec) -> list[str]:
    return binding.key.split(".")


def _tap(logical: Collection[str], key: str, binding: BindingSpec) -> Iterator[LintWarning]:
    fitting = [name for name in logical if overlap(binding.key, name)]
    others = [name for name in fitting if name != binding.destination]
    if binding.to == "queue" and binding.destination in logical:
        yield LintWarning(
            key=key,
            problem=f"tasks of {', '.join(others) or 'the queues that the key matches'} also run in"
            f" {binding.destination}: they run twice",
            remedy="Use routes to move tasks to another queue, or a custom exchange to observe"
            " them.",
        )
    elif binding.key not in logical:
        yield LintWarning(
            key=key,
            problem="it also matches tasks for queues that do not exist: the producer gets no"
            " UnroutableError and the task is lost",
            remedy="Bind each queue's name instead of a pattern.",
        )


def _dead(logical: Collection[str], key: str, binding: BindingSpec) -> Iterator[LintWarning]:
    if binding.key not in logical and not is_pattern(binding.key):
        close = did_you_mean(binding.key, logical)
        yield LintWarning(
            key=f"{key}.key",
            problem=f"it matches no dead letter: no queue here has this name{close}",
            remedy="The routing key of a dead letter is its logical queue, without the namespace.",
        )
