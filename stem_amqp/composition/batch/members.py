"""What batches do on given connections: create one, add members, let nobody add any more, read it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import timestamp
from stem_amqp.composition.batch.reading import PAGE, group_of, unknown_batch
from stem_amqp.composition.compile import nodes_of
from stem_amqp.composition.enqueue import current_lineage
from stem_amqp.composition.follow import check_takes
from stem_amqp.composition.model import Partial
from stem_amqp.composition.part import Part, check_part, common_app
from stem_amqp.composition.shape import shape_key, shape_of
from stem_amqp.composition.step import CallStep, Steps
from stem_amqp.connected import Connected
from stem_amqp.context.context import current_or_none
from stem_amqp.errors import BackendError, ConfigurationError, StemError
from stem_amqp.messages.links import COLLECT, encode_chain
from stem_amqp.messages.message import new_id
from stem_amqp.producer.linking.batches import BATCH_EVENTS, OPENER, BatchLinks, BatchSummary
from stem_amqp.producer.linking.linker import Beginning, Linker
from stem_amqp.producer.linking.place import Place
from stem_amqp.producer.linking.plan import Plan
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.groups.model import MemberReport
from stem_amqp.states import TaskState
from stem_amqp.tasks.failed import FailedMember

log = logging.getLogger("stem_amqp.producer")

_BEFORE = CallStep(task="batch", alone={})
"""Stands for what comes before the callbacks of a batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Callbacks:
    """The steps that follow a batch, by event; see `BatchLinks`."""

    on_complete: Steps = ()
    on_success: Steps = ()
    on_failure: Steps = ()

    @classmethod
    def of(cls, given: Mapping[str, Any], app: Any) -> Callbacks:
        """Check callbacks.

        Args:
            given: event to a link or a chain; None: none.
            app: the application of the batch.

        Raises:
            ConfigurationError: one is neither a link nor a chain, or belongs to another application.
            ArgumentsError: one cannot take what the event passes.
        """
        steps: dict[str, Steps] = {}
        for event, part in given.items():
            if part is None:
                continue
            first = own_part(part, app).steps[0]
            if not isinstance(first, CallStep):
                raise ConfigurationError(
                    f"{event} begins with a link such as task.s(), which may be followed by a group"
                )
            value = FailedMember if event == "on_failure" else BatchSummary
            check_takes(first, value, f"what {event} passes")
            steps[event] = part.steps
        return cls(**steps)


def queues_of(blueprint: Blueprint) -> Callable[[CallStep], str]:
    """Return a function that returns the logical queue of a call."""

    def queue_of(step: CallStep) -> str:
        own = step.options.queue
        if own is None and step.definition is not None:
            own = step.definition.options.queue
        return own or blueprint.queue_named(step.task)

    return queue_of


def linker_of(blueprint: Blueprint, connected: Connected) -> Linker:
    """Return what publishes links with these connections."""
    return Linker(
        blueprint,
        clock=connected.transport.clock,
        backend=connected.backend,
        writer=connected.writer,
        producer=connected.producer,
        seal=connected.seal,
    )


async def open_batch(
    blueprint: Blueprint, connected: Connected, batch: str, callbacks: Callbacks, ttl: float
) -> None:
    """Create a batch; creating it again is not an error, and keeps its first callbacks.

    Args:
        blueprint: the application.
        connected: its connections.
        batch: the id.
        callbacks: what follows it.
        ttl: seconds for which it is kept.

    Raises:
        ConfigurationError: the result backend cannot count groups.
        BackendUnavailableError: it may not be created.
    """
    backend = connected.backend
    if backend.group_limit == 0:
        raise ConfigurationError(
            f"{type(backend).__name__} cannot count the members of a batch.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers and"
            " workers (memory:// for tests)."
        )
    links = BatchLinks(
        **{
            event: nodes_of((_BEFORE, *steps), queues_of(blueprint), 0.0)[1:]
            for event in BATCH_EVENTS
            if (steps := getattr(callbacks, event))
        }
    )
    plan = Plan(
        place=await _place(connected, batch), then=(), policy=COLLECT, results="none", batch=links
    )
    await backend.create_group(group_of(batch), 1, ttl=ttl, plan=plan.encode(), sealed=False)
    await _store_shape(backend, batch, callbacks, ttl)


async def _place(connected: Connected, batch: str) -> Place:
    backend = connected.backend
    context = current_or_none()
    at = connected.transport.clock.time()
    if context is not None and context.enqueued_at is not None:
        at = context.enqueued_at.timestamp()  # equal in each run, so that a member is one task
    return Place(
        composition=batch,
        enqueued_at=timestamp(at),
        lineage=current_lineage(),
        reply_to=await backend.reply_address() if backend.needs_reply else None,
        follows=context is not None,
    )


async def _store_shape(
    backend: ResultBackend, batch: str, callbacks: Callbacks, ttl: float
) -> None:
    if not backend.keeps_keys:
        return
    shape: dict[str, Any] = {"n": 0, "open": True}
    for event in BATCH_EVENTS:
        if steps := getattr(callbacks, event):
            shape[event] = orjson.loads(shape_of(steps))["steps"]
    value = orjson.dumps({"v": 1, "steps": [shape]})
    try:
        await backend.swap_key(shape_key(batch), batch, ttl=ttl, expected=None, value=value)
    except BackendError as error:
        log.warning("batch %s is open, but its shape could not be stored: %s", batch, error)


def own_part(part: Any, app: Any) -> Part:
    """Return a part of a batch, checked.

    Raises:
        ConfigurationError: it is no part of a composition, or belongs to another application.
    """
    found = check_part(part)
    common_app([found, Part((), app)])
    return found


def member_steps(part: Any, app: Any) -> Steps:
    """Return the steps of a member.

    Args:
        part: a composition.
        app: the application of the batch.

    Raises:
        ConfigurationError: it is no composition that ends with a link, or belongs to another application.
    """
    found = own_part(part, app)
    if isinstance(found, Partial):
        raise ConfigurationError(
            "a member of a batch has all its arguments: nothing comes before it.\n"
            "  Write task.s(…) with all arguments."
        )
    if not isinstance(found.steps[-1], CallStep):
        raise ConfigurationError(
            "a member of a batch ends with a link, whose end is that of the member.\n"
            "  Add the members of the group one by one, or let a callback follow the group."
        )
    return found.steps


async def add_members(
    blueprint: Blueprint, connected: Connected, batch: str, members: Sequence[Steps]
) -> int:
    """Add members to a batch, and publish them; each is confirmed when this returns.

    In a running task, the same additions of a later run add nothing.

    Args:
        blueprint: the application.
        connected: its connections.
        batch: the id.
        members: the steps of each, 1 to `PAGE`.

    Returns:
        The index of the first of them; the others follow it.

    Raises:
        ConfigurationError: the batch is sealed.
        ResultUnavailableError: there is no such batch (any more).
        PublishError: the broker did not take a member; it counts as failed.
        BackendUnavailableError: the members may not be added.
    """
    now = connected.transport.clock.time()
    chains = [nodes_of(steps, queues_of(blueprint), now) for steps in members]
    group = group_of(batch)
    first = await connected.backend.expand_group(
        group, len(chains), addition=_addition(blueprint, batch, members)
    )
    place, linker = await _place(connected, batch), linker_of(blueprint, connected)
    beginning = Beginning.nothing(place.lineage)
    for index, nodes in enumerate(chains, first):
        beginning.add(linker.prepare(nodes, place.member(index, chain=len(nodes) > 1), None))
    await _publish(linker, group, beginning)
    return first


async def _publish(linker: Linker, group: str, beginning: Beginning) -> None:
    """Publish members; also if this is cancelled, each one ends as a message or is reported."""
    publishing = asyncio.create_task(linker.carry_out(beginning), name="stem-amqp batch")
    try:
        await asyncio.shield(publishing)
    except BaseException as error:
        # What is on its way is confirmed or refused within the publish timeout: a member that runs has not failed
        await asyncio.wait({publishing})
        failed = error if publishing.cancelled() else publishing.exception()
        if failed is not None:
            await _report_missing(linker, group, beginning, failed)
        raise


def _addition(blueprint: Blueprint, batch: str, members: Sequence[Steps]) -> str:
    """Return the name of an addition: in a task one that its next run uses again."""
    context = current_or_none()
    if context is None:
        return new_id()
    # A point in time, such as an eta, is a delay in the message, which differs in each run
    chains = [nodes_of(steps, queues_of(blueprint), 0.0) for steps in members]
    text = orjson.dumps([batch, [encode_chain(nodes) for nodes in chains]], default=str)
    digest = hashlib.sha256(text).hexdigest()
    return f"{context.id}:{digest}:{context.repeats_of(digest)}"


async def _report_missing(
    linker: Linker, group: str, beginning: Beginning, error: BaseException
) -> None:
    """Report members that were not published as failed: nobody else would, and the batch would never end."""
    why = f"not enqueued: {type(error).__name__}: {error}".rstrip(": ")
    reports = _missing_reports(group, beginning, why)
    ended = await asyncio.gather(
        *(linker.ends.report(report, final=(StemError,)) for report in reports),
        return_exceptions=True,
    )
    if any(isinstance(one, BaseException) for one in ended):
        log.error("%d members of %s are not enqueued, and count as running", len(reports), group)


def _missing_reports(group: str, beginning: Beginning, why: str) -> list[MemberReport]:
    """Return the reports of calls that were not published: to the batch, or to a group in a member of it.

    A group that does not exist yet cannot end, so its member of the batch is reported instead.

    Args:
        group: the group of the batch.
        beginning: what was not carried out.
        why: the error.
    """
    absent = {new.id for new in beginning.start.groups}
    reports: dict[tuple[str, int], MemberReport] = {}
    for call in beginning.calls:
        task_id, own = call.options.task_id or "", call.group
        if own is None or call.links is None:
            continue
        index = call.links.index or 0
        if own in absent:
            index = int(own.removeprefix(f"{group}.").partition(".")[0])
            own, task_id = group, f"{group}.{index}"
        reports[own, index] = MemberReport(
            group_id=own, index=index, task_id=task_id, state=TaskState.FAILED, error=why
        )
    return list(reports.values())


async def seal_batch(blueprint: Blueprint, connected: Connected, batch: str) -> None:
    """End the block that opened a batch; what follows begins once all members have ended.

    Until then members may add others.

    Args:
        blueprint: the application.
        connected: its connections.
        batch: the id.

    Raises:
        ResultUnavailableError: there is no such batch (any more).
        PublishError: the broker did not take what follows; sealing again repeats it.
        BackendUnavailableError: it may not be sealed.
    """
    group = group_of(batch)
    if await connected.backend.get_group(group) is None:
        raise unknown_batch(batch)
    report = MemberReport(
        group_id=group, index=OPENER, task_id=group, state=TaskState.SUCCEEDED, value=b"null"
    )
    await linker_of(blueprint, connected).ends.report(report)


def portions(members: Iterable[Any], app: Any) -> Iterator[list[Steps]]:
    """Yield the steps of members, `PAGE` at a time.

    Args:
        members: links and chains.
        app: the application of the batch.
    """
    rest = iter(members)
    while page := [member_steps(one, app) for one in islice(rest, PAGE)]:
        yield page
