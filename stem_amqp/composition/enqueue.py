"""Begin a composition: check its groups, publish its first links, and store its shape."""

from __future__ import annotations

import logging

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import timestamp
from stem_amqp.composition.compile import forks, nodes_of
from stem_amqp.composition.shape import store_shape
from stem_amqp.composition.step import CallStep, Steps
from stem_amqp.connected import Connected
from stem_amqp.context.context import current_or_none
from stem_amqp.errors import BackendError, ConfigurationError
from stem_amqp.messages.message import new_id
from stem_amqp.producer.linking.linker import Linker
from stem_amqp.producer.linking.place import Place
from stem_amqp.results.base import ResultBackend
from stem_amqp.tasks.call import Lineage
from stem_amqp.tasks.option_values import text

log = logging.getLogger("stem_amqp.producer")

LONGEST_ID = 100
"""Characters of an id that a caller chooses: the ids of the tasks begin with it."""


def composition_id(given: str | None) -> str:
    """Return the id of a composition: the given one, checked, or a new one.

    Raises:
        ConfigurationError: it cannot be the beginning of the tasks' ids.
    """
    if given is None:
        return new_id()
    text("id", given, "'import-42'")
    if "." in given or len(given.encode()) > LONGEST_ID:
        raise ConfigurationError(
            f"the id of a composition has 1 to {LONGEST_ID} bytes and no '.', since the ids of its tasks are"
            f" made of it, such as 'import-42.0'; not {given!r:.120}"
        )
    return given


def current_lineage() -> Lineage | None:
    """Return the task that runs here, as the parent of what it enqueues; None outside of tasks."""
    context = current_or_none()
    return None if context is None else context.lineage


async def begin(
    blueprint: Blueprint,
    connected: Connected,
    steps: Steps,
    composition: str,
    lineage: Lineage | None,
) -> None:
    """Create the first groups and publish the first links of a composition.

    Args:
        blueprint: the application.
        connected: its connections.
        steps: the steps.
        composition: the id of the composition.
        lineage: the task that enqueues it; None: no task does.

    Raises:
        ConfigurationError: the backend cannot count a group, or an option of a link cannot be used there.
        PublishError: the broker did not take a message.
        MessageTooLargeError: what follows does not fit into a message.
        BackendUnavailableError: a group may not be created.
    """
    backend, clock = connected.backend, connected.transport.clock
    check_groups(backend, steps)

    def queue_of(step: CallStep) -> str:
        own = step.options.queue
        if own is None and step.definition is not None:
            own = step.definition.options.queue
        return own or blueprint.queue_named(step.task)

    now = clock.time()
    place = Place(
        composition=composition,
        enqueued_at=timestamp(now),
        lineage=lineage,
        reply_to=await backend.reply_address() if backend.needs_reply else None,
    )
    linker = Linker(
        blueprint,
        clock=clock,
        backend=backend,
        writer=connected.writer,
        producer=connected.producer,
        seal=connected.seal,
    )
    await linker.begin(nodes_of(steps, queue_of, now), place, None)
    await _store_shape(blueprint, backend, composition, steps)


def check_groups(backend: ResultBackend, steps: Steps) -> None:
    """Check that the result backend can count the groups of a composition.

    Raises:
        ConfigurationError: it cannot; the text says which backends can.
    """
    limit = backend.group_limit
    if limit is None:
        return
    for fork in forks(steps):
        if len(fork.branches) <= limit:
            continue
        kind = type(backend).__name__
        able = "no groups" if limit == 0 else f"groups of {limit:,} members at most"
        raise ConfigurationError(
            f"a group has {len(fork.branches):,} members, and {kind} can count {able}.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers and"
            " workers (memory:// for tests): they count groups of any size."
        )


async def _store_shape(
    blueprint: Blueprint, backend: ResultBackend, composition: str, steps: Steps
) -> None:
    (first, *more) = steps
    if not more and isinstance(first, CallStep) and not (first.on_success or first.on_failure):
        return
    try:
        await store_shape(backend, composition, steps, ttl=blueprint.settings.result_ttl)
    except BackendError as error:
        log.warning(
            "composition %s is enqueued, but its shape could not be stored: %s", composition, error
        )
