"""Errors in a message that a worker received."""

from __future__ import annotations

from stem_amqp.errors.base import StemError


class DecodeError(StemError):
    """A message body is not a task message.

    Args:
        problem: the problem.
        body: the received bytes.
    """

    def __init__(self, problem: str, body: bytes) -> None:
        super().__init__(problem)
        self.problem = problem
        self.body = body


class SignatureError(StemError):
    """The signature of a message is missing, invalid, or made with a key that is not accepted."""


class ReplayedMessageError(SignatureError):
    """A signed publish was received before, or too late, and is not run."""


class NotEncryptedError(SignatureError):
    """A body is not encrypted, but encryption is required."""


class UnknownTaskError(StemError):
    """No task with that name is registered."""


class ArgumentsError(StemError):
    """Arguments do not fit the task's signature; the task is not retried."""
