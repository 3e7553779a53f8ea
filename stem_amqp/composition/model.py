"""Compositions: links, chains and groups, typed by what they return and by what they take.

Each is a value that never changes: ``|``, ``options`` and ``on_success`` return new ones. So a part can be
used in several compositions, and none can contain itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar, overload

from typing_extensions import Unpack, override

from stem_amqp.composition.application import Composes
from stem_amqp.composition.blocking import BlockingChainHandle, BlockingGroupHandle
from stem_amqp.composition.follow import check_follows, check_length, check_takes
from stem_amqp.composition.handle import ChainHandle
from stem_amqp.composition.handles import GroupHandle
from stem_amqp.composition.part import Part, check_part, common_app
from stem_amqp.composition.step import CallStep, ForkStep, Step, Steps, depth_of
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.links import FAIL_FAST, NESTING
from stem_amqp.tasks.failed import FailedTask
from stem_amqp.tasks.keywords import CallKeywords

R = TypeVar("R")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)
A_contra = TypeVar("A_contra", contravariant=True)


class Composition(Part, Generic[R_co]):
    """A composition that can be enqueued; its type parameter is what its last step returns."""

    __slots__ = ()

    @overload
    def __or__(self, other: Partial[R_co, S]) -> Chain[S]: ...
    @overload
    def __or__(self, other: Composition[S]) -> Chain[S]: ...
    def __or__(self, other: Any) -> Any:
        """Let another part follow: it gets the result of this one as its first argument.

        Raises:
            ArgumentsError: the part has no place for the result, or the result's type does not fit.
            ConfigurationError: the chain is too long, or the parts belong to two applications.
        """
        return _joined(self, other)

    async def enqueue(self, *, id: str | None = None) -> ChainHandle[R_co]:  # noqa: A002 - as task_id
        """Enqueue the first links, and wait until the broker has confirmed them.

        Inside a running task, all links get its root id, and its meta; its id is their parent.

        Args:
            id: the id of the composition; None: a new one. Enqueued again under the same id, a link is not
                run again where the backend stores states.

        Returns:
            A handle to wait for the last result with.

        Raises:
            ConfigurationError: the result backend cannot count a group.
            MessageTooLargeError: what follows does not fit into a message.
            PublishError: the broker did not take it.
        """
        handle: ChainHandle[R_co] = await self._owner().enqueue_composition(self, id=id)
        return handle

    def enqueue_blocking(self, *, id: str | None = None) -> BlockingChainHandle[R_co]:  # noqa: A002 - as task_id
        """Enqueue the first links where nothing can be awaited; see `enqueue`.

        Args:
            id: the id of the composition; None: a new one.
        """
        producer = self._owner().blocking_producer
        handle: BlockingChainHandle[R_co] = producer.enqueue_composition(self, id=id)
        return handle

    def _owner(self) -> Composes:
        if self._app is None:
            raise ConfigurationError(
                "an empty group has no application: enqueue it with"
                " await stem.enqueue_composition(group([]))"
            )
        return self._app


class Partial(Part, Generic[A_contra, R_co]):
    """A part that gets its first argument from the part before it, and cannot be enqueued alone."""

    __slots__ = ()

    @overload
    def __or__(self, other: Partial[R_co, S]) -> Partial[A_contra, S]: ...
    @overload
    def __or__(self, other: Composition[S]) -> Partial[A_contra, S]: ...
    def __or__(self, other: Any) -> Any:
        """Let another part follow; see `Composition.__or__`."""
        return _joined(self, other)


class Link(Composition[R_co]):
    """A call with all its arguments: ``add.s(1, 2)``, or ``add.si(1, 2)`` that takes no result."""

    __slots__ = ()

    def options(self, **options: Unpack[CallKeywords]) -> Link[R_co]:
        """Return the link with options of its call, such as ``queue`` or ``delay``.

        Args:
            **options: see `stem_amqp.tasks.keywords.CallKeywords`; a later value replaces an earlier one.

        Raises:
            ConfigurationError: an option is not valid, or not one of a link.
        """
        return Link((_call(self).with_options(options),), self._app)

    def allow_dependents(self) -> Link[R_co]:
        """Return the link as one on which graphs that are enqueued later may depend, by its handle.

        It is enqueued alone: ``await pay.s(42).allow_dependents().enqueue()``. The result backend must keep keys.
        """
        return Link((replace(_call(self), watched=True),), self._app)

    def on_success(self, *links: Partial[R_co, Any] | Link[Any]) -> Link[R_co]:
        """Return the link with further links that are enqueued when it has succeeded.

        Args:
            *links: a partial one gets the result.
        """
        return Link((_with_links(self, links, "on_success"),), self._app)

    def on_failure(self, *links: Partial[Any, Any] | Link[Any]) -> Link[R_co]:
        """Return the link with further links that are enqueued when it has ended otherwise.

        Args:
            *links: a partial one gets a mapping with ``id``, ``task``, ``state``, ``reason`` and ``error``.
        """
        return Link((_with_links(self, links, "on_failure"),), self._app)


class PartialLink(Partial[A_contra, R_co]):
    """A call without its first argument: ``add.s(2)``."""

    __slots__ = ()

    def options(self, **options: Unpack[CallKeywords]) -> PartialLink[A_contra, R_co]:
        """Return the link with options of its call; see `Link.options`."""
        return PartialLink((_call(self).with_options(options),), self._app)

    def on_success(self, *links: Partial[R_co, Any] | Link[Any]) -> PartialLink[A_contra, R_co]:
        """Return the link with links for its success; see `Link.on_success`."""
        return PartialLink((_with_links(self, links, "on_success"),), self._app)

    def on_failure(self, *links: Partial[Any, Any] | Link[Any]) -> PartialLink[A_contra, R_co]:
        """Return the link with links for its failure; see `Link.on_failure`."""
        return PartialLink((_with_links(self, links, "on_failure"),), self._app)


class Chain(Composition[R_co]):
    """Links and groups one after the other: each gets the result of the one before."""

    __slots__ = ()

    def on_failure(self, *links: Partial[Any, Any] | Link[Any]) -> Chain[R_co]:
        """Return the chain with links that are enqueued when any of its links has failed.

        In a group that ends the chain, or that another group follows, each member that fails enqueues them.

        Args:
            *links: a partial one gets a mapping with ``id``, ``task``, ``state``, ``reason`` and ``error``.

        Raises:
            ArgumentsError: a partial one cannot take that mapping.
        """
        return Chain(_failing(self._steps, links), self._app)


class PartialChain(Partial[A_contra, R_co]):
    """A chain whose first link lacks its first argument."""

    __slots__ = ()


class Group(Composition[list[R]], Generic[R]):
    """Members side by side; its result is the list of theirs, in their order."""

    __slots__ = ()

    @property
    def size(self) -> int:
        """The number of members."""
        return len(_fork(self).branches)

    @override
    async def enqueue(self, *, id: str | None = None) -> GroupHandle[R]:
        handle: GroupHandle[R] = await self._owner().enqueue_composition(self, id=id)
        return handle

    @override
    def enqueue_blocking(self, *, id: str | None = None) -> BlockingGroupHandle[R]:
        handle: BlockingGroupHandle[R] = self._owner().blocking_producer.enqueue_composition(
            self, id=id
        )
        return handle

    def on_failure(self, *links: Partial[Any, Any] | Link[Any]) -> Group[R]:
        """Return the group with links that each failed member enqueues.

        Args:
            *links: a partial one gets a mapping with ``id``, ``task``, ``state``, ``reason`` and ``error``.
        """
        return Group(_failing(self._steps, links), self._app)


class PartialGroup(Partial[A_contra, list[R]], Generic[A_contra, R]):
    """A group of which members lack their first argument: each of those gets the result before the group."""

    __slots__ = ()


def _call(part: Part) -> CallStep:
    (step,) = part.steps
    assert isinstance(step, CallStep)  # noqa: S101 - links are made of calls
    return step


def _fork(part: Part) -> ForkStep:
    (step,) = part.steps
    assert isinstance(step, ForkStep)  # noqa: S101 - groups are made of branches
    return step


def check_enqueuable(composition: Any, app: Composes) -> Part:
    """Return a composition that an application can enqueue.

    Args:
        composition: the object.
        app: the application.

    Raises:
        ConfigurationError: it is no composition, lacks its first argument, or belongs to another application.
    """
    part = check_part(composition)
    if isinstance(part, Partial):
        raise ConfigurationError(
            "the first link lacks its first argument, which would be the result of a link before it.\n"
            "  Give all its arguments, or put a link before it."
        )
    common_app([part, Part((), app)])
    return part


def composed(steps: Steps, app: Composes | None) -> Any:
    """Return the part that steps make.

    Args:
        steps: the steps, which fit each other.
        app: the application.

    Raises:
        ConfigurationError: there are too many, or they are nested too deep.
    """
    check_length(steps)
    if depth_of(steps) > NESTING:
        raise ConfigurationError(
            f"the composition is nested deeper than {NESTING} levels.\n"
            "  Let a member enqueue a composition of its own."
        )
    if len(steps) == 1 and isinstance(steps[0], ForkStep):
        return (PartialGroup if steps[0].needs else Group)(steps, app)
    if len(steps) == 1:
        return (PartialLink if steps[0].needs else Link)(steps, app)
    return (PartialChain if steps[0].needs else Chain)(steps, app)


def _joined(left: Part, right: Any) -> Any:
    right = check_part(right)
    check_follows(left.steps[-1], right.steps[0])
    return composed(left.steps + right.steps, common_app([left, right]))


def _with_links(
    part: Part, links: Sequence[Part], event: Literal["on_success", "on_failure"]
) -> CallStep:
    step = _call(part)
    own: list[CallStep] = []
    for link in links:
        (first, *more) = check_part(link).steps
        if more or not isinstance(first, CallStep):
            raise ConfigurationError(
                f"{event} takes links such as task.s(…), and not a chain or a group.\n"
                "  Let the link's task enqueue it, or continue the chain with |."
            )
        if event == "on_failure":
            check_takes(first, FailedTask, f"the failure of {step.task}")
        elif first.takes:
            check_follows(step, first)
        own.append(first)
    common_app([part, *links])
    new: Any = {event: getattr(step, event) + tuple(own)}
    return replace(step, **new)


def _failing(steps: Steps, links: Sequence[Part]) -> Steps:
    """Return the steps of a chain whose failure enqueues links, each failure once.

    The failure of a group is that of the link after it. Without such a link, each failed member enqueues them.
    """
    after: list[Step | None] = [*steps[1:], None]
    return tuple(_failing_step(step, one, links) for step, one in zip(steps, after, strict=True))


def _failing_step(step: Step, after: Step | None, links: Sequence[Part]) -> Step:
    if isinstance(step, CallStep):
        return _with_links(Link((step,), None), links, "on_failure")
    if isinstance(after, CallStep) or (after is not None and step.policy != FAIL_FAST):
        return step
    return replace(step, branches=tuple(_failing(branch, links) for branch in step.branches))
