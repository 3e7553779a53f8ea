"""Errors of the result backend."""

from __future__ import annotations

from stem_amqp.errors.base import StemError
from stem_amqp.errors.message import SignatureError


class BackendError(StemError):
    """The result backend failed."""


class BackendUnavailableError(BackendError):
    """The result backend cannot be reached."""


class ReplyRefusedError(BackendError):
    """The broker refuses a reply: its queue is full, or the worker may not write to it."""


class ResultUnavailableError(BackendError):
    """This backend cannot provide the answer; the message names one that can."""


class ResultSignatureError(ResultUnavailableError, SignatureError):
    """The signature of a task's stored outcome is missing or invalid."""
