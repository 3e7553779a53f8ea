"""Publishes what follows a task of a composition, once the task has ended."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from pydantic_core import from_json

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.errors import (
    ArgumentsError,
    BrokerRefusedError,
    ConfigurationError,
    DecodeError,
    SignatureError,
    StemError,
    UnroutableError,
)
from stem_amqp.messages.links import LinkNode, Links
from stem_amqp.messages.message import TaskMessage
from stem_amqp.outcome import Dead, Revoked, Succeeded
from stem_amqp.producer.linking.calls import Value
from stem_amqp.producer.linking.ends import Errors
from stem_amqp.producer.linking.linker import Beginning, Linker
from stem_amqp.producer.linking.place import Place, path_of
from stem_amqp.producer.linking.skips import UNPUBLISHED
from stem_amqp.results.groups.model import MemberReport
from stem_amqp.states import Reason, TaskState
from stem_amqp.tasks.call import Lineage
from stem_amqp.worker.follow_up.persist import Persistence, Step
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

UNROUTABLE_FOR = 60.0
"""Seconds for which the next link may be unroutable until the composition cannot go on."""
_LASTING = (ArgumentsError, ConfigurationError, DecodeError, SignatureError, UnroutableError)
"""Errors that another try would raise again."""


_FINAL = (*_LASTING, BrokerRefusedError)
"""Errors after which what follows a task that has failed is given up."""


class CannotContinueError(StemError):
    """What follows a task of a composition can never be published."""


class Continuing:
    """Publishes what follows the tasks of compositions.

    Args:
        blueprint: the application.
        connected: its open connections.
        persistence: repeats a step that fails.
        worker: the worker's name.
    """

    def __init__(
        self, blueprint: Blueprint, connected: Connected, persistence: Persistence, *, worker: str
    ) -> None:
        self._persistence = persistence
        self._telemetry = blueprint.telemetry
        self._linker = Linker(
            blueprint,
            clock=connected.transport.clock,
            backend=connected.backend,
            writer=connected.writer,
            producer=connected.producer,
            seal=connected.seal,
            worker=worker,
        )

    async def follow(self, job: Job, outcome: Succeeded | Dead | Revoked) -> None:
        """Publish what follows a task, and return once it is confirmed; see `succeeded` and `ended`.

        Args:
            job: a job of a composition.
            outcome: how it has ended.

        Raises:
            CannotContinueError: it has succeeded, and the next link can never be published.
            BrokerRefusedError: it has succeeded, and the broker refuses the next link.
        """
        if not job.started:
            for report in self._telemetry.followed:
                report(job)
        match outcome:
            case Succeeded():
                await self.succeeded(job, outcome.result)
            case Revoked():
                await self.ended(job, TaskState.REVOKED, reason=outcome.reason)
            case Dead():
                expired = outcome.reason is Reason.EXPIRED
                await self.ended(
                    job,
                    TaskState.EXPIRED if expired else TaskState.FAILED,
                    reason=outcome.reason.value,
                    error=outcome.failure.error,
                )

    async def succeeded(self, job: Job, result: bytes) -> None:
        """Publish what follows a task that has succeeded, and return once it is confirmed.

        Args:
            job: a job of a composition.
            result: the JSON text of its result.

        Raises:
            CannotContinueError: the next link can never be published.
            BrokerRefusedError: the broker refuses it.
        """
        message, links = _of(job)
        place = place_of(job, message, links)
        try:
            following = self._following(links.on_success, place, "ok", result)
            if links.then:
                following.add(self._linker.prepare(links.then, place.next(), _value(result)))
            if following.calls or following.start.groups or following.start.empty:
                await self._take(job, lambda: self._linker.carry_out(following))
            if not links.then and place.group is not None and place.index is not None:
                value = None if job.ignore_result else result
                await self._report(job, place, TaskState.SUCCEEDED, value=value)
            if links.watched:
                told = None if job.ignore_result else result
                await self._tell_dependents(job, TaskState.SUCCEEDED, value=told)
        except _LASTING as error:
            raise CannotContinueError(f"its composition cannot go on: {error}") from error

    async def ended(
        self, job: Job, state: TaskState, *, reason: str | None = None, error: str | None = None
    ) -> None:
        """Publish what follows a task that has ended otherwise; what never runs is stored as failed.

        What the broker refuses, or can never be published, is logged: the task itself has ended.

        Args:
            job: a job of a composition.
            state: its final state.
            reason: why it ended.
            error: type and message of its exception.
        """
        message, links = _of(job)
        place = place_of(job, message, links)
        end = {
            "id": message.id,
            "task": message.task,
            "state": state.value,
            "reason": reason,
            "error": error,
        }
        why = f"{message.task} {message.id} {state.value}: {error or reason or ''}".rstrip(": ")
        # Each of them, whatever becomes of the others: a group would otherwise wait for ever
        if links.on_failure:
            await self._try(job, self._begin_on_failure(job, links.on_failure, place, end))
        if place.group is not None and place.index is not None:
            await self._try(job, self._report_ended(job, place, state, why))
        if links.watched:
            await self._try(job, self._tell_dependents(job, state, error=why))
        if links.then:
            store = self._linker.skips.store
            skipped = self._take(job, lambda: store(links.then, place.next(), why))
            await self._try(job, skipped)

    async def _try(self, job: Job, step: Coroutine[Any, Any, None]) -> None:
        """Await a step after a task that has ended, and log what can never be published."""
        try:
            await step
        except _FINAL as problem:
            log.error(  # noqa: TRY400 - the text says all
                "%s has ended, and what follows it in its composition cannot be published: %s",
                job,
                problem,
            )

    async def _begin_on_failure(
        self, job: Job, nodes: tuple[LinkNode, ...], place: Place, end: Mapping[str, Any]
    ) -> None:
        """Begin the links on failure; one that can never be published is stored as failed."""
        following = Beginning.nothing(place.lineage)
        try:
            following.add(self._following(nodes, place, "err", end))
            await self._take(job, lambda: self._linker.carry_out(following))
        except _FINAL as problem:
            left = {call.options.task_id for call in following.calls}
            for index, node in enumerate(nodes):
                beside = place.beside(f"err{index}")
                if not left or beside.id in left:
                    await self._skip(job, node, beside, problem)
            raise

    async def _skip(self, job: Job, node: LinkNode, place: Place, problem: StemError) -> None:
        why, store = f"{type(problem).__name__}: {problem}", self._linker.skips.store
        await self._take(job, lambda: store((node,), place, why, cause=UNPUBLISHED))

    async def _report_ended(self, job: Job, place: Place, state: TaskState, why: str) -> None:
        """Report to the group; of what follows it, all that can be published is."""
        try:
            await self._report(job, place, state, error=why)
        except _FINAL:
            await self._report(job, place, state, error=why, final=_FINAL)

    def _following(
        self, nodes: tuple[LinkNode, ...], place: Place, name: str, given: Any
    ) -> Beginning:
        """Return what begins the links on success or failure."""
        following = Beginning.nothing(place.lineage)
        for index, node in enumerate(nodes):
            value = _value(given) if isinstance(given, bytes) else Value(given)
            following.add(self._linker.prepare((node,), place.beside(f"{name}{index}"), value))
        return following

    async def _report(
        self,
        job: Job,
        place: Place,
        state: TaskState,
        *,
        value: bytes | None = None,
        error: str | None = None,
        final: Errors = (),
    ) -> None:
        report = MemberReport(
            group_id=place.group or "",
            index=place.index or 0,
            task_id=place.id,
            state=state,
            value=value,
            error=error,
        )
        await self._take(job, lambda: self._linker.ends.report(report, place, final=final))

    async def _tell_dependents(
        self,
        job: Job,
        state: TaskState,
        *,
        value: bytes | None = None,
        error: str | None = None,
    ) -> None:
        message, _ = _of(job)
        told = self._linker.dependents.ended
        await self._take(job, lambda: told(message.id, state, value=value, error=error))

    async def _take(self, job: Job, step: Step) -> None:
        await self._persistence.take(job, step, unroutable_for=UNROUTABLE_FOR)


def place_of(job: Job, message: TaskMessage, links: Links) -> Place:
    """Return the place of a job's task in its composition.

    Args:
        job: the job.
        message: its message.
        links: the links of the message.
    """
    return Place(
        composition=links.composition,
        path=path_of(message.id, links.composition),
        enqueued_at=message.enqueued_at,
        group=message.group,
        index=links.index,
        gates=links.gates,
        lineage=Lineage(root=message.root or message.id, parent=message.id, meta=message.meta),
        reply_to=job.reply_to,
        replay=job.replay,
        follows=True,
    )


def _of(job: Job) -> tuple[TaskMessage, Links]:
    message = job.message
    if message is None or message.links is None:
        raise RuntimeError("only a task of a composition has something that follows")
    return message, message.links


def _value(result: bytes) -> Value:
    # Not orjson, which reads an integer beyond 64 bits as a float
    return Value(from_json(result))
