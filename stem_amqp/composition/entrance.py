"""The methods with which an application enqueues compositions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

from typing_extensions import Unpack

from stem_amqp.composition.batch.members import Callbacks
from stem_amqp.composition.batch.opened import OpenBatch
from stem_amqp.composition.enqueue import begin, composition_id, current_lineage
from stem_amqp.composition.handle import ChainHandle
from stem_amqp.composition.handles import GroupHandle
from stem_amqp.composition.model import (
    Composition,
    Group,
    Link,
    Partial,
    PartialLink,
    check_enqueuable,
)
from stem_amqp.composition.operations import Operations
from stem_amqp.composition.step import named_step
from stem_amqp.connectable import Connectable
from stem_amqp.durations import Duration
from stem_amqp.messages.links import DEFAULT_TTL
from stem_amqp.producer.linking.batches import BatchSummary
from stem_amqp.tasks.failed import FailedMember
from stem_amqp.tasks.keywords import CallKeywords
from stem_amqp.tasks.option_values import positive

R = TypeVar("R")


class ComposingApp(Connectable):
    """An application that enqueues compositions."""

    @overload
    async def enqueue_composition(
        self,
        composition: Group[R],
        *,
        id: str | None = None,
    ) -> GroupHandle[R]: ...
    @overload
    async def enqueue_composition(
        self,
        composition: Composition[R],
        *,
        id: str | None = None,
    ) -> ChainHandle[R]: ...
    async def enqueue_composition(
        self,
        composition: Any,
        *,
        id: str | None = None,  # noqa: A002 - as task_id
    ) -> Any:
        """Enqueue a composition; the same as ``composition.enqueue()``, also for an empty group.

        Args:
            composition: a chain, a group or a link.
            id: the id of the composition; None: a new one.

        Returns:
            A handle to wait for the result with.

        Raises:
            StemError: as for `Composition.enqueue`.
        """
        steps = check_enqueuable(composition, self).steps
        own = composition_id(id)
        await begin(self._blueprint, self.connected, steps, own, current_lineage())
        kind = GroupHandle if isinstance(composition, Group) else ChainHandle
        return kind(own, steps, lambda: self.connected.backend, Operations(self))

    def batch(
        self,
        *,
        on_complete: Partial[BatchSummary, Any] | Composition[Any] | None = None,
        on_success: Partial[BatchSummary, Any] | Composition[Any] | None = None,
        on_failure: Partial[FailedMember, Any] | Composition[Any] | None = None,
        id: str | None = None,  # noqa: A002 - as task_id
        ttl: Duration = DEFAULT_TTL,
    ) -> OpenBatch:
        """Return an open group, to which members are added: ``async with stem.batch(…) as batch:``.

        Args:
            on_complete: runs once all members have ended, whatever became of them; it takes a `BatchSummary`.
            on_success: runs once all members have succeeded.
            on_failure: runs after the first failure; it takes a `FailedMember`.
            id: the id of the batch; None: a new one. With the id of an open batch, members are added to that.
            ttl: how long it is kept: longer than its members take, and the time in which they are added.

        Raises:
            ConfigurationError: the id, a callback or the ttl cannot be used.
            ArgumentsError: a callback cannot take what it gets.
        """
        callbacks = Callbacks.of(
            {"on_complete": on_complete, "on_success": on_success, "on_failure": on_failure}, self
        )
        return OpenBatch(self, composition_id(id), callbacks, positive("ttl", ttl))

    def link(
        self,
        task: str,
        args: Mapping[str, Any] | None = None,
        *,
        takes: str | None = None,
        **options: Unpack[CallKeywords],
    ) -> Any:
        """Make a link by a task's name; the task's code need not be here.

        Args:
            task: the task's name.
            args: its arguments by name, JSON values. They are checked if the task is known here.
            takes: the argument that takes the result of the link before; None: it takes none.
            **options: see `stem_amqp.tasks.keywords.CallKeywords`.

        Returns:
            A `Link`, or with `takes` a part that another one has to precede.

        Raises:
            ConfigurationError: the name, the arguments or an option cannot be used.
            ArgumentsError: the task is known here, and the arguments do not fit it.
        """
        step = named_step(self._blueprint.registry, task, args, takes).with_options(options)
        return (Link if takes is None else PartialLink)((step,), self)
