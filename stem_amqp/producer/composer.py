"""Write the message of a call, and the state that is stored for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import Clock, timestamp
from stem_amqp.messages.message import NOT_BEFORE, TaskMessage, new_id
from stem_amqp.observability import Publishing
from stem_amqp.results.base import ResultBackend, Transition
from stem_amqp.signing.seal import SEALED_TYPE, Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.states import TaskState
from stem_amqp.tasks.call import Call, Enqueued, Lineage
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import CallOptions
from stem_amqp.topology.delay_router import DelayRouter
from stem_amqp.transport.publication import Publication
from stem_amqp.transport.stamp import stamped


class Composer:
    """Writes the messages of calls.

    Args:
        blueprint: the application.
        clock: the time of day.
        backend: the result backend; with ``rpc://`` it has an address for replies.
        seal: signs and encrypts messages; None without keys.
    """

    def __init__(
        self, blueprint: Blueprint, clock: Clock, backend: ResultBackend, seal: Seal | None
    ) -> None:
        self._blueprint = blueprint
        self._clock = clock
        self._backend = backend
        self._seal = seal
        self._names = blueprint.names
        self._router = DelayRouter(blueprint.names, blueprint.topology)
        self._result_ttl = blueprint.settings.result_ttl
        self._max_body_size = blueprint.settings.max_body_size
        self._known: tuple[int, frozenset[str]] = (-1, frozenset())

    def queue_of(self, call: Call) -> str:
        """Return the logical queue of a call: its own, its task's, by a route, or the default one.

        Args:
            call: the call.
        """
        if call.options.queue is not None:
            return call.options.queue
        if call.definition is not None and call.definition.options.queue is not None:
            return call.definition.options.queue
        return self._blueprint.queue_named(call.task)

    def knows(self, queue: str) -> bool:
        """Return whether a logical queue is one of the application's."""
        tasks = len(self._blueprint.registry)
        if self._known[0] != tasks:  # a task that was added may name a queue
            self._known = (tasks, frozenset(self._blueprint.queues))
        return queue in self._known[1]

    async def compose(
        self, call: Call, lineage: Lineage | None, publishing: Publishing | None = None
    ) -> tuple[Enqueued, Publication, Transition | None]:
        """Return the call with its message, the publication, and the state to store.

        Args:
            call: the task, its arguments and options.
            lineage: the task that enqueues the call, if a task does.
            publishing: the publish as exporters see it, if there are any; it gets the message.

        Returns:
            The state is None if the task's result is ignored.

        Raises:
            ConfigurationError: arguments or meta cannot be written as JSON, or a key is missing.
            MessageTooLargeError: the body is larger than ``STEM_MAX_BODY_SIZE``.
        """
        now = self._clock.time()
        options = call.options
        queue, ignore = self.queue_of(call), call.ignore_result
        message = TaskMessage(
            id=options.task_id or new_id(),
            task=call.task,
            args=call.args,
            meta={**lineage.meta, **options.meta} if lineage else options.meta,
            enqueued_at=timestamp(now) if call.origin is None else call.origin.enqueued_at,
            root=lineage.root if lineage else None,
            parent=lineage.parent if lineage else None,
            expires=_expiry(now, options, call.definition),
            options=call.carried(),
            group=call.group,
            links=call.links,
            extra={} if self._seal is None else self._seal.mark,
        )
        reply_to = None
        if self._backend.needs_reply and not ignore:
            reply_to = await self._reply_to(call)
        enqueued = Enqueued(message=message, queue=queue, ignore_result=ignore)
        extra = {} if publishing is None else publishing.headers
        publication = self._publication(enqueued, call, now, reply_to, extra)
        if publishing is not None:
            publishing.message, publishing.size = message, len(publication.body)
        if ignore or (call.origin is not None and self._backend.needs_reply):
            # The producer of a composition waits for the end of a link only
            return enqueued, publication, None
        return enqueued, publication, self._queued(enqueued, call, now, reply_to)

    async def _reply_to(self, call: Call) -> str | None:
        """Return where the producer waits for the reply; that of a composition waits for all its links."""
        return await self._backend.reply_address() if call.origin is None else call.origin.reply_to

    def _publication(
        self,
        enqueued: Enqueued,
        call: Call,
        now: float,
        reply_to: str | None,
        extra: Mapping[str, str],
    ) -> Publication:
        options, message = call.options, enqueued.message
        exchange, key = self._names.tasks, enqueued.queue
        headers = {**extra, **options.headers} if extra else options.headers
        at = now + options.delay if options.delay else None
        if options.eta is not None:
            at = options.eta.timestamp()
        if at is not None and at > now:
            exchange, key = self._router.after(enqueued.queue, at - now)
            headers = {**headers, NOT_BEFORE: timestamp(at)}
        body = message.encode()
        if len(body) > self._max_body_size:
            raise message.too_large(len(body), self._max_body_size)
        priority = options.priority
        if priority is None and call.definition is not None:
            priority = call.definition.options.priority
        publication = Publication(
            exchange=exchange,
            routing_key=key,
            body=body,
            type=message.task,
            correlation_id=message.id,
            reply_to=reply_to,
            priority=priority,
            app_id=self._names.namespace,
            headers=headers,
        )
        if self._seal is None:
            return publication
        return _sealed(self._seal, publication, enqueued.queue, now)

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
            replay=0 if call.origin is None else call.origin.replay,
            at=now,
            meta=enqueued.message.meta,
            ttl=ttl or self._result_ttl,
            reply_to=reply_to,
        )


def _sealed(seal: Seal, publication: Publication, queue: str, now: float) -> Publication:
    """Return a publication with body and publish encrypted and signed, as the settings say.

    Args:
        seal: the keys, and what to sign and encrypt.
        publication: the plain publication.
        queue: the logical queue.
        now: seconds since the epoch.

    Raises:
        ConfigurationError: a key is missing.
    """
    body, headers = seal.close(publication.body, publication.headers)
    closed = replace(
        publication,
        body=body,
        headers=headers,
        content_type=SEALED_TYPE if seal.encrypts else publication.content_type,
    )
    return stamped(seal, closed, queue, domain=Domain.PUBLISH, at=now)


def _expiry(now: float, options: CallOptions, definition: TaskDefinition | None) -> str | None:
    expires = options.expires
    if expires is None and definition is not None:
        expires = definition.options.expires
    if expires is None:
        return None
    at = expires.timestamp() if isinstance(expires, datetime) else now + expires
    return timestamp(at)
