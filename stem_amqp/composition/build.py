"""Functions that build compositions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal, TypeVar, overload

from stem_amqp.composition.follow import check_follows
from stem_amqp.composition.model import (
    Chain,
    Composition,
    Group,
    Partial,
    PartialGroup,
    composed,
)
from stem_amqp.composition.part import Part, check_part, common_app
from stem_amqp.composition.step import ForkStep, Steps
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.links import DEFAULT_TTL, POLICIES, RESULTS
from stem_amqp.producer.linking.results import GroupResults
from stem_amqp.tasks.failed import FailedMember

A = TypeVar("A")
R = TypeVar("R")
S = TypeVar("S")
R1 = TypeVar("R1")
R2 = TypeVar("R2")
R3 = TypeVar("R3")
R4 = TypeVar("R4")
R5 = TypeVar("R5")
R6 = TypeVar("R6")
R7 = TypeVar("R7")

Policy = Literal["fail_fast", "collect", "ignore"]
Results = Literal["list", "stream", "none"]


@overload
def chain(first: Composition[R], /) -> Chain[R]: ...
@overload
def chain(first: Composition[R1], second: Partial[R1, R] | Composition[R], /) -> Chain[R]: ...
@overload
def chain(
    first: Composition[R1],
    second: Partial[R1, R2] | Composition[R2],
    third: Partial[R2, R] | Composition[R],
    /,
) -> Chain[R]: ...
@overload
def chain(
    first: Composition[R1],
    second: Partial[R1, R2] | Composition[R2],
    third: Partial[R2, R3] | Composition[R3],
    fourth: Partial[R3, R] | Composition[R],
    /,
) -> Chain[R]: ...
@overload
def chain(
    first: Composition[R1],
    second: Partial[R1, R2] | Composition[R2],
    third: Partial[R2, R3] | Composition[R3],
    fourth: Partial[R3, R4] | Composition[R4],
    fifth: Partial[R4, R] | Composition[R],
    /,
) -> Chain[R]: ...
@overload
def chain(
    first: Composition[R1],
    second: Partial[R1, R2] | Composition[R2],
    third: Partial[R2, R3] | Composition[R3],
    fourth: Partial[R3, R4] | Composition[R4],
    fifth: Partial[R4, R5] | Composition[R5],
    sixth: Partial[R5, R] | Composition[R],
    /,
) -> Chain[R]: ...
@overload
def chain(
    first: Composition[R1],
    second: Partial[R1, R2] | Composition[R2],
    third: Partial[R2, R3] | Composition[R3],
    fourth: Partial[R3, R4] | Composition[R4],
    fifth: Partial[R4, R5] | Composition[R5],
    sixth: Partial[R5, R6] | Composition[R6],
    seventh: Partial[R6, R] | Composition[R],
    /,
) -> Chain[R]: ...
@overload
def chain(
    first: Composition[R1],
    second: Partial[R1, R2] | Composition[R2],
    third: Partial[R2, R3] | Composition[R3],
    fourth: Partial[R3, R4] | Composition[R4],
    fifth: Partial[R4, R5] | Composition[R5],
    sixth: Partial[R5, R6] | Composition[R6],
    seventh: Partial[R6, R7] | Composition[R7],
    eighth: Partial[R7, R] | Composition[R],
    /,
) -> Chain[R]: ...
@overload
def chain(parts: Iterable[Composition[Any] | Partial[Any, Any]], /) -> Chain[Any]: ...
def chain(*parts: Any) -> Any:
    """Let parts run one after the other: each gets the result of the one before as its first argument.

    Up to eight parts are checked by type checkers, and any number when the chain is built.

    Args:
        *parts: links, chains and groups, or one iterable of them. The first has all its arguments.

    Raises:
        ArgumentsError: a part has no place for the result before it, or its type does not fit.
        ConfigurationError: there are no parts, the first one lacks an argument, there are more than 1,000, or
            they are nested too deep.
    """
    found = _listed(parts)
    if not found:
        raise ConfigurationError("a chain needs at least one link: chain(first.s(1), second.s())")
    if found[0].steps[0].needs:
        raise ConfigurationError(
            f"{_name(found[0])} is the first of the chain, so no result can be its first argument.\n"
            "  Give all its arguments, or build the part with |: second.s() | third.s()."
        )
    for left, right in pairwise(found):
        check_follows(left.steps[-1], right.steps[0])
    app = common_app(found)
    part = composed(tuple(step for one in found for step in one.steps), app)
    return Chain(part.steps, app)


@overload
def group(
    members: Iterable[Composition[R]], /, *, policy: Literal["collect"], ttl: Duration = ...
) -> Group[R | FailedMember]: ...
@overload
def group(
    *members: Composition[R], policy: Literal["collect"], ttl: Duration = ...
) -> Group[R | FailedMember]: ...
@overload
def group(
    members: Iterable[Composition[R]], /, *, policy: Policy = "fail_fast", ttl: Duration = ...
) -> Group[R]: ...
@overload
def group(
    members: Iterable[Partial[A, R]], /, *, policy: Policy = "fail_fast", ttl: Duration = ...
) -> PartialGroup[A, R]: ...
@overload
def group(
    *members: Composition[R], policy: Policy = "fail_fast", ttl: Duration = ...
) -> Group[R]: ...
@overload
def group(
    *members: Partial[A, R], policy: Policy = "fail_fast", ttl: Duration = ...
) -> PartialGroup[A, R]: ...
def group(*members: Any, policy: Policy = "fail_fast", ttl: Duration = DEFAULT_TTL) -> Any:
    """Let members run side by side; a group without members ends at once, with an empty list.

    Args:
        *members: links, chains and groups, or one iterable of them.
        policy: what a failed member means for the next link. ``"fail_fast"``: that does not run.
            ``"collect"``: it gets the failure in the place of the result. ``"ignore"``: it gets the other
            results.
        ttl: how long the group is kept, in seconds or as ``"1d"``, from its enqueue: longer than its
            members take.

    Raises:
        ConfigurationError: an object is no member, or an option is not valid.
    """
    found = _listed(members)
    if policy not in POLICIES:
        raise ConfigurationError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r:.80}")
    kept = seconds(ttl)
    if kept <= 0:
        raise ConfigurationError(f"the ttl of a group must be longer than 0 s, not {kept:g} s")
    fork = ForkStep(branches=tuple(part.steps for part in found), policy=policy, ttl=kept)
    return composed((fork,), common_app(found))


@overload
def chord(
    members: Group[R], callback: Partial[list[R], S], *, results: Literal["list"] | None = None
) -> Chain[S]: ...
@overload
def chord(
    members: Group[R], callback: Partial[GroupResults[R], S], *, results: Literal["stream"]
) -> Chain[S]: ...
@overload
def chord(
    members: Group[Any], callback: Composition[S], *, results: Literal["none"] | None = None
) -> Chain[S]: ...
def chord(
    members: Group[Any],
    callback: Composition[Any] | Partial[Any, Any],
    *,
    results: Results | None = None,
) -> Any:
    """Let a callback follow a group: it runs once, when all members have ended.

    Args:
        members: the group.
        callback: a link or a chain; it gets the results as its first argument.
        results: how it gets them. ``"list"``: all at once; the default, for 10,000 members at most.
            ``"stream"``: as `GroupResults`, which reads them in pages. ``"none"``: not at all.

    Raises:
        ArgumentsError: the callback has no place for the results, or their type does not fit.
        ConfigurationError: the group is too large for a list that is not asked for.
    """
    found = check_part(members)
    fork = found.steps[0]
    if len(found.steps) > 1 or not isinstance(fork, ForkStep):
        raise ConfigurationError("chord takes a group and its callback: chord(group(…), done.s())")
    if results is not None and results not in RESULTS:
        raise ConfigurationError(
            f"results must be one of {', '.join(RESULTS)}, not {results!r:.80}"
        )
    steps: Steps = (replace(fork, results=results),)
    return composed(steps, found.app) | callback


def _listed(parts: tuple[Any, ...]) -> list[Part]:
    given: Iterable[Any] = parts
    if len(parts) == 1 and isinstance(parts[0], Iterable):
        given = parts[0]
    return [check_part(part) for part in given]


def _name(part: Part) -> str:
    step = part.steps[0]
    return "a group" if isinstance(step, ForkStep) else step.task
