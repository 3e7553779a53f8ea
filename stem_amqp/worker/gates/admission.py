"""Admits signed publishes: for this queue, in time, and only once.

The signature covers what a publish may do (`stem_amqp.signing.publish`). The worker's memory holds
the publishes that were processed, and so does the result backend if the settings say so.
"""

from __future__ import annotations

import logging

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import parse_timestamp
from stem_amqp.connected import Connected
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ConfigurationError, ReplayedMessageError, SignatureError
from stem_amqp.messages.message import NOT_BEFORE, REPEATED, TaskMessage
from stem_amqp.results.base import ResultBackend
from stem_amqp.settings import ReplayMemory
from stem_amqp.signing.memory import NonceMemory, Taken
from stem_amqp.signing.publish import MARK, Stamp, queue_of
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.transport.stamp import signed_part
from stem_amqp.worker.follow_up.persist import Persistence
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

_DONE = b"1"


class Admission:
    """Decides whether a message with a verified body is processed, and remembers those that were.

    Args:
        blueprint: the application.
        connected: its open connections.
        seal: the keys.
        worker: the worker's name.

    Raises:
        ConfigurationError: this worker's retries would be refused, or the backend keeps no keys.
    """

    def __init__(
        self, blueprint: Blueprint, connected: Connected, seal: Seal, *, worker: str
    ) -> None:
        settings = blueprint.settings
        self.seal = seal
        self._window = settings.signature_window
        self._clock = connected.transport.clock
        self._worker = worker
        self._namespace = settings.namespace
        self._memory = NonceMemory()
        everywhere = settings.replay_memory is ReplayMemory.BACKEND
        self._backend = connected.backend if everywhere else None
        self._persistence = Persistence(15.0)
        # Messages from bindings of the application were published for another queue
        self._open = {one.destination for one in blueprint.topology.bindings if one.to == "queue"}
        self._check()

    def _check(self) -> None:
        keys = self.seal.ring.current
        if self.seal.signs_all and keys.publishing is None:
            raise ConfigurationError(
                "this worker verifies each publish of a task and cannot sign one: its retries would be"
                " refused\n  Give it an active key of its own (use: publishes), or set"
                " STEM_SIGNATURES=transition on all processes."
            )
        if self._backend is not None and not self._backend.keeps_keys:
            raise ConfigurationError(
                "STEM_REPLAY_MEMORY=backend needs a result backend that stores keys\n"
                "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///."
            )

    async def admits(self, job: Job, message: TaskMessage) -> bool:
        """Return whether a job must be processed; False if it was processed before.

        Args:
            job: the job.
            message: its message, whose body is verified.

        Raises:
            SignatureError: its publish is not signed, or not correctly.
            ReplayedMessageError: it is a copy, or arrives too late.
        """
        stamp = self._stamp(job, message)
        if stamp is None:
            return True
        self._check_time(job, stamp)
        again = job.redelivered or REPEATED in job.headers
        taken, job.nonce = self._memory.take(stamp.nonce), stamp.nonce
        if taken is Taken.RUNNING and job.redelivered:
            # The channel of the first delivery is closed; that delivery can no longer be settled
            taken = Taken.NEW
        if taken is Taken.NEW and self._backend is not None:
            taken = await self._take_in_backend(self._backend, job, stamp)
        if taken is Taken.NEW:
            return True
        job.nonce = None
        if again:
            return False
        raise ReplayedMessageError(
            f"this publish was received before: this is a copy ({stamp.nonce}, signed by {stamp.key_id})"
        )

    async def ended(self, job: Job, *, done: bool) -> None:
        """Remember that a job was processed, or forget it if it is delivered again.

        Args:
            job: the job.
            done: whether it was processed.
        """
        nonce, job.nonce = job.nonce, None
        if nonce is None:
            return
        self._memory.end(nonce, done=done)
        if self._backend is None:
            return
        key, owner = self._key(nonce), self._worker
        try:
            if done:
                await self._backend.keep_key(key, owner, ttl=self._window, value=_DONE)
            else:
                await self._backend.release_key(key, owner)
        except Exception:
            log.exception("%s: its end could not be stored for the other workers", job)

    def _stamp(self, job: Job, message: TaskMessage) -> Stamp | None:
        audience = job.queue
        if job.queue in self._open:
            audience = queue_of(job.headers) or job.queue
        publish = signed_part(job, audience)
        marked = message.extra.get(MARK) is True
        return self.seal.check(publish, domain=Domain.PUBLISH, marked=marked)

    def _check_time(self, job: Job, stamp: Stamp) -> None:
        due = stamp.at
        if NOT_BEFORE in job.headers:
            try:
                due = max(due, parse_timestamp(str(job.headers[NOT_BEFORE])))
            except ValueError:
                raise SignatureError(f"the header {NOT_BEFORE} is not a valid time") from None
        late = self._clock.time() - due - self._window
        if late > 0:
            raise ReplayedMessageError(
                f"the publish was due {format_seconds(round(late + self._window))} ago, and is accepted"
                f" within {format_seconds(self._window)} only (STEM_SIGNATURE_WINDOW)"
            )

    async def _take_in_backend(self, backend: ResultBackend, job: Job, stamp: Stamp) -> Taken:
        """Take a nonce for all workers; a redelivery takes it over from a worker that died."""
        key = self._key(stamp.nonce)
        found: list[Taken] = []

        async def take() -> None:
            record = await backend.claim_key(key, self._worker, ttl=self._window)
            if record.value is not None:
                found.append(Taken.DONE)
            elif record.owner != self._worker and job.redelivered:
                await backend.release_key(key, record.owner)
                await backend.claim_key(key, self._worker, ttl=self._window)
                found.append(Taken.NEW)
            else:
                found.append(Taken.NEW if record.owner == self._worker else Taken.RUNNING)

        await self._persistence.take(job, take)
        if found[-1] is not Taken.NEW:
            self._memory.end(stamp.nonce, done=found[-1] is Taken.DONE)
        return found[-1]

    def _key(self, nonce: str) -> str:
        return f"publish:{self._namespace}:{nonce}"
