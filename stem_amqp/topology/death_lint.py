"""What will be regretted about the ways of dead letters: circles, dead ends, and the delays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stem_amqp.topology.caution import Caution
from stem_amqp.topology.deaths import Deaths, Stop
from stem_amqp.topology.mistake import Place, dotted
from stem_amqp.topology.planned import Planned
from stem_amqp.topology.policies import filled


def cautions(planned: Planned) -> Iterator[Caution]:
    """Yield what is probably not meant about the ways of dead letters."""
    deaths = Deaths(planned)
    yield from _circles(planned, deaths)
    yield from _into_delays(planned, deaths)
    yield from _dead_ends(planned, deaths)


def _circles(planned: Planned, deaths: Deaths) -> Iterator[Caution]:
    """Yield ways that come back to where they began, each once."""
    told: set[frozenset[str]] = set()
    # a way is told from the work queue on, if there is one in it
    for name, role in sorted(planned.roles.items(), key=lambda one: one[1] != "work"):
        if role == "delay" or deaths.of(name) is None:
            continue  # what is ours only goes down; a way back has another queue in it
        work = role == "work"
        starts = [Stop(name, key) for key in deaths.keys(name)]
        way = deaths.way(starts, name, automatic=not work)
        if way is None or frozenset(stop.queue for stop in way) in told:
            continue
        told.add(frozenset(stop.queue for stop in way))
        yield _circle(planned, deaths, [stop.queue for stop in way])


def _circle(planned: Planned, deaths: Deaths, way: list[str]) -> Caution:
    works = [name for name in way if planned.roles[name] == "work"]
    shown = " → ".join(way)
    key = dotted(_place(planned, deaths, way))
    reasons = " or ".join(
        dict.fromkeys(r for name in way for r in getattr(deaths.of(name), "reasons", ()))
    )
    lost = (
        f"RabbitMQ drops without a word what went round ({reasons}) and was never rejected by a"
        " consumer, or holds it for ever"
    )
    if works:
        return Caution(
            key=key,
            problem=f"dead letters come back as tasks: {shown}. A task that fails for good runs again"
            f" and again; and {lost}",
            remedy="Take one binding or dead_letter_exchange out of the circle. Retries are waited for"
            " in stem-amqp's own delays, and dead letters replayed with stem-amqp dlq replay.",
        )
    return Caution(
        key=key,
        problem=f"dead letters come back to where they were: {shown}. {lost[0].upper()}{lost[1:]}",
        remedy="Let the last queue dead-letter to an exchange that leads elsewhere.",
    )


def _into_delays(planned: Planned, deaths: Deaths) -> Iterator[Caution]:
    delays = {planned.names.delay_exchange(level) for level in range(8)} | {planned.names.deliver}
    for name, role in planned.roles.items():
        death = deaths.of(name)
        if role != "work" or death is None:
            continue
        landing = deaths.route(death.exchange, death.key or "#")
        into = sorted(delays & landing.exchanges)
        if into:
            users = [
                place
                for place, binding in planned.own_bindings()
                if binding.to_exchange
                and binding.source in landing.exchanges
                and binding.destination in landing.exchanges
            ]
            yield Caution(
                key=dotted(users[0] if users else ("queues", planned.queues[name].logical or name)),
                problem=f"dead letters of {name} go into {into[0]}, where their key is no delay; what"
                " RabbitMQ itself dead-lettered is dropped or held for ever when it comes round",
                remedy="Remove it: workers retry through the delays by themselves, and stem-amqp dlq"
                " replay brings dead letters back.",
            )


def _dead_ends(planned: Planned, deaths: Deaths) -> Iterator[Caution]:
    for name, role in planned.roles.items():
        death = deaths.of(name)
        if role != "extra" or death is None or not _is_whole(planned, death.exchange):
            continue
        keys = deaths.keys(name)
        if any(deaths.after(Stop(name, key)).stops for key in keys):
            continue
        fate = (
            "it holds them for ever, and after 32 of them no other leaves it"
            if death.at_least_once
            else "RabbitMQ drops them without a word"
        )
        said = death.key if death.key is not None else " or ".join(keys)
        yield Caution(
            key=dotted(_place(planned, deaths, [name])),
            problem=f"dead letters of {name} find no queue: nothing is bound to {death.exchange} that"
            f" fits the key {said!r}; {fate}",
            remedy="Bind a queue there, or give the exchange an alternate-exchange.",
        )


def _is_whole(planned: Planned, exchange: str) -> bool:
    """Say whether all bindings of an exchange stand in this file: nobody else declares it."""
    return any(one.name == exchange for one in planned.entities.exchanges)


def _place(planned: Planned, deaths: Deaths, way: Iterable[str]) -> Place:
    """Return the key of the file that makes a way: of a queue of its own, a policy or a binding."""
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
    used = {i for name in names for key in deaths.keys(name) for i in _used(deaths, name, key)}
    for place, binding in planned.own_bindings():
        if planned.entities.bindings.index(binding) in used:
            return place
    return ("queues", planned.queues[names[0]].logical or names[0])


def _used(deaths: Deaths, name: str, key: str) -> set[int]:
    return deaths.after(Stop(name, key)).bindings
