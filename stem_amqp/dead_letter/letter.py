"""One dead letter, decoded from a message in the dead-letter queue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stem_amqp.errors import DecodeError
from stem_amqp.messages.death import failure_time, reason_of, relevant_death
from stem_amqp.messages.message import (
    ATTEMPT,
    ERROR,
    HISTORY,
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
from stem_amqp.transport.delivery import Delivery


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One dead letter.

    Args:
        position: its position in the queue, counted from 1 at the head, which is the oldest.
        id: the task's id. If the body cannot be decoded, the AMQP ``correlation_id`` or
            ``message_id``, so that the letter can still be selected; None if it has neither.
        task: the task's name, from the body or else from the AMQP ``type``.
        reason: a value of `stem_amqp.states.Reason`, or ``unknown``.
        error: type and message of the last exception; None if RabbitMQ itself dead-lettered it.
        traceback: the worker's traceback as text, if there was one.
        failed_at: when it became a dead letter, in UTC; None if not recorded.
        attempt: its last attempt; 0 is the first run.
        replays: how often it was replayed before.
        worker: the worker that dead-lettered it; None if RabbitMQ did.
        history: the last failures, oldest first.
        meta: the caller's metadata.
        args: argument name to JSON value.
        enqueued_at: when the producer enqueued it; None if not recorded.
        composition: the id of the composition that it belongs to; None: of none.
        headers: the AMQP headers, unchanged.
        body: the bytes of the body, unchanged.
        problem: why the body cannot be decoded; None if it can.
        encryption: algorithm and key of an encrypted body; None if it is not encrypted.
        signature: whether the signature is valid, as text; None if not known.
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
    composition: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""
    problem: str | None = None
    encryption: str | None = None
    signature: str | None = None

    @property
    def size(self) -> int:
        """The size of the body in bytes."""
        return len(self.body)

    @property
    def decodable(self) -> bool:
        """Whether the body is a task message."""
        return self.problem is None

    @property
    def replayable(self) -> bool:
        """Whether a replay includes it by default: a worker may have the key of an encrypted body."""
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
        """Decode a message of a dead-letter queue; malformed content never raises.

        Args:
            delivery: the message.
            position: its position in the queue.
            work_queues: the broker names of the queue that it comes from, in all versions.
            seal: decrypts the body and verifies its signature; None without keys.
        """
        headers = delivery.headers
        report = _report(delivery, seal)
        message, problem = _decoded(report)
        death = relevant_death(headers, work_queues)
        history = headers.get(HISTORY)
        enqueued = message.enqueued_time if message else None
        return cls(
            position=position,
            id=message.id if message else delivery.correlation_id or delivery.message_id,
            task=message.task if message else delivery.type,
            reason=reason_of(headers, death),
            error=_text(headers.get(ERROR)),
            traceback=_text(headers.get(TRACEBACK)),
            failed_at=failure_time(headers, death),
            attempt=header_int(headers, ATTEMPT),
            replays=header_int(headers, REPLAYS),
            worker=_text(headers.get(WORKER)),
            history=tuple(map(str, history)) if isinstance(history, list) else (),
            meta=message.meta if message else {},
            args=message.args if message else {},
            enqueued_at=None if enqueued is None else datetime.fromtimestamp(enqueued, UTC),
            composition=message.links.composition if message and message.links else None,
            headers=headers,
            body=delivery.body,
            problem=problem,
            encryption=report.encryption,
            signature=report.signature,
        )


def _report(delivery: Delivery, seal: Seal | None) -> SealReport:
    if seal is not None:
        return seal.inspect(delivery.body, delivery.headers)
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
