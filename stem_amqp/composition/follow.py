"""Checks of what may follow what: places of arguments, types, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Union, get_args, get_origin

from stem_amqp.composition.fit import fits, shown
from stem_amqp.composition.step import CallStep, ForkStep, Step, Steps
from stem_amqp.errors import ArgumentsError, ConfigurationError
from stem_amqp.messages.links import COLLECT, LONGEST
from stem_amqp.producer.linking.results import GroupResults
from stem_amqp.tasks.failed import FailedMember

LARGEST_LIST = 10_000
"""The most members of a group whose results are passed as a list unless that is asked for."""


def check_follows(before: Step, after: Step) -> None:
    """Check that a step can follow another one.

    Raises:
        ArgumentsError: it has no place for the result, or the type of the result does not fit.
        ConfigurationError: it would get a list of very many results, which nobody has asked for.
    """
    for call in _heads(after):
        _check_call(before, call)


def check_takes(call: CallStep, value: Any, what: str) -> None:
    """Check that a call can take a value which no step returns, such as a failure.

    Args:
        call: the call; one with all its arguments takes nothing.
        value: the annotation of the value.
        what: the value, for the error.

    Raises:
        ArgumentsError: the type of the value does not fit.
    """
    if not call.takes or call.definition is None or call.piped is None:
        return
    taken = call.definition.arguments.annotation(call.piped)
    if not fits(value, taken):
        raise ArgumentsError(
            f"{call.task} would get {what}, a {shown(value)}, as {call.piped!r}, which is {shown(taken)}.\n"
            f"  Annotate {call.piped!r} as {shown(value)}, or write {call.task}.si(…) if it takes nothing."
        )


def check_length(steps: Steps) -> None:
    """Check the number of steps of a chain.

    Raises:
        ConfigurationError: there are too many.
    """
    if len(steps) > LONGEST:
        raise ConfigurationError(
            f"a chain has at most {LONGEST:,} links, not {len(steps):,}: each message carries all that follow."
            "\n  Let the last link of a shorter chain enqueue the next chain."
        )


def _heads(step: Step) -> Iterator[CallStep]:
    """Yield the calls that get the result of the step before, each task once."""
    if isinstance(step, CallStep):
        yield step
        return
    for branch in step.branches:
        yield from _heads(branch[0])


def _check_call(before: Step, call: CallStep) -> None:
    name = label(before)
    if call.fixed:
        return
    if isinstance(before, ForkStep):
        _check_list(before)
    if call.rest is None or call.piped is None:
        raise ArgumentsError(
            f"{call.task} has all its arguments, so it has no place for the result of {name}.\n"
            f"  Leave out the first argument of {call.task}.s(…), or write {call.task}.si(…) if it takes"
            " no result."
        )
    if isinstance(before, ForkStep) and before.results == "none" and call.needs:
        raise ArgumentsError(
            f"{call.task} lacks its first argument, and results='none' passes no results to it.\n"
            f"  Write {call.task}.si(…) with all its arguments, or leave out results='none'."
        )
    if call.definition is None:
        return
    taken = call.definition.arguments.annotation(call.piped)
    if isinstance(before, ForkStep) and before.results == "stream" and not _streams(taken):
        raise ArgumentsError(
            f"{call.task} would get the results as a stream as {call.piped!r}, which is {shown(taken)}.\n"
            f"  Annotate {call.piped!r} as GroupResults[…], or write results='list'."
        )
    for returned in _returned(before):
        if not fits(returned, taken):
            raise ArgumentsError(
                f"{call.task} cannot follow {name}: it would get {shown(returned)} as {call.piped!r}, which"
                f" is {shown(taken)}.\n  {_remedy(before, call, returned)}"
            )


def _remedy(before: Step, call: CallStep, returned: Any) -> str:
    if isinstance(before, ForkStep) and before.policy == COLLECT:
        return (
            f"With policy='collect' a failed member is in the list too: annotate {call.piped!r} as"
            f" {shown(returned)}, or use another policy."
        )
    return f"Put a task between them that converts it, or write {call.task}.si(…) if it takes no result."


def _returned(step: Step) -> Iterable[Any]:
    """Return the annotations of what a step can pass on, as far as they are known."""
    if isinstance(step, CallStep):
        return () if step.definition is None else (step.definition.arguments.returns.annotation,)
    if step.results == "none":
        return ()
    found = {id(one): one for branch in step.branches for one in _returned(branch[-1])}
    if (
        step.policy == COLLECT and step.results != "stream"
    ):  # a stream does not check failed members
        return [list[Union[one, FailedMember]] for one in found.values()]  # type: ignore[valid-type]  # noqa: UP007 - also of None
    return [list[one] for one in found.values()]  # type: ignore[valid-type] # made at run time


def _streams(annotation: Any) -> bool:
    """Return whether an annotation has `GroupResults` in it."""
    if annotation is GroupResults or get_origin(annotation) is GroupResults:
        return True
    return any(_streams(one) for one in get_args(annotation))


def label(step: Step) -> str:
    """Return the name of a step for messages."""
    if isinstance(step, CallStep):
        return step.task
    return f"the group of {len(step.branches)}"


def _check_list(fork: ForkStep) -> None:
    if fork.results is None and len(fork.branches) > LARGEST_LIST:
        raise ConfigurationError(
            f"the group has {len(fork.branches):,} members, and all their results at once can need much memory:"
            f" unasked, a list is made of {LARGEST_LIST:,} at most.\n"
            '  Write chord(group, callback, results="stream") to read them in pages, or results="list"'
            " if they are small."
        )
