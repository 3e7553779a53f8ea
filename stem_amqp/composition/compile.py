"""From the steps of a composition to the nodes that messages carry, and the ids of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from stem_amqp.composition.step import CallStep, ForkStep, Step, Steps
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.links import Chain, GroupNode, LinkNode, Member, Node

QueueOf = Callable[[CallStep], str]
"""Returns the logical queue of a call."""


def nodes_of(steps: Steps, queue_of: QueueOf, now: float) -> Chain:
    """Return the nodes of a composition.

    Args:
        steps: its steps.
        queue_of: returns the logical queue of a call.
        now: seconds since the epoch, for the times of the first links.

    Raises:
        ConfigurationError: a later link has a point in time among its options, or may have dependents.
    """
    return _Compiler(queue_of, now, alone=len(steps) == 1).chain(steps, first=True)


class _Compiler:
    def __init__(self, queue_of: QueueOf, now: float, *, alone: bool) -> None:
        self._queue_of = queue_of
        self._alone = alone
        self._now = now

    def chain(self, steps: Steps, *, first: bool, piped: bool = False) -> tuple[Node, ...]:
        """Return the nodes of a chain.

        Args:
            steps: its steps.
            first: whether its first step is enqueued by this process.
            piped: whether there is a result before it.
        """
        return tuple(
            self._node(
                step,
                first=first and at == 0,
                piped=piped or at > 0,
                after=steps[at + 1] if at + 1 < len(steps) else None,
            )
            for at, step in enumerate(steps)
        )

    def _node(self, step: Step, *, first: bool, piped: bool, after: Step | None) -> Node:
        if isinstance(step, CallStep):
            return self._link(step, first=first, piped=piped)
        members: list[Member] = []
        self._alone = False
        for branch in step.branches:
            nodes = self.chain(branch, first=first, piped=piped)
            members.append(nodes[0] if len(nodes) == 1 else nodes)
        # The handle of the composition reads the results of a group at its end
        takes = after is None or takes_result(after)
        return GroupNode(
            members=tuple(members),
            policy=step.policy,
            results=(step.results or "list") if takes else "none",
            ttl=step.ttl,
            of=step.of,
            on=step.on,
        )

    def _link(self, step: CallStep, *, first: bool, piped: bool) -> LinkNode:
        if step.watched and not (self._alone and first):
            raise ConfigurationError(
                f"{step.task} may have dependents, so it must be enqueued alone: a link that never runs, since one"
                " before it fails, would not tell them.\n  Enqueue it as task.s(…).allow_dependents(), or let them"
                " be members of one graph."
            )
        takes = piped and step.takes
        args = step.rest if takes else step.alone
        return LinkNode(
            task=step.task,
            queue=self._queue_of(step),
            args=args or {},
            piped=step.piped if takes else None,
            options=self._options(step, first=first),
            ignore_result=ignores(step),
            on_success=tuple(self._link(one, first=False, piped=True) for one in step.on_success),
            on_failure=tuple(self._link(one, first=False, piped=True) for one in step.on_failure),
            watched=step.watched,
        )

    def _options(self, step: CallStep, *, first: bool) -> Mapping[str, Any]:
        own = step.options
        of_task = None if step.definition is None else step.definition.options
        carried = own.carried()
        carried.pop("ignore_result", None)
        if own.result_ttl is None and of_task is not None and of_task.result_ttl is not None:
            carried["result_ttl"] = of_task.result_ttl
        delay, expires = own.delay, own.expires
        if own.eta is not None:
            delay = max(0.0, self._until(step, "eta", own.eta, first=first))
        if expires is None and of_task is not None:
            expires = of_task.expires
        if isinstance(expires, datetime):
            expires = self._until(step, "expires", expires, first=first)
        priority = own.priority
        if priority is None and of_task is not None:
            priority = of_task.priority
        more = {
            "delay": delay or None,
            "expires": expires,
            "priority": priority,
            "headers": own.headers or None,
            "meta": own.meta or None,
        }
        return carried | {name: value for name, value in more.items() if value is not None}

    def _until(self, step: CallStep, name: str, at: datetime, *, first: bool) -> float:
        if not first:
            instead = "delay" if name == "eta" else "a duration"
            raise ConfigurationError(
                f"{step.task} is enqueued when the link before it has ended, and nobody knows when: its option"
                f" {name} cannot be a point in time.\n  Use {instead}."
            )
        return at.timestamp() - self._now


def takes_result(step: Step) -> bool:
    """Return whether a step, or a member of it, takes the result of the step before."""
    if isinstance(step, CallStep):
        return step.takes
    return any(takes_result(branch[0]) for branch in step.branches)


def ignores(step: CallStep) -> bool:
    """Return whether nothing about a call's task is stored."""
    if step.options.ignore_result is not None:
        return step.options.ignore_result
    return step.definition is not None and step.definition.options.ignore_result


def step_id(chain: str, steps: Steps, position: int, *, member: bool = False) -> str:
    """Return the id of a step's task or group.

    Args:
        chain: the id of the chain: of the composition, or of the member.
        steps: the chain's steps.
        position: the step's position.
        member: whether the chain is a member; a member of one step has the id of its place.
    """
    return chain if member and len(steps) == 1 else f"{chain}.{position}"


def end_id(chain: str, steps: Steps, *, member: bool = False) -> str:
    """Return the id of a chain's last task or group; see `step_id`."""
    return step_id(chain, steps, len(steps) - 1, member=member)


def forks(steps: Steps) -> Iterator[ForkStep]:
    """Yield every group in a composition, the outer ones first."""
    for step in steps:
        if isinstance(step, ForkStep):
            yield step
            for branch in step.branches:
                yield from forks(branch)
