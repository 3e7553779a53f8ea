"""From a call to a confirmed message: the producer's half of a message's way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from stem_amqp import delay as decimal_delay
from stem_amqp.clock import timestamp
from stem_amqp.definition import TaskDefinition
from stem_amqp.errors import (
    BackendError,
    DuplicateTaskError,
    EnqueueManyError,
    StemError,
    UnroutableError,
)
from stem_amqp.message import NOT_BEFORE, UNIQUE_KEY, TaskMessage, new_id
from stem_amqp.middleware import OutgoingTask, Stack, changed
from stem_amqp.options import CallOptions
from stem_amqp.results.base import ResultBackend, Transition
from stem_amqp.results.batch import ResultWriter
from stem_amqp.results.handle import TaskHandle
from stem_amqp.results.keys import claimed
from stem_amqp.signals import Event, Signal, Signals
from stem_amqp.signing.seal import SEALED_TYPE, Seal
from stem_amqp.states import TaskState
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Publication, Transport
from stem_amqp.unique import Unique, key_of

log = logging.getLogger("stem_amqp.producer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of a task, ready to be enqueued.

    Args:
        task: the task's name.
        args: argument name to JSON value.
        options: the call's own options.
        definition: the task, where the producer has it.
        unique_key: the key that the worker lets go when the task has ended.
    """

    task: str
    args: Mapping[str, Any]
    options: CallOptions
    definition: TaskDefinition | None = None
    unique_key: str | None = None

    @property
    def unique(self) -> Unique | None:
        """How the call is unique, if it is."""
        own = self.options.unique
        if own is None and self.definition is not None:
            own = self.definition.options.unique
        if own is None and self.options.unique_key is not None:
            return Unique(until="finished")
        return own or None

    @property
    def ignore_result(self) -> bool:
        """Whether nothing about the task is stored."""
        own = self.options.ignore_result
        if own is None:
            return self.definition is not None and self.definition.options.ignore_result
        return own

    def same_by(self, unique: Unique) -> Mapping[str, Any] | str:
        """Return what makes another call the same as this one: arguments, or a key of its own.

        Raises:
            ConfigurationError: the call lacks an argument that it is to be unique by.
        """
        if self.options.unique_key is not None:
            return self.options.unique_key
        args = self.args
        if self.definition is not None:
            args = self.definition.arguments.with_defaults(args)
        return unique.chosen(self.task, args)

    def carried(self) -> dict[str, Any]:
        """Return the ``options`` of the message's body."""
        carried = self.options.carried()
        if self.unique_key is not None:
            carried[UNIQUE_KEY] = self.unique_key
        return carried


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Which task a message comes from, when a task enqueues another.

    Args:
        root: id of the task that began the chain.
        parent: id of the task that enqueues.
        meta: metadata that the new task inherits.
    """

    root: str
    parent: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Enqueued:
    """A call that the broker has confirmed.

    Args:
        message: the message as written.
        queue: the logical queue.
        ignore_result: whether nothing about it is stored.
        existing: whether an earlier call has enqueued it, and this one did not.
    """

    message: TaskMessage
    queue: str
    ignore_result: bool
    existing: bool = False


class Producer:
    """Writes task messages, publishes them and notes that they are queued.

    Args:
        transport: where to publish.
        backend: the result backend.
        writer: its batching writer.
        names: the names on the broker.
        topology: routes of tasks to queues.
        signals: the application's signals.
        default_queue: the queue of tasks that neither name one nor are routed.
        result_ttl: seconds that results are kept unless the task says otherwise.
        window: publishes in flight in bulk.
        max_body_size: bytes of a body at most.
        seal: signs and encrypts bodies; None leaves them as they are.
        middleware: what is around each publish.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        backend: ResultBackend,
        writer: ResultWriter,
        names: Names,
        topology: Topology,
        signals: Signals,
        default_queue: str,
        result_ttl: float,
        window: int,
        max_body_size: int,
        seal: Seal | None = None,
        middleware: Stack | None = None,
    ) -> None:
        self._transport = transport
        self._backend = backend
        self._writer = writer
        self._names = names
        self._topology = topology
        self._signals = signals
        self._default_queue = default_queue
        self._result_ttl = result_ttl
        self._window = window
        self._max_body_size = max_body_size
        self._seal = seal
        self._middleware = middleware or Stack()

    def queue_of(self, task: str, *preferred: str | None) -> str:
        """Return the logical queue of a task: the first preferred one, a route, or the default."""
        for queue in preferred:
            if queue is not None:
                return queue
        return self._topology.route(task) or self._default_queue

    async def enqueue(self, call: Call, lineage: Lineage | None = None) -> Enqueued:
        """Publish one call and wait for the broker's confirm.

        Args:
            call: the task, its arguments and options.
            lineage: the task that enqueues it, if one does.

        Raises:
            PublishError: the broker did not take it; the message names the way out.
            StemError: a middleware swallowed it.
            ConfigurationError: arguments or meta cannot be written as JSON.
            MessageTooLargeError: the body is larger than ``STEM_MAX_BODY_SIZE``; nothing was sent.
            DuplicateTaskError: it is unique, says so, and another one is on its way.
        """
        unique = call.unique
        if unique is None:
            return await self._enqueue(call, lineage)
        return await self._enqueue_unique(call, unique, lineage)

    async def _enqueue(self, call: Call, lineage: Lineage | None) -> Enqueued:
        if self._middleware.publishing:
            return await self._enqueue_inside(call, lineage)
        return await self._publish(call, lineage)

    async def _enqueue_inside(self, call: Call, lineage: Lineage | None) -> Enqueued:
        """Publish a call inside of the middleware."""
        options = call.options
        outgoing = OutgoingTask(
            id=options.task_id or new_id(),
            task=call.task,
            args=call.args,
            queue=self._queue_of_call(call),
            meta={**lineage.meta, **options.meta} if lineage else options.meta,
            headers=options.headers,
            priority=options.priority,
        )
        # What is inherited has gone through the middleware too, which may have left it out
        own = replace(lineage, meta={}) if lineage else None
        enqueued: list[Enqueued] = []

        async def publish(message: OutgoingTask) -> None:
            as_wanted = replace(call, options=changed(options, outgoing, message))
            enqueued.append(await self._publish(as_wanted, own))

        await self._middleware.publish(outgoing, publish)
        if not enqueued:
            raise StemError(
                f"task {call.task} was not enqueued: a middleware neither passed it on, with await"
                " call_next(message), nor said why by an exception"
            )
        return enqueued[0]

    async def _publish(self, call: Call, lineage: Lineage | None) -> Enqueued:
        enqueued, publication, transition = await self._compose(call, lineage)
        if self._signals.before_task_publish.active:
            await self._tell(self._signals.before_task_publish, enqueued)
        if transition is not None and self._backend.needs_reply:
            # It stays in this process, and a reply may be here before the confirm
            await self._note_queued(transition)
        try:
            await self._transport.publish(publication)
        except UnroutableError as error:
            raise UnroutableError(
                f"task {call.task} was not enqueued: there is no queue {enqueued.queue!r} in"
                f" namespace {self._names.namespace!r}. Name it in the topology file, or let a"
                " task or a worker declare it (stem-amqp topology apply)"
            ) from error
        if transition is not None and not self._backend.needs_reply:
            await self._note_queued(transition)
        if self._signals.after_task_publish.active:
            await self._tell(self._signals.after_task_publish, enqueued)
        return enqueued

    async def _enqueue_unique(
        self, call: Call, unique: Unique, lineage: Lineage | None
    ) -> Enqueued:
        task_id = call.options.task_id or new_id()
        key = key_of(self._names.namespace, call.task, call.same_by(unique))
        async with claimed(self._backend, key, task_id, unique.ttl) as first:
            if first == task_id:
                options = replace(call.options, task_id=task_id)
                carried = key if unique.until == "finished" else None
                own = replace(call, options=options, unique_key=carried)
                return await self._enqueue(own, lineage)
        if unique.second == "error":
            raise DuplicateTaskError(call.task, first)
        return Enqueued(
            message=TaskMessage(id=first, task=call.task, args=call.args),
            queue=self._queue_of_call(call),
            ignore_result=call.ignore_result,
            existing=True,
        )

    async def enqueue_many(
        self, calls: Iterable[Call], lineage: Lineage | None = None
    ) -> list[Enqueued]:
        """Publish many calls, a window of them at a time.

        Args:
            calls: read as the window moves.
            lineage: the task that enqueues them, if one does.

        Raises:
            EnqueueManyError: some were not taken; it says which were.
        """
        done: dict[int, Enqueued] = {}
        failed: dict[int, Exception] = {}
        pending = enumerate(calls)

        async def publish_next() -> None:
            for index, call in pending:
                try:
                    done[index] = await self.enqueue(call, lineage)
                except Exception as error:  # noqa: BLE001 - collected for the caller
                    failed[index] = error

        async with asyncio.TaskGroup() as group:
            for number in range(self._window):
                group.create_task(publish_next(), name=f"enqueue-many {number}")
        if failed:
            raise EnqueueManyError(done, failed)
        return [done[index] for index in sorted(done)]

    def handle(self, call: Call, enqueued: Enqueued) -> TaskHandle[Any]:
        """Return the handle of a call that was enqueued."""
        return TaskHandle(
            enqueued.message.id,
            backend=self._backend,
            task=call.task,
            queue=enqueued.queue,
            decode=call.definition.arguments.returns.validate_json if call.definition else None,
            ignore_result=enqueued.ignore_result,
            existing=enqueued.existing,
        )

    async def _compose(
        self, call: Call, lineage: Lineage | None
    ) -> tuple[Enqueued, Publication, Transition | None]:
        now = self._transport.clock.time()
        options = call.options
        queue, ignore = self._queue_of_call(call), call.ignore_result
        message = TaskMessage(
            id=options.task_id or new_id(),
            task=call.task,
            args=call.args,
            meta={**lineage.meta, **options.meta} if lineage else options.meta,
            enqueued_at=timestamp(now),
            root=lineage.root if lineage else None,
            parent=lineage.parent if lineage else None,
            expires=_expiry(now, options, call.definition),
            options=call.carried(),
        )
        reply_to = None
        if self._backend.needs_reply and not ignore:
            reply_to = await self._backend.reply_address()
        enqueued = Enqueued(message=message, queue=queue, ignore_result=ignore)
        publication = self._publication(enqueued, call, now, reply_to)
        transition = None if ignore else self._queued(enqueued, call, now, reply_to)
        return enqueued, publication, transition

    def _queue_of_call(self, call: Call) -> str:
        preferred = call.definition.options.queue if call.definition is not None else None
        return self.queue_of(call.task, call.options.queue, preferred)

    def _publication(
        self, enqueued: Enqueued, call: Call, now: float, reply_to: str | None
    ) -> Publication:
        options, message = call.options, enqueued.message
        exchange, key, headers = self._names.tasks, enqueued.queue, options.headers
        at = now + options.delay if options.delay else None
        if options.eta is not None:
            at = options.eta.timestamp()
        if at is not None and at > now:
            route = decimal_delay.route(decimal_delay.exact_units(at - now), enqueued.queue)
            exchange, key = self._names.delay_exchange(route.level), route.routing_key
            headers = {**headers, NOT_BEFORE: timestamp(at)}
        body = message.encode()
        if len(body) > self._max_body_size:
            raise message.too_large(len(body), self._max_body_size)
        priority = options.priority
        if priority is None and call.definition is not None:
            priority = call.definition.options.priority
        body, content_type = message.encode(), "application/json"
        if self._seal is not None:
            body, headers = self._seal.close(body, headers)
            content_type = SEALED_TYPE if self._seal.encrypts else content_type
        return Publication(
            exchange=exchange,
            routing_key=key,
            body=body,
            type=message.task,
            correlation_id=message.id,
            reply_to=reply_to,
            priority=priority,
            app_id=self._names.namespace,
            headers=headers,
            content_type=content_type,
        )

    def _queued(
        self, enqueued: Enqueued, call: Call, now: float, reply_to: str | None
    ) -> Transition:
        ttl = call.options.result_ttl
        if ttl is None and call.definition is not None:
            ttl = call.definition.options.result_ttl
        return Transition(
            task_id=enqueued.message.id,
            task=call.task,
            queue=enqueued.queue,
            state=TaskState.QUEUED,
            at=now,
            meta=enqueued.message.meta,
            ttl=ttl or self._result_ttl,
            reply_to=reply_to,
        )

    async def _note_queued(self, transition: Transition) -> None:
        """Store that the task is queued: it is, so a failing store is logged and not raised."""
        try:
            await self._writer.write(transition)
        except BackendError as error:
            log.warning(
                "task %s %s is enqueued, but its state could not be stored: %s",
                transition.task,
                transition.task_id,
                error,
            )

    async def _tell(self, signal: Signal, enqueued: Enqueued) -> None:
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


def _expiry(now: float, options: CallOptions, definition: TaskDefinition | None) -> str | None:
    expires = options.expires
    if expires is None and definition is not None:
        expires = definition.options.expires
    if expires is None:
        return None
    at = expires.timestamp() if isinstance(expires, datetime) else now + expires
    return timestamp(at)
