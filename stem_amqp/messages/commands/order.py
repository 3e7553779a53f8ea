"""What every command of `stem_amqp.control` has: issuer, time, targets and deadline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

import orjson
from pydantic import Field
from typing_extensions import override

from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.commands.base import COMMAND_BYTES, Command

COMMAND = "stem.command"
"""AMQP ``type`` of an `Order`."""
ISSUER_BYTES = 128
"""The largest size of an issuer's name in bytes."""
SKEW = 30.0
"""Seconds by which the clocks of two hosts may differ: a worker obeys a command until its deadline and
this time."""
_MOST_TARGETS = 100

Word = Annotated[str, Field(min_length=1, max_length=255)]
"""A name or a glob in a command."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order(Command):
    """A command to some workers, of which each carries it out once and answers.

    Args:
        nonce: different for each command; answers have it as AMQP ``correlation_id``.
        issuer: who sends it, for logs, events and the history.
        at: when it was sent, in seconds since the epoch.
        deadline: until when the issuer waits for answers, in seconds since the epoch.
        queues: the logical queues whose workers obey; empty: of any queue.
        workers: globs of the names of the workers that obey; empty: of any name.
    """

    TYPE: ClassVar[str] = COMMAND
    NAME: ClassVar[str] = ""
    recorded: ClassVar[bool] = True
    """Whether a worker logs, counts and announces that it has carried it out."""

    nonce: Annotated[str, Field(min_length=8, max_length=64)]
    issuer: Annotated[str, Field(max_length=ISSUER_BYTES)]
    at: float
    deadline: float
    queues: Annotated[tuple[Word, ...], Field(max_length=_MOST_TARGETS)] = ()
    workers: Annotated[tuple[Word, ...], Field(max_length=_MOST_TARGETS)] = ()

    def is_for(self, worker: str, queues: Iterable[str]) -> bool:
        """Return whether a worker is a target.

        Args:
            worker: its name.
            queues: its logical queues.
        """
        named = not self.workers or any(fnmatchcase(worker, glob) for glob in self.workers)
        return named and (not self.queues or any(queue in self.queues for queue in queues))

    def summary(self) -> str:
        """Describe in few words what it asks for, for the log; without values of tasks."""
        return self.NAME

    @override
    def encode(self) -> bytes:
        """Write the command.

        Raises:
            ConfigurationError: it is larger than `COMMAND_BYTES`.
        """
        body = orjson.dumps({"command": self.NAME, **asdict(self)})
        if len(body) > COMMAND_BYTES:
            raise ConfigurationError(
                f"the command {self.NAME} would have {len(body)} bytes, and may have at most"
                f" {COMMAND_BYTES}\n  Name fewer queues and workers, or use globs: --worker 'web-*'"
            )
        return body


def checked_issuer(name: str) -> str:
    """Return an issuer's name.

    Raises:
        ConfigurationError: it is empty, too long, or has characters that cannot be printed.
    """
    name = name.strip()
    if not name or not name.isprintable() or len(name.encode()) > ISSUER_BYTES:
        raise ConfigurationError(
            f"{name!r:.60} is not a valid issuer: use 1 to {ISSUER_BYTES} bytes of printable"
            " characters, such as ann@example.org"
        )
    return name
