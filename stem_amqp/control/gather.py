"""Send a command, and gather answers until all known workers have answered or the deadline passes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from fnmatch import fnmatchcase
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from typing_extensions import override

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.control.gathered import Answer, Answers, Unanswered
from stem_amqp.control.keywords import To
from stem_amqp.durations import format_seconds
from stem_amqp.errors import BrokerError, StemError, UnroutableError
from stem_amqp.messages.commands import ANSWER, Command, Reply, answer_key, signed_part
from stem_amqp.observability.keys import event_key
from stem_amqp.observability.registry.heartbeat import KEY, Heartbeat
from stem_amqp.observability.registry.listing import SETTLE, consumers_of
from stem_amqp.observability.registry.watch import KEPT, Seen, WorkerWatch
from stem_amqp.signing.signer import Domain
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication

T = TypeVar("T")

RECOUNT = 1.0
"""Seconds until the consumers are counted again, while there are more than the known workers explain."""


class Gathering(WorkerWatch):
    """The answers to one command, beside the heartbeats of the workers; made by `gathering`.

    Args:
        blueprint: the application.
        connected: its connections.
        to: who is meant.
        queue: the queue for answers and heartbeats.
    """

    def __init__(self, blueprint: Blueprint, connected: Connected, to: To, queue: str) -> None:
        super().__init__(connected.transport, blueprint.names, connected.seal, queue)
        self.queue = queue
        self.consumers: Mapping[str, int] = {}
        self._blueprint = blueprint
        self._connected = connected
        self._to = to
        self._nonce = ""
        self._sent = 0.0
        self._routed = False
        self._consumed: dict[tuple[str, str, int], frozenset[str]] = {}
        self._replies: dict[tuple[str, str, int], tuple[Reply, float]] = {}

    @override
    def take(self, delivery: Delivery) -> None:
        if delivery.type != ANSWER:
            super().take(delivery)
            return
        reply = Reply.decode(delivery.body)
        if reply is not None and reply.nonce == self._nonce:
            self._replies[reply.worker, reply.host, reply.pid] = reply, time.monotonic()
            self.changed()

    @override
    def note(self, heartbeat: Heartbeat) -> None:
        # One that stops has consumed, and may have been counted on the broker a moment ago
        stops = heartbeat.state != "running"
        queues = frozenset(heartbeat.queues if stops else heartbeat.consuming)
        key = heartbeat.name, heartbeat.host, heartbeat.pid
        self._consumed[key] = self._consumed.get(key, frozenset()) | queues
        super().note(heartbeat)

    def meant(self) -> tuple[Seen, ...]:
        """Return the known workers that are meant."""
        return tuple(
            seen
            for seen in self.workers
            if self._is_meant(seen.heartbeat.name, seen.heartbeat.queues)
        )

    def _is_meant(self, worker: str, queues: Mapping[str, int]) -> bool:
        globs, wanted = self._to.workers, self._to.queues
        return (not globs or any(fnmatchcase(worker, glob) for glob in globs)) and (
            not wanted or any(queue in wanted for queue in queues)
        )

    def _waiting_for(self) -> list[Seen]:
        return [seen for seen in self.meant() if _key(seen) not in self._replies]

    def _silent(self) -> dict[str, int]:
        """Return the consumers of unknown workers; with globs of names, they may be others."""
        return {} if self._to.workers else self.silent(self.consumers)

    @override
    def silent(self, consumers: Mapping[str, int]) -> dict[str, int]:
        known = Counter(queue for queues in self._consumed.values() for queue in queues)
        missing = {queue: number - known[queue] for queue, number in consumers.items()}
        return {queue: number for queue, number in missing.items() if number > 0}

    def complete(self) -> bool:
        """Return whether all known workers that are meant have answered.

        A command that RabbitMQ has routed is in the queue of a worker. RabbitMQ counts the consumers of a
        worker that has just started late, so that nothing else may be known of it yet.
        """
        unheard = self._routed and not self.workers and not self._replies
        return not unheard and not self._waiting_for() and not self._silent()

    async def send(self, command: Command, nonce: str) -> bool:
        """Publish a command; answers to it are gathered from now on.

        Args:
            command: the command.
            nonce: its nonce.

        Returns:
            Whether there is a worker that receives it.

        Raises:
            BrokerError: the broker did not confirm it.
        """
        self._nonce, self._sent = nonce, time.monotonic()
        self._routed = await publish_command(self._blueprint, self._connected, command, self.queue)
        return self._routed

    async def wait(self) -> None:
        """Wait until all known workers that are meant have answered, or the time is over."""
        end = time.monotonic() + self._to.timeout
        await asyncio.sleep(min(SETTLE, self._to.timeout))
        while not await self.until(self.complete, min(RECOUNT, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                return
            if self._silent():
                await self._recount()

    async def count(self) -> None:
        """Ask the broker for the number of consumers of each queue.

        Raises:
            BrokerError: it does not answer.
        """
        names, topology = self._blueprint.names, self._blueprint.topology
        wanted = self._to.queues or self._blueprint.queues
        versions = {name: topology.queue(name).version for name in wanted}
        self.consumers = await consumers_of(self._connected.transport, names, versions)

    async def _recount(self) -> None:
        """Leave out consumers that are gone: a worker may have paused between the count and its heartbeat."""
        before = self.consumers
        with suppress(BrokerError):
            await self.count()
            # one that starts now does not get the command
            self.consumers = {
                queue: min(number, before.get(queue, 0)) for queue, number in self.consumers.items()
            }

    def answers(self, reader: TypeAdapter[T]) -> tuple[Answer[T], ...]:
        """Return the answers, by the workers' names.

        Args:
            reader: reads their values.
        """
        found = sorted(self._replies.values(), key=lambda one: (one[0].worker, one[0].pid))
        return tuple(self._answer(reply, at, reader) for reply, at in found)

    def _answer(self, reply: Reply, at: float, reader: TypeAdapter[T]) -> Answer[T]:
        value, error = None, reply.error
        if error is None:
            try:
                value = reader.validate_python(reply.value)
            except ValidationError as wrong:
                error = f"its answer cannot be read: {wrong.errors(include_url=False)[0]['msg']}"
        return Answer(
            worker=reply.worker,
            host=reply.host,
            pid=reply.pid,
            seconds=round(at - self._sent, 4),
            value=value,
            error=error,
        )

    def unanswered(self) -> tuple[Unanswered, ...]:
        """Return the known workers that are meant and have not answered."""
        return tuple(
            Unanswered(
                worker=seen.heartbeat.name,
                host=seen.heartbeat.host,
                pid=seen.heartbeat.pid,
                why=_why(seen),
            )
            for seen in self._waiting_for()
        )

    def result(self, command: str, issuer: str, at: float, reader: TypeAdapter[T]) -> Answers[T]:
        """Return what came of the command.

        Args:
            command: what it asked for.
            issuer: who sent it.
            at: when, in seconds since the epoch.
            reader: reads the values of the answers.
        """
        return Answers(
            command=command,
            nonce=self._nonce,
            issuer=issuer,
            at=at,
            answers=self.answers(reader),
            unanswered=self.unanswered(),
            silent=self._silent(),
        )


@asynccontextmanager
async def gathering(blueprint: Blueprint, connected: Connected, to: To) -> AsyncIterator[Gathering]:
    """Gather answers and heartbeats for a block; the workers were asked for their heartbeats.

    Args:
        blueprint: the application.
        connected: its connections.
        to: who is meant.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access.
    """
    names, transport = blueprint.names, connected.transport
    queue = f"{names.control}.ask-{secrets.token_hex(6)}"
    found = Gathering(blueprint, connected, to, queue)
    keys = (event_key(KEY, "#"), answer_key(queue))
    async with transport.subscribe(queue, found.take, exchange=names.events, keys=keys, limit=KEPT):
        await found.count()
        await found.ask()
        yield found


async def publish_command(
    blueprint: Blueprint, connected: Connected, command: Command, reply_to: str | None
) -> bool:
    """Publish a command, signed if there is a key; return whether a worker receives it.

    Args:
        blueprint: the application.
        connected: its connections.
        command: the command.
        reply_to: the queue for answers.

    Raises:
        ConfigurationError: the command is too large.
        StemError: the control exchange does not exist.
        BrokerError: the broker did not confirm it.
    """
    body, transport, names = command.encode(), connected.transport, blueprint.names
    headers: dict[str, str] = {}
    if connected.seal is not None:
        part = signed_part(body, None, {}, type=command.TYPE, reply_to=reply_to)
        headers = connected.seal.stamp(part, domain=Domain.COMMAND, at=transport.clock.time())
    publication = Publication(
        exchange=names.control,
        routing_key="",
        body=body,
        type=command.TYPE,
        reply_to=reply_to,
        app_id=names.namespace,
        headers=headers,
    )
    try:
        await transport.publish(publication)
    except UnroutableError as error:
        if names.control in error.missing:
            raise StemError(
                f"the command was not sent: {error}\n  The exchange was deleted. Once it exists again,"
                " workers bind to it within STEM_PROVISION_INTERVAL; then try again"
            ) from error
        return False
    return True


def _key(seen: Seen) -> tuple[str, str, int]:
    return seen.heartbeat.name, seen.heartbeat.host, seen.heartbeat.pid


def _why(seen: Seen) -> str:
    worker = seen.heartbeat
    if worker.blocked is not None:
        task = f" by {worker.blocked.task}" if worker.blocked.task else ""
        return f"its event loop is blocked{task} for {format_seconds(worker.blocked.seconds)}"
    if not worker.version or worker.version == "0.1.0":
        return "it may be of an earlier release, which does not know the command"
    return "it refuses the command, as an unsigned one, or may not answer; see its log"
