"""The answer of a worker to a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

ANSWER = "stem.answer"
"""AMQP ``type`` of an answer."""
ANSWER_BYTES = 512 * 1024
"""The most bytes of an answer; a larger one is neither written nor read."""


def answer_key(reply_to: str) -> str:
    """Return the routing key on the events exchange of answers for a reply queue.

    A worker whose user may not write to the default exchange answers through the events exchange.

    Args:
        reply_to: the reply queue.
    """
    return f"answer.{reply_to.rpartition('.')[2]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer as it travels.

    Args:
        nonce: the nonce of the command.
        worker: the worker's name.
        host: its host.
        pid: the id of its process.
        error: why it did not carry out the command; None if it did.
        value: the fields of the result; see `stem_amqp.messages.answers`.
    """

    nonce: str
    worker: str
    host: str = ""
    pid: int = 0
    error: str | None = None
    value: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Write it."""
        return orjson.dumps(self)

    @staticmethod
    def decode(body: bytes) -> Reply | None:
        """Read an answer; None if it is none. Any client that may publish can have written it."""
        if len(body) > ANSWER_BYTES:
            return None
        try:
            return _reader().validate_json(body)
        except ValidationError:
            return None


@cache
def _reader() -> TypeAdapter[Reply]:
    return TypeAdapter(Reply)
