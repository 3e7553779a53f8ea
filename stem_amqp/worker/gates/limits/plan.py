"""Which limits apply to the tasks of a queue: those of the task, the named ones, and the queue's."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from stem_amqp.blueprint import Blueprint
from stem_amqp.durations import Rate
from stem_amqp.errors import ConfigurationError
from stem_amqp.tasks.definition import TaskDefinition, argument_problem
from stem_amqp.tasks.limit import Limit, by_text
from stem_amqp.topology.model import Topology
from stem_amqp.topology.spec.limits import LimitSpec

RateNow = Callable[[str], Rate | None]
"""Returns the rate that was set at run time for a task or a named limit, if one was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counter:
    """A limit that applies to a task.

    Args:
        name: what identifies it in the namespace, the same in every worker and release.
        limit: the limit as it is written.
        rate: its rate, which may have been set at run time; None without one.
    """

    name: str
    limit: Limit
    rate: Rate | None = None

    def __str__(self) -> str:
        kind, _, rest = self.name.partition(":")
        text = str(self.limit)
        if kind == "task":
            return text
        owner = rest if kind == "limit" else f"queue {rest.partition(' ')[0]}"
        return f"{owner}: {text}"

    @property
    def closed(self) -> bool:
        """Whether its tasks wait while the store is away."""
        return self.limit.on_store_failure == "closed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The limits that apply to the calls of a task in a queue.

    Args:
        shared: those that are counted over all workers.
        own: those that are counted in each worker.

    Attributes:
        revision: a text that changes with the shared limits; a reserved start is valid for one revision.
    """

    shared: tuple[Counter, ...]
    own: tuple[Counter, ...]
    revision: str = field(init=False)

    def __post_init__(self) -> None:
        text = "\n".join(
            f"{one.name} {one.rate} {one.limit.concurrency}"
            for one in sorted(self.shared, key=lambda one: one.name)
        )
        digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
        object.__setattr__(self, "revision", digest[:8])

    @property
    def closed(self) -> bool:
        """Whether the tasks wait while the store is away."""
        return any(one.closed for one in self.shared)

    @property
    def leases(self) -> bool:
        """Whether runs at once are limited."""
        return any(one.limit.concurrency is not None for one in self.shared)

    def in_each_worker(self) -> Plan:
        """Return the plan for a worker without a store: its rates are counted in each worker."""
        rates = tuple(one for one in self.shared if one.rate is not None)
        runs = tuple(
            replace(one, rate=None) for one in self.shared if one.limit.concurrency is not None
        )
        return Plan(shared=runs, own=(*self.own, *rates))


def plan_of(
    task: TaskDefinition, queue: str, topology: Topology, rate_now: RateNow | None = None
) -> Plan | None:
    """Return the limits of a task in a queue; None if there are none.

    Args:
        task: the task.
        queue: the logical queue of the message.
        topology: has the named limits and those of queues.
        rate_now: returns the rates that were set at run time.

    Raises:
        ConfigurationError: a named limit does not exist, or two limits count the same.
    """
    counters = [*_of_task(task, topology), *_of_queue(queue, topology)]
    counters = list({one.name: one for one in counters}.values())
    if rate_now is not None:
        counters = _with_rates_now(task.name, counters, rate_now)
    if not counters:
        return None
    return Plan(
        shared=tuple(one for one in counters if one.limit.per == "namespace"),
        own=tuple(one for one in counters if one.limit.per == "worker"),
    )


def check_plans(blueprint: Blueprint) -> None:
    """Check that the limits of all tasks exist and can count their calls.

    Raises:
        ConfigurationError: one cannot; the message has all problems.
    """
    problems = []
    for task in blueprint.registry:
        try:
            plan = plan_of(task, blueprint.queue_of(task), blueprint.topology)
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        for counter in (*plan.shared, *plan.own) if plan is not None else ():
            problem = argument_problem(task.name, counter.limit, task.arguments)
            if problem is not None:
                problems.append(f"limit {counter.name}: {problem}")
    if problems:
        raise ConfigurationError("\n".join(dict.fromkeys(problems)))


def shared_limits(task: TaskDefinition, blueprint: Blueprint) -> tuple[Counter, ...]:
    """Return the limits of a task in its own queue that are counted over all workers."""
    plan = plan_of(task, blueprint.queue_of(task), blueprint.topology)
    return () if plan is None else plan.shared


def _of_task(task: TaskDefinition, topology: Topology) -> Iterator[Counter]:
    own = _numbered(f"task:{task.name}", task.options.own_limits)
    seen: dict[str, Limit] = {}
    for counter in own:
        other = seen.setdefault(counter.name, counter.limit)
        if other is not counter.limit:
            raise ConfigurationError(
                f"{task.name} has two limits that count the same: {other} and {counter.limit}\n"
                "  Keep one of them."
            )
        yield counter
    for name in task.options.named_limits:
        yield _named(name, topology, f"{task.name} names the limit")


def _of_queue(queue: str, topology: Topology) -> Iterator[Counter]:
    own = []
    for entry in topology.queue(queue).limits:
        if isinstance(entry, LimitSpec):
            own.append(entry.limit())
        elif "/" in entry:
            own.append(Limit(entry))
        else:
            yield _named(entry, topology, f"the queue {queue} names the limit")
    yield from _numbered(f"queue:{queue}", own)


def _named(name: str, topology: Topology, who: str) -> Counter:
    spec = topology.limits.get(name)
    if spec is None:
        close = difflib.get_close_matches(name, topology.limits, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        known = ", ".join(topology.limits) or "none"
        raise ConfigurationError(
            f"{who} {name}, which does not exist{meant}\n"
            f"  The limits in the topology file are: {known}. Add it there:"
            f" limits: {{{name}: {{rate: 10/s}}}}"
        )
    return _counter(f"limit:{name}", spec.limit())


def _numbered(owner: str, limits: Iterable[Limit]) -> Iterator[Counter]:
    """Name limits by what they count, so that a changed rate keeps its counter."""
    functions: dict[int, int] = {}
    for limit in limits:
        words = [owner]
        if limit.rate is not None:
            words.append("/" + limit.rate.partition("/")[2])
        if limit.concurrency is not None:
            words.append("at once")
        if limit.by is not None:
            words.append(by_text(limit.by))
        if limit.per == "worker":
            words.append("per worker")
        if callable(limit.by):
            words.append(str(functions.setdefault(id(limit.by), len(functions))))
        yield _counter(" ".join(words), limit)


def _counter(name: str, limit: Limit) -> Counter:
    return Counter(
        name=name, limit=limit, rate=None if limit.rate is None else Rate.parse(limit.rate)
    )


def _with_rates_now(task: str, counters: list[Counter], rate_now: RateNow) -> list[Counter]:
    """Replace the rates that were set at run time.

    That of a task replaces the rate of its own first limit with one; without such a limit, it is a
    further one.
    """
    changed = []
    mine = rate_now(task)
    for counter in counters:
        kind, _, rest = counter.name.partition(":")
        now = None
        if counter.rate is not None and kind == "limit":
            now = rate_now(rest)
        elif counter.rate is not None and kind == "task" and mine is not None:
            now, mine = mine, None
        changed.append(counter if now is None else replace(counter, rate=now))
    if mine is not None:
        changed.append(Counter(name=f"task:{task} now", limit=Limit(str(mine)), rate=mine))
    return changed
