"""Lint of the paths of dead letters: cycles, dead ends, and paths into the delays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stem_amqp.topology.lint.dead_letter_graph import DeadLetterGraph, Stop
from stem_amqp.topology.lint.planned import Planned
from stem_amqp.topology.lint.warning import LintWarning
from stem_amqp.topology.policies import filled
from stem_amqp.topology.spec.mistake import Place, dotted


def warnings(planned: Planned) -> Iterator[LintWarning]:
    """Yield the warnings about the paths of dead letters."""
    graph = DeadLetterGraph(planned)
    yield from _circles(planned, graph)
    yield from _into_delays(planned, graph)
    yield from _dead_ends(planned, graph)


def _circles(planned: Planned, graph: DeadLetterGraph) -> Iterator[LintWarning]:
    """Yield a warning for each cycle."""
    reported: set[frozenset[str]] = set()
    # a cycle is shown from its work queue on, if it has one
    for name, role in sorted(planned.roles.items(), key=lambda one: one[1] != "work"):
        if role == "delay" or graph.of(name) is None:
            continue  # the delay queues alone form no cycle; a cycle contains another queue
        work = role == "work"
        starts = [Stop(name, key) for key in graph.keys(name)]
        way = graph.way(starts, name, automatic=not work)
        if way is None or frozenset(stop.queue for stop in way) in reported:
            continue
        reported.add(frozenset(stop.queue for stop in way))
        yield _circle(planned, graph, [stop.queue for stop in way])


def _circle(planned: Planned, graph: DeadLetterGraph, way: list[str]) -> LintWarning:
    works = [name for name in way if planned.roles[name] == "work"]
    shown = " → ".join(way)
    key = dotted(_place(planned, graph, way))
    reasons = " or ".join(
        dict.fromkeys(r for name in way for r in getattr(graph.of(name), "reasons", ()))
    )
    lost = (
        f"RabbitMQ silently drops a message that went round ({reasons}) without a rejection by a"
        " consumer, or holds it for ever"
    )
    if works:
        return LintWarning(
            key=key,
            problem=f"dead letters return as tasks: {shown}. A task that always fails runs again"
            f" and again; {lost}",
            remedy="Remove one binding or dead_letter_exchange of the cycle. Retries wait in stem-amqp's"
            " delays, and stem-amqp dlq replay replays dead letters.",
        )
    return LintWarning(
        key=key,
        problem=f"dead letters return to the queue that they came from: {shown}. {lost[0].upper()}{lost[1:]}",
        remedy="Let the last queue dead-letter to an exchange that leads elsewhere.",
    )


def _into_delays(planned: Planned, graph: DeadLetterGraph) -> Iterator[LintWarning]:
    delays = {planned.names.delay_exchange(level) for level in range(8)} | {planned.names.deliver}
    for name, role in planned.roles.items():
        dead_lettering = graph.of(name)
        if role != "work" or dead_lettering is None:
            continue
        destinations = graph.route(dead_lettering.exchange, dead_lettering.key or "#")
        into = sorted(delays & destinations.exchanges)
        if into:
            users = [
                place
                for place, binding in planned.own_bindings()
                if binding.to_exchange
                and binding.source in destinations.exchanges
                and binding.destination in destinations.exchanges
            ]
            yield LintWarning(
                key=dotted(users[0] if users else ("queues", planned.queues[name].logical or name)),
                problem=f"dead letters of {name} go to {into[0]}, where their key is not a delay; a message"
                " that RabbitMQ itself dead-lettered is dropped or held for ever when it returns",
                remedy="Remove it: workers publish retries to the delays themselves, and stem-amqp dlq"
                " replay replays dead letters.",
            )


def _dead_ends(planned: Planned, graph: DeadLetterGraph) -> Iterator[LintWarning]:
    for name, role in planned.roles.items():
        dead_lettering = graph.of(name)
        if (
            role != "extra"
            or dead_lettering is None
            or not _is_whole(planned, dead_lettering.exchange)
        ):
            continue
        keys = graph.keys(name)
        if any(graph.after(Stop(name, key)).stops for key in keys):
            continue
        effect = (
            "it holds them for ever, and after 32 of them it dead-letters nothing else"
            if dead_lettering.at_least_once
            else "RabbitMQ drops them silently"
        )
        said = dead_lettering.key if dead_lettering.key is not None else " or ".join(keys)
        yield LintWarning(
            key=dotted(_place(planned, graph, [name])),
            problem=f"dead letters of {name} reach no queue: no binding of {dead_lettering.exchange} matches"
            f" the key {said!r}; {effect}",
            remedy="Bind a queue there, or give the exchange an alternate-exchange.",
        )


def _is_whole(planned: Planned, exchange: str) -> bool:
    """Return whether this file declares an exchange, so that all its bindings are known."""
    return any(one.name == exchange for one in planned.entities.exchanges)


def _place(planned: Planned, graph: DeadLetterGraph, way: Iterable[str]) -> Place:
    """Return the key of the file that creates a path: of an extra queue, a policy or a binding."""
    names = list(dict.fromkeys(way))
    for key in planned.topology.extra_queues:
        if filled(key, planned.names) in names:
            spec = planned.topology.extra_queues[key]
            if spec.dead_letter_exchange is not None:
                return ("extra_queues", key, "dead_letter_exchange")
    governing = {(p.name, p.operator) for name in names for p in planned.governing(name)}
    for place, policy in planned.written():
        if (policy.name, policy.operator) in governing:
            return (*place, "definition")
    used = {i for name in names for key in graph.keys(name) for i in _used(graph, name, key)}
    for place, binding in planned.own_bindings():
        if planned.entities.bindings.index(binding) in used:
            return place
    return ("queues", planned.queues[names[0]].logical or names[0])


def _used(graph: DeadLetterGraph, name: str, key: str) -> set[int]:
    return graph.after(Stop(name, key)).bindings
