"""Reads the task message of a delivery: limits, signature and decryption, body, options."""

from __future__ import annotations

from stem_amqp.errors import (
    ConfigurationError,
    DecodeError,
    NotEncryptedError,
    ReplayedMessageError,
    SignatureError,
)
from stem_amqp.messages.limits import DEFAULT_LIMITS, IncomingLimits
from stem_amqp.messages.message import TaskMessage, decode
from stem_amqp.outcome import Dead, Failure
from stem_amqp.signing.cipher import unknown_key
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import ENCRYPTION
from stem_amqp.states import Reason
from stem_amqp.tasks.options import check_carried
from stem_amqp.worker.job import Job
from stem_amqp.worker.running.failure import describe


class Reader:
    """Reads task messages.

    Args:
        seal: verifies and decrypts bodies; None reads plain bodies.
        limits: how large and how deeply nested a message may be.
    """

    def __init__(self, seal: Seal | None = None, limits: IncomingLimits = DEFAULT_LIMITS) -> None:
        self._seal = seal
        self._limits = limits

    def read(self, job: Job) -> TaskMessage:
        """Return the message in a job's body, without changing the job.

        Args:
            job: the job.

        Raises:
            SignatureError: the body is not signed or encrypted, or not correctly.
            DecodeError: the body is not a task message, or exceeds a limit.
        """
        self._limits.check_delivery(job.body, job.headers)
        body = job.body if self._seal is None else self._seal.open(job.body, job.headers)
        message = decode(body, self._limits)
        if message.options:
            _check_options(message, job.body)
        return message

    def unreadable(self, job: Job, error: SignatureError | DecodeError) -> Dead:
        """Return the outcome of a message that is refused or malformed; mark a job that is not signed.

        Args:
            job: the job.
            error: the error that `read` raised.
        """
        if isinstance(error, SignatureError):
            job.untrusted = True
            return Dead(reason=_refusal(error), failure=Failure(error=str(error)))
        job.untrusted = self._seal is not None and not self._seal.signed(job.headers)
        encrypted = self._seal is None and ENCRYPTION in job.headers
        why = unknown_key(job.headers) if encrypted else describe(error)
        return Dead(reason=Reason.UNDECODABLE, failure=Failure(error=why))


def _refusal(error: SignatureError) -> Reason:
    if isinstance(error, ReplayedMessageError):
        return Reason.REPLAYED
    return (
        Reason.NOT_ENCRYPTED if isinstance(error, NotEncryptedError) else Reason.SIGNATURE_INVALID
    )


def _check_options(message: TaskMessage, body: bytes) -> None:
    try:
        check_carried(message.options)
    except ConfigurationError as error:
        raise DecodeError(str(error), body) from error
