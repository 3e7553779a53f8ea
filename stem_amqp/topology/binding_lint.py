"""What will be regretted about bindings: keys that fit nothing, or more than was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from stem_amqp.delay import LEVELS
from stem_amqp.topology.caution import Caution
from stem_amqp.topology.check import NAMESPACE
from stem_amqp.topology.mistake import did_you_mean, dotted
from stem_amqp.topology.model import BindingSpec, Topology
from stem_amqp.topology.names import Names
from stem_amqp.topology.patterns import is_pattern, overlap

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


def cautions(topology: Topology, logical: Collection[str]) -> Iterator[Caution]:
    """Yield what is probably not meant about the bindings.

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


def _key(key: str, kind: str | None, binding: BindingSpec) -> Iterator[Caution]:
    if kind in {"fanout", "headers"} and binding.key:
        yield Caution(
            key=f"{key}.key",
            problem=f"a {kind} exchange does not look at keys",
            remedy="Remove the key.",
        )
    if kind == "topic" and any(w not in {"*", "#"} and {"*", "#"} & {*w} for w in _words(binding)):
        yield Caution(
            key=f"{key}.key",
            problem="a * or # that is only part of a word is an ordinary character in a topic"
            " pattern",
            remedy="Use * for a whole word between dots, # for any number of words.",
        )
    if kind == "direct" and is_pattern(binding.key):
        yield Caution(
            key=f"{key}.key",
            problem="a direct exchange compares keys letter by letter: * and # fit nothing here",
            remedy="Bind the keys one by one, or use a topic exchange.",
        )


def _words(binding: BindingSpec) -> list[str]:
    return binding.key.split(".")


def _tap(logical: Collection[str], key: str, binding: BindingSpec) -> Iterator[Caution]:
    fitting = [name for name in logical if overlap(binding.key, name)]
    others = [name for name in fitting if name != binding.destination]
    if binding.to == "queue" and binding.destination in logical:
        yield Caution(
            key=key,
            problem=f"tasks of {', '.join(others) or 'the queues that the key fits'} run in"
            f" {binding.destination} too: twice",
            remedy="To move tasks to another queue, use routes; to look at them, an exchange of"
            " your own.",
        )
    elif binding.key not in logical:
        yield Caution(
            key=key,
            problem="a task for a queue that does not exist finds this way, so that the producer gets"
            " no UnroutableError and the task is lost",
            remedy="Bind the names of queues one by one instead of a pattern.",
        )


def _dead(logical: Collection[str], key: str, binding: BindingSpec) -> Iterator[Caution]:
    if binding.key not in logical and not is_pattern(binding.key):
        close = did_you_mean(binding.key, logical)
        yield Caution(
            key=f"{key}.key",
            problem=f"no dead letter comes this way: the key is that of no queue here{close}",
            remedy="The key of a dead letter is its logical queue, without the namespace.",
        )
