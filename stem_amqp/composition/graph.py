"""A group whose members wait for each other: a directed acyclic graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Protocol

from stem_amqp.composition.build import Policy
from stem_amqp.composition.follow import check_follows, check_length
from stem_amqp.composition.model import Composition, Group, Partial, composed
from stem_amqp.composition.part import Part, check_part, common_app
from stem_amqp.composition.step import CallStep, ForkStep, Steps
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.links import DEFAULT_TTL, POLICIES

_Needs = Mapping[str, tuple[str, ...]]


class Dependency(Protocol):
    """The handle of a composition that ends with a link."""

    @property
    def task_id(self) -> str:
        """The id of that link's task."""
        ...


def graph(
    members: Mapping[str, Composition[Any] | Partial[Any, Any]],
    *,
    depends_on: Mapping[str, Iterable[str | Dependency]],
    policy: Policy = "fail_fast",
    ttl: Duration = DEFAULT_TTL,
) -> Group[Any]:
    """Let members run as soon as those that they depend on have ended; the others run side by side.

    A member that lacks its first argument gets the list of the results of its dependencies, in their order::

        graph(
            {"pay": pay.s(42), "pick": pick.s(42), "ship": ship.si(42)},
            depends_on={"ship": ["pay", "pick"]},
        )

    Args:
        members: links, chains and groups by a name that is used here only. The graph is a group of them: its
            result is the list of their results, in the order of the mapping.
        depends_on: for each member that waits, the names of the members that it waits for, and handles of
            links that were enqueued before with `Link.allow_dependents`.
        policy: what a failed member means for those that depend on it, and for what follows the graph.
            ``"fail_fast"``: they do not run. ``"collect"``: they get the failure in the place of the
            result. ``"ignore"``: they get the other results.
        ttl: how long the graph is kept, in seconds or as ``"1d"``, from its enqueue: longer than its members
            take.

    Raises:
        ConfigurationError: members depend on each other in a circle, which the text names; a name is not one
            of a member; or an option is not valid.
        ArgumentsError: a member has no place for the results of its dependencies, or their type does not fit.
    """
    if policy not in POLICIES:
        raise ConfigurationError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r:.80}")
    kept = seconds(ttl)
    if kept <= 0:
        raise ConfigurationError(f"the ttl of a graph must be longer than 0 s, not {kept:g} s")
    parts = {name: check_part(part) for name, part in members.items()}
    needs, others = _checked(parts, depends_on)
    _check_circles(needs)
    numbers = {name: number for number, name in enumerate(parts)}
    branches: list[Steps] = []
    for name, part in parts.items():
        steps: Steps = part.steps
        inside, outside = needs.get(name, ()), others.get(name, ())
        if inside or outside:
            before = [parts[one].steps for one in inside]
            before += [(CallStep(task=f"task {one}"),) for one in outside]
            check_follows(ForkStep(branches=tuple(before), policy=policy), steps[0])
            of = tuple(numbers[one] for one in inside)
            wait = ForkStep(branches=(), of=of, on=outside, policy=policy, ttl=kept)
            steps = (wait, *steps)
            check_length(steps)
        elif steps[0].needs:
            raise ConfigurationError(
                f"{name!r} depends on no member, so no result can be its first argument.\n"
                f"  Give all its arguments, or say what it depends on: depends_on={{{name!r}: [...]}}."
            )
        branches.append(steps)
    fork = ForkStep(branches=tuple(branches), policy=policy, ttl=kept)
    made: Group[Any] = composed((fork,), common_app(list(parts.values())))
    return made


def _checked(
    parts: Mapping[str, Part], depends_on: Mapping[str, Iterable[str | Dependency]]
) -> tuple[_Needs, _Needs]:
    """Return the members, and the ids of the tasks, on which each member depends, each once."""
    needs: dict[str, tuple[str, ...]] = {}
    others: dict[str, tuple[str, ...]] = {}
    for name, given in depends_on.items():
        if name not in parts:
            raise ConfigurationError(_unknown(name, parts))
        if isinstance(given, str):
            raise ConfigurationError(
                f"what {name!r} depends on must be a list of names, not a text: [{given!r}]"
            )
        found = list(dict.fromkeys(given))
        inside = [one for one in found if isinstance(one, str) and one in parts]
        needs[name] = tuple(inside)
        others[name] = tuple(_task_id(one, parts) for one in found if one not in inside)
    return needs, others


def _task_id(given: object, parts: Mapping[str, Part]) -> str:
    """Return the id of a task that was enqueued before."""
    found = given if isinstance(given, str) else getattr(given, "task_id", None)
    # The id of a link is that of its composition, a dot, and its place
    if not isinstance(found, str) or "." not in found:
        raise ConfigurationError(_unknown(given, parts))
    return found


def _unknown(name: object, parts: Mapping[str, Part]) -> str:
    if not isinstance(name, str):
        return (
            f"{name!r:.80} is neither the name of a member nor the handle of a link that was enqueued with"
            " allow_dependents().\n  Enqueue the task as task.s(…).allow_dependents(), or make it a member of the"
            " graph."
        )
    return (
        f"{name!r:.80} is no member of the graph, whose members are {', '.join(map(repr, parts)):.400}.\n"
        "  Add it to the members, or correct the name in depends_on."
    )


def _check_circles(needs: _Needs) -> None:
    """Check that no member waits for itself.

    Raises:
        ConfigurationError: one does; the text names the circle.
    """
    cleared: set[str] = set()
    for start in needs:
        path: dict[str, None] = {}
        # Not recursive: a graph can be deeper than Python's stack
        waiting: list[tuple[str, int]] = [(start, 0)]
        while waiting:
            name, depth = waiting.pop()
            while len(path) > depth:
                cleared.add(path.popitem()[0])
            if name in path:
                walked = list(path)
                circle = [*walked[walked.index(name) :], name]
                raise ConfigurationError(
                    f"the members wait for each other, so none would run: {_shown(circle)}.\n"
                    "  Remove one of these dependencies."
                )
            if name in cleared:
                continue
            path[name] = None
            waiting += [(one, depth + 1) for one in needs.get(name, ())]
        cleared.update(path)


def _shown(circle: list[str]) -> str:
    pairs = [f"{one!r} depends on {other!r}" for one, other in pairwise(circle)]
    return ", ".join(pairs)
