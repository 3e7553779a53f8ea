"""Publishes what follows a job, with headers that fit and a signature, until it is confirmed."""

from __future__ import annotations

import math
from dataclasses import replace

from stem_amqp.connected import Connected
from stem_amqp.signing.publish import MARK, PUBLISH
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.topology.names import Names
from stem_amqp.transport.publication import Publication
from stem_amqp.transport.stamp import stamped
from stem_amqp.worker.follow_up.persist import OnFailure, Persistence
from stem_amqp.worker.follow_up.republish import fitted
from stem_amqp.worker.job import Job

_SIGNATURE_ROOM = 1024
"""The maximum number of bytes that the signature of a publish takes in the headers."""


class FollowUpPublisher:
    """Publishes the next runs and the dead letters of jobs.

    Args:
        connected: the broker, and the seal that signs publishes.
        names: the names on the broker.
        persistence: repeats a publish that fails.
    """

    def __init__(self, connected: Connected, names: Names, persistence: Persistence) -> None:
        self._transport = connected.transport
        self._seal = connected.seal
        self._names = names
        self._persistence = persistence

    async def publish(
        self,
        job: Job,
        publication: Publication,
        on_failure: OnFailure | None = None,
        *,
        unroutable_for: float = math.inf,
    ) -> None:
        """Publish a message, and return once the broker has confirmed it.

        Args:
            job: the job that the message follows.
            publication: the message.
            on_failure: called with each failure after which the message is published again.
            unroutable_for: seconds after which an unroutable message is given up.

        Raises:
            UnroutableError: the message was unroutable for that long.
            BrokerRefusedError: the broker has refused it for `REFUSED_FOR` seconds.
            StemError: it can never be published, or the delivery is stale.
        """
        limit = self._transport.largest_headers - (0 if self._seal is None else _SIGNATURE_ROOM)
        headers = publication.headers
        if job.next_headers:
            headers = {**headers, **job.next_headers}
        fitting = replace(publication, headers=fitted(headers, limit))
        if self._seal is not None and not job.untrusted:
            fitting = self._signed(self._seal, job, fitting)
        await self._persistence.take(
            job,
            lambda: self._transport.publish(fitting),
            on_failure,
            unroutable_for=unroutable_for,
        )

    def _signed(self, seal: Seal, job: Job, publication: Publication) -> Publication:
        """Return a publication, signed if the publish of the job's message was signed."""
        marked = job.message is not None and MARK in job.message.extra
        if not marked and PUBLISH not in publication.headers:
            return publication
        dead = publication.exchange == self._names.dead
        return stamped(
            seal,
            publication,
            job.queue,
            domain=Domain.DEAD_LETTER if dead else Domain.PUBLISH,
            at=self._transport.clock.time(),
        )
