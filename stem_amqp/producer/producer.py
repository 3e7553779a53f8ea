"""Publish calls, and wait for the broker's confirm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from typing_extensions import TypeVar

from stem_amqp.blueprint import Blueprint
from stem_amqp.context.middleware import OutgoingTask, changed
from stem_amqp.errors import (
    BackendError,
    ConfigurationError,
    EnqueueManyError,
    ResultUnavailableError,
    StemError,
    UnroutableError,
)
from stem_amqp.messages.message import new_id
from stem_amqp.observability import Bulk, Publishing, finish
from stem_amqp.producer.composer import Composer
from stem_amqp.producer.equal_calls import EqualCalls
from stem_amqp.results.base import ResultBackend, Transition
from stem_amqp.results.handle import TaskHandle
from stem_amqp.results.writer import ResultWriter
from stem_amqp.signals import Event, Signal
from stem_amqp.signing.seal import Seal
from stem_amqp.tasks.call import Call, Enqueued, Lineage
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.producer")


R = TypeVar("R")


class Producer:
    """Publishes task messages, and stores the state *queued*.

    Args:
        blueprint: the application.
        transport: the connection to the broker.
        backend: the result backend.
        writer: its batching writer.
        seal: signs and encrypts messages; None without keys.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        *,
        transport: Transport,
        backend: ResultBackend,
        writer: ResultWriter,
        seal: Seal | None = None,
    ) -> None:
        self._transport = transport
        self._backend = backend
        self._writer = writer
        self._composer = Composer(blueprint, transport.clock, backend, seal)
        self._names = blueprint.names
        self._signals = blueprint.signals
        self._middleware = blueprint.middleware
        self._equal_calls = EqualCalls(
            backend,
            transport.clock,
            namespace=blueprint.names.namespace,
            queue_of=self._composer.queue_of,
        )
        self._telemetry = blueprint.telemetry
        self._window = blueprint.settings.publish_window

    async def enqueue(
        self, call: Call, lineage: Lineage | None = None, bulk: Bulk | None = None
    ) -> Enqueued:
        """Publish one call and wait for the broker's confirm.

        Args:
            call: the task, its arguments and options.
            lineage: the task that enqueues the call, if a task does.
            bulk: the bulk publish that the call belongs to, if it belongs to one.

        Raises:
            PublishError: the broker did not take the message; the text names the remedy.
            StemError: a middleware neither passed the task on nor raised an exception.
            ConfigurationError: arguments or meta cannot be written as JSON.
            MessageTooLargeError: the body is larger than ``STEM_MAX_BODY_SIZE``; nothing was sent.
            DuplicateTaskError: the task is unique or throttled, a duplicate is an error, and an equal call
                is enqueued.
        """
        rule = call.rule
        if rule is None:
            return await self._enqueue(call, lineage, bulk)
        return await self._equal_calls.enqueue(
            call, rule, lambda own: self._enqueue(own, lineage, bulk)
        )

    async def _enqueue(self, call: Call, lineage: Lineage | None, bulk: Bulk | None) -> Enqueued:
        if self._middleware.publishing:
            return await self._enqueue_inside(call, lineage, bulk)
        return await self._report_publish(call, lineage, bulk)

    async def _enqueue_inside(
        self, call: Call, lineage: Lineage | None, bulk: Bulk | None
    ) -> Enqueued:
        """Publish a call inside of the middleware."""
        options = call.options
        outgoing = OutgoingTask(
            id=options.task_id or new_id(),
            task=call.task,
            args=call.args,
            queue=self._composer.queue_of(call),
            meta={**lineage.meta, **options.meta} if lineage else options.meta,
            headers=options.headers,
            priority=options.priority,
        )
        # Inherited meta has gone through the middleware too, which may have removed it
        own = replace(lineage, meta={}) if lineage else None
        enqueued: list[Enqueued] = []

        async def publish(message: OutgoingTask) -> None:
            as_wanted = replace(call, options=changed(options, outgoing, message))
            enqueued.append(await self._report_publish(as_wanted, own, bulk))

        await self._middleware.publish(outgoing, publish)
        if not enqueued:
            raise StemError(
                f"task {call.task} was not enqueued: a middleware neither awaited"
                " call_next(message) nor raised an exception"
            )
        return enqueued[0]

    async def _report_publish(
        self, call: Call, lineage: Lineage | None, bulk: Bulk | None
    ) -> Enqueued:
        """Publish a call, and report it to the exporters, if there are any."""
        if not self._telemetry.publishing and (bulk is None or not bulk.headers):
            return await self._publish(call, lineage)
        queue = self._composer.queue_of(call)
        publishing = Publishing(
            task=call.task,
            queue=queue,
            known=call.definition is not None,
            known_queue=self._composer.knows(queue),
            bulk=bulk,
            headers={} if bulk is None else dict(bulk.headers),
        )
        ends = self._telemetry.begin(publishing)
        try:
            enqueued = await self._publish(call, lineage, publishing)
        except BaseException as error:
            finish(ends, error)
            raise
        finish(ends, None)
        return enqueued

    async def _publish(
        self, call: Call, lineage: Lineage | None, publishing: Publishing | None = None
    ) -> Enqueued:
        enqueued, publication, transition = await self._composer.compose(call, lineage, publishing)
        if self._signals.before_task_publish.active:
            await self._send_signal(self._signals.before_task_publish, enqueued)
        if transition is not None and self._backend.needs_reply:
            # The state stays in this process, and a reply may arrive before the confirm
            await self._note_queued(transition)
        try:
            await self._transport.publish(publication)
        except UnroutableError as error:
            raise self._not_enqueued(enqueued, error) from error
        if transition is not None and not self._backend.needs_reply:
            await self._note_queued(transition)
        if self._signals.after_task_publish.active:
            await self._send_signal(self._signals.after_task_publish, enqueued)
        return enqueued

    def _not_enqueued(self, enqueued: Enqueued, error: UnroutableError) -> UnroutableError:
        task = enqueued.message.task
        if error.missing:
            text = f"task {task} was not enqueued: {error}"
            return UnroutableError(text, missing=error.missing)
        return no_such_queue(task, enqueued.queue, self._names.namespace)

    def foreign_queue(self, call: Call) -> str | None:
        """Return the logical queue of a call if it is none of the application's; otherwise None.

        Args:
            call: the call.
        """
        queue = self._composer.queue_of(call)
        return None if self._composer.knows(queue) else queue

    async def enqueue_many(
        self, calls: Iterable[Call], lineage: Lineage | None = None
    ) -> list[Enqueued]:
        """Publish many calls, one window at a time.

        Args:
            calls: read as the window moves.
            lineage: the task that enqueues the calls, if a task does.

        Raises:
            EnqueueManyError: the broker did not take some calls; the error says which.
            ConfigurationError: an object is not a call; the calls before it are enqueued.
            Exception: reading the calls raised it; the calls before that are enqueued.
        """
        if not self._telemetry.publishing_many:
            return await self._enqueue_many(calls, lineage, None)
        bulk = Bulk()
        ends = self._telemetry.begin_many(bulk)
        try:
            enqueued = await self._enqueue_many(calls, lineage, bulk)
        except BaseException as error:
            finish(ends, error)
            raise
        finish(ends, None)
        return enqueued

    async def _enqueue_many(
        self, calls: Iterable[Call], lineage: Lineage | None, bulk: Bulk | None
    ) -> list[Enqueued]:
        done: dict[int, Enqueued] = {}
        failed: dict[int, Exception] = {}
        broken: list[Exception] = []
        pending = _checked(calls, broken)

        async def publish_next() -> None:
            for index, call in pending:
                try:
                    done[index] = await self.enqueue(call, lineage, bulk)
                    if bulk is not None:
                        bulk.count = len(done)
                except Exception as error:  # noqa: BLE001 - collected for the caller
                    failed[index] = error

        async with asyncio.TaskGroup() as group:
            for number in range(self._window):
                group.create_task(publish_next(), name=f"enqueue-many {number}")
        if broken:
            broken[0].add_note(f"stem-amqp: {len(done)} calls before that were enqueued")
            raise broken[0]
        if failed:
            raise EnqueueManyError(done, failed)
        return [done[index] for index in sorted(done)]

    def handle(
        self, call: Call[R], enqueued: Enqueued, backend: Callable[[], ResultBackend] | None = None
    ) -> TaskHandle[R]:
        """Return the handle of an enqueued call.

        Args:
            call: the call.
            enqueued: the confirmed call.
            backend: returns the backend to use, for each request; None: this producer's.
        """
        return TaskHandle(
            enqueued.message.id,
            backend=self._backend if backend is None else self._asked_for_reply(backend),
            task=call.task,
            queue=enqueued.queue,
            decode=call.definition.arguments.returns.read if call.definition else None,
            ignore_result=enqueued.ignore_result,
            existing=enqueued.existing,
        )

    def _asked_for_reply(self, backend: Callable[[], ResultBackend]) -> Callable[[], ResultBackend]:
        """Refuse to wait for a reply that goes to connections that are closed."""
        own = self._backend
        if not own.needs_reply:
            return backend

        def ask() -> ResultBackend:
            current = backend()
            if current is not own:
                raise ResultUnavailableError(
                    "the task was enqueued through connections that are closed, so its rpc://"
                    " reply is not received here.\n  Use a backend that stores results: STEM_BACKEND_URL=redis://…"
                )
            return current

        return ask

    async def _note_queued(self, transition: Transition) -> None:
        """Store the state *queued*; a failure is logged and not raised, since the task is enqueued."""
        try:
            await self._writer.write(transition)
        except BackendError as error:
            log.warning(
                "task %s %s is enqueued, but its state could not be stored: %s",
                transition.task,
                transition.task_id,
                error,
            )

    async def _send_signal(self, signal: Signal, enqueued: Enqueued) -> None:
        await signal.send(
            Event(
                signal=signal.name,
                at=self._transport.clock.time(),
                task=enqueued.message.task,
                id=enqueued.message.id,
                queue=enqueued.queue,
                meta=enqueued.message.meta,
            )
        )


def no_such_queue(task: str, queue: str, namespace: str) -> UnroutableError:
    """Return the error that the queue of a task does not exist.

    Args:
        task: the task's name.
        queue: its logical queue.
        namespace: the namespace.
    """
    return UnroutableError(
        f"task {task} was not enqueued: there is no queue {queue!r} in namespace {namespace!r}. Name it in the"
        " topology file, or let a task or a worker declare it (stem-amqp topology apply)"
    )


def _checked(calls: Iterable[Call], broken: list[Exception]) -> Iterator[tuple[int, Call]]:
    """Yield calls with their positions, up to an object that is not a call, or to an error of the iterable."""
    try:
        for index, call in enumerate(calls):
            if not isinstance(call, Call):
                raise ConfigurationError(
                    f"enqueue_many takes calls from task.prepare(…), and not {call!r:.80}, at"
                    f" position {index}"
                )
            yield index, call
    except Exception as error:  # noqa: BLE001 - raised when the pending publishes have ended
        broken.append(error)
