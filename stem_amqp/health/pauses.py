"""The pauses that are stored for a namespace, and the messages of paused tasks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from stem_amqp.app import Stem
from stem_amqp.breakers.opening import Opening
from stem_amqp.directives.issue import Desk
from stem_amqp.directives.model import Directive, Kind
from stem_amqp.directives.state import Directives
from stem_amqp.errors import StemError
from stem_amqp.results.factory import create_from
from stem_amqp.signing.source import seal_from
from stem_amqp.transport.base import Transport

PATIENCE = 2.0
"""Seconds to wait for what is stored; a report without it is better than none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldLine:
    """The messages of one paused task that wait, or that are consumed after its resume.

    Args:
        queue: their logical queue.
        task: the task's name.
        name: the queue in which they wait.
        messages: how many are ready; None if that queue is not on the broker.
        paused: whether the task is paused now.
    """

    queue: str
    task: str
    name: str
    messages: int | None
    paused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPauses:
    """What is stored about pauses.

    Args:
        directives: the directives in force.
        unknown: why they could not be read, or an empty string.
    """

    directives: Directives
    unknown: str = ""

    def of_queue(self, queue: str) -> str:
        """Return how a queue is paused, for people; an empty string if it is not.

        Args:
            queue: the logical queue.
        """
        directive = self.directives.paused_queue(queue)
        return "" if directive is None else described(directive)

    def paused_tasks(self) -> list[tuple[str, str]]:
        """Return the pauses of tasks: what is paused, such as a pattern of names, and by whom and why."""
        pauses = (
            one
            for kind in (Kind.PAUSE, Kind.BREAKER)
            for one in self.directives.in_effect(kind)
            if one.target.task
        )
        return [(str(one.target), described(one)) for one in pauses]

    async def held(self, app: Stem, transport: Transport) -> tuple[HeldLine, ...]:
        """Return the queues of paused tasks that have messages, or whose task is paused.

        Args:
            app: the application.
            transport: connected.

        Raises:
            BrokerError: the broker cannot be reached, or refuses access.
        """
        places = {
            (one.target.queue, one.target.task)
            for one in self.directives.in_effect(Kind.HELD)
            if one.target.queue and one.target.task
        }
        names = {app.names.held(*place): place for place in sorted(places)}
        status = await transport.status(names) if names else {}
        lines = (
            HeldLine(
                queue=queue,
                task=task,
                name=name,
                messages=None if (found := status[name]) is None else found.ready,
                paused=self.directives.paused_task(task, queue) is not None,
            )
            for name, (queue, task) in names.items()
        )
        return tuple(line for line in lines if line.messages or line.paused)


async def read_pauses(app: Stem, transport: Transport) -> StoredPauses:
    """Return the pauses that are stored; what cannot be read is said, and raises nothing.

    Args:
        app: the application; it need not be connected.
        transport: connected.
    """
    settings = app.settings
    directives = Directives(transport.clock, namespace=settings.namespace)
    try:
        backend = create_from(settings, transport, app.names)
        async with asyncio.timeout(PATIENCE):
            await backend.open()
            try:
                seal = seal_from(settings, app.keys)
                document = await Desk(settings, transport, app.names, backend, seal).read()
            finally:
                await backend.close()
    except TimeoutError:
        return StoredPauses(directives=directives, unknown=f"no answer within {PATIENCE:g} s")
    except StemError as error:
        return StoredPauses(directives=directives, unknown=str(error).partition("\n")[0])
    directives.learn(document.directives)
    return StoredPauses(directives=directives)


def described(directive: Directive) -> str:
    """Describe a pause in few words: who, and why; of a breaker its state.

    Args:
        directive: the pause.
    """
    opening = Opening.read(directive.value) if directive.kind == Kind.BREAKER else None
    who = f"by {directive.by}" if opening is None else f"breaker {opening.state.value}"
    return f"{who}: {directive.reason}" if directive.reason else who
