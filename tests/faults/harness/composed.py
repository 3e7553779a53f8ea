"""The application of the fault tests of compositions.

Its members run in workers that kill themselves, and its continuations in another worker: so each run of a
continuation beyond the first is a copy of its message, and no redelivery.
"""

import os

from application import book, die

from stem_amqp import Stem, TaskContext, TaskState
from stem_amqp.producer.linking.dependents import Dependents
from stem_amqp.producer.linking.linker import Linker
from stem_amqp.results.groups.reporter import GroupReporter
from stem_amqp.worker.continuing.continuing import Continuing

stem = Stem()
ran, called, effects = book("ran"), book("called"), book("effects")
KEEPS_KEYS = not os.environ.get("STEM_BACKEND_URL", "").startswith("rpc:")


@stem.task("member", queue="members", max_retries=0)
async def member(number: int, before: int = 0) -> int:
    """Write the number into the book."""
    ran(number)
    return number + before


@stem.task("callback", queue="callbacks", max_retries=0)
async def callback(ctx: TaskContext, values: list[int], number: int) -> int:
    """Write the number into the books: of the runs, and of the effects."""
    called(f"{number} {sum(values)}")
    if KEEPS_KEYS:
        async with ctx.once("effect") as first:
            if first:
                effects(number)
    else:
        effects(number)
    return sum(values)


@stem.task("after", queue="callbacks", max_retries=0)
async def after(value: int, number: int) -> int:
    """End the composition."""
    return value + number


def die_around(owner, name, before=None, after=None):
    """Wrap a coroutine method, to die before or after it.

    Args:
        owner: its class.
        name: its name.
        before: the step before it.
        after: the step after it; a function of its result that returns whether the step is reached, and the step.
    """
    method = getattr(owner, name)

    async def wrapped(self, *args):
        if before is not None:
            die(before)
        result = await method(self, *args)
        if after is not None and after[0](result):
            die(after[1])
        return result

    setattr(owner, name, wrapped)


die_around(Continuing, "follow", "ran", (lambda _: True, "followed"))
die_around(GroupReporter, "report", after=(lambda group: group.complete, "reported"))
die_around(Linker, "begin", after=(lambda _: True, "begun"))
die_around(Dependents, "_swap", after=(lambda _: True, "ended"))
die_around(Dependents, "_tell", after=(lambda _: True, "told"))


def die_when_stored():
    """Wrap the backend's transition, to die after an outcome is stored, before it is acknowledged."""
    connect = stem.connect

    async def connecting():
        connected = await connect()
        transition = connected.backend.transition

        async def storing(changes):
            accepted = await transition(changes)
            if any(change.state is TaskState.SUCCEEDED for change in changes):
                die("acknowledging")
            return accepted

        connected.backend.transition = storing
        return connected

    stem.connect = connecting


die_when_stored()
