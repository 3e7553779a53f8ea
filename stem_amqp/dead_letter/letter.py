"""One dead letter, read from what lies in the dead-letter queue."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stem_amqp.clock import parse_timestamp
from stem_amqp.errors import DecodeError
from stem_amqp.message import (
    ATTEMPT,
    ERROR,
    FAILED_AT,
    HISTORY,
    REASON,
    REPLAYS,
    TRACEBACK,
    WORKER,
    TaskMessage,
    decode,
    header_int,
)
from stem_amqp.signing.cipher import unknown_key
from stem_amqp.signing.seal import Seal, SealReport
from stem_amqp.signing.signer import ENCRYPTION
from stem_amqp.states import BROKER_REASONS
from stem_amqp.transport.base import Delivery

UNKNOWN = "unknown"
"""The reason of a letter that does not tell: neither a worker nor RabbitMQ dead-lettered it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One dead letter.

    Args:
        position: its place in the queue, counted from 1 at the head, where the oldest is.
        id: the task's id. Of a body that cannot be read, the AMQP ``correlation_id`` or
            ``message_id``, so that it can be chosen all the same; None if it has neither.
        task: the task's name, from the body or else from the AMQP ``type``.
        reason: a value of `stem_amqp.states.Reason`, or ``unknown``.
        error: type and message of the last exception; None where RabbitMQ itself dead-lettered it.
        traceback: the worker's traceback as text, if there was one.
        failed_at: when it became a dead letter, in UTC; None if it does not tell.
        attempt: the attempt that was its last, 0 for the first run.
        replays: how often it was replayed before.
        worker: the worker that gave it up; None where RabbitMQ did.
        history: the last failures, oldest first.
        meta: the caller's metadata.
        args: argument name to JSON value.
        enqueued_at: when the producer wrote it; None if it does not tell.
        headers: the AMQP headers as they are.
        body: the bytes as they are.
        problem: why the body cannot be read; None if it can.
        encryption: algorithm and key that the body is encrypted with; None if it is not.
        signature: whether the signature is valid, in words; None where that is not known.
    """

    position: int
    id: str | None
    task: str | None
    reason: str
    error: str | None = None
    traceback: str | None = None
    failed_at: datetime | None = None
    attempt: int = 0
    replays: int = 0
    worker: str | None = None
    history: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)
    enqueued_at: datetime | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""
    problem: str | None = None
    encryption: str | None = None
    signature: str | None = None

    @property
    def size(self) -> int:
        """The bytes of the body."""
        return len(self.body)

    @property
    def decodable(self) -> bool:
        """Whether the body is a task message."""
        return self.problem is None

    @property
    def replayable(self) -> bool:
        """Whether a replay takes it unasked: what is encrypted may be readable to its worker."""
        return self.decodable or self.encryption is not None

    @classmethod
    def read(
        cls,
        delivery: Delivery,
        *,
        position: int,
        work_queues: Collection[str],
        seal: Seal | None = None,
    ) -> DeadLetter:
        """Read what lies in a dead-letter queue; nothing in it can make this fail.

        Args:
            delivery: the message.
            position: its place in the queue.
            work_queues: the names on the broker of the queue that it comes from, in all versions.
            seal: decrypts the body and judges its signature, where there are keys.
        """
        headers = delivery.headers
        report = _report(delivery, seal)
        message, problem = _decoded(report)
        death = _death(headers, work_queues)
        history = headers.get(HISTORY)
        moment = message.enqueued_time if message else None
        return cls(
            position=position,
            id=message.id if message else delivery.correlation_id or delivery.message_id,
            task=message.task if message else delivery.type,
            reason=_reason(headers, death),
            error=_text(headers.get(ERROR)),
            traceback=_text(headers.get(TRACEBACK)),
            failed_at=_failed_at(headers, death),
            attempt=header_int(headers, ATTEMPT),
            replays=header_int(headers, REPLAYS),
            worker=_text(headers.get(WORKER)),
            history=tuple(map(str, history)) if isinstance(history, list) else (),
            meta=message.meta if message else {},
            args=message.args if message else {},
            enqueued_at=None if moment is None else datetime.fromtimestamp(moment, UTC),
            headers=headers,
            body=delivery.body,
            problem=problem,
            encryption=report.encryption,
            signature=report.signature,
        )


def _report(delivery: Delivery, seal: Seal | None) -> SealReport:
    if seal is not None:
        return seal.look(delivery.body, delivery.headers)
    encryption = _text(delivery.headers.get(ENCRYPTION))
    return SealReport(
        body=delivery.body,
        encryption=encryption,
        problem=None if encryption is None else unknown_key(delivery.headers),
    )


def _decoded(report: SealReport) -> tuple[TaskMessage | None, str | None]:
    if report.problem is not None:
        return None, report.problem
    try:
        return decode(report.body), None
    except DecodeError as error:
        return None, error.problem


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _death(headers: Mapping[str, Any], work_queues: Collection[str]) -> Mapping[str, Any]:
    """Return RabbitMQ's record of the death that counts.

    A message that waited in a delay queue has died there too, of its TTL, and first: so it is the
    record of the work queue that tells, and only without one the newest.
    """
    deaths = list(_deaths(headers))
    own = (death for death in deaths if death.get("queue") in work_queues)
    return next(own, deaths[0] if deaths else {})


def _deaths(headers: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    recorded = headers.get("x-death")
    if isinstance(recorded, list):
        yield from (death for death in recorded if isinstance(death, Mapping))


def _reason(headers: Mapping[str, Any], death: Mapping[str, Any]) -> str:
    own = headers.get(REASON)
    if own is not None:
        return str(own)
    of_broker = death.get("reason", headers.get("x-first-death-reason"))
    if of_broker is None:
        return UNKNOWN
    known = BROKER_REASONS.get(str(of_broker))
    return known.value if known is not None else str(of_broker)


def _failed_at(headers: Mapping[str, Any], death: Mapping[str, Any]) -> datetime | None:
    text = headers.get(FAILED_AT)
    if text is not None:
        try:
            return datetime.fromtimestamp(parse_timestamp(str(text)), UTC)
        except ValueError:
            return None
    moment = death.get("time")
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return None
