"""What every command is: a body with an AMQP type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

COMMAND_BYTES = 4096
"""The largest size of a command in bytes. Every worker of the namespace reads it."""


class Command(ABC):
    """A command to workers.

    Attributes:
        TYPE: its AMQP ``type``.
        NAME: its name, in its body and in the metric of commands.
    """

    TYPE: ClassVar[str]
    NAME: ClassVar[str]
    __slots__ = ()

    @abstractmethod
    def encode(self) -> bytes:
        """Write the command."""

    def log_line(self) -> str:
        """Return the line that a worker logs when it receives the command; empty: none.

        The texts of a command may be unsigned: quoted, they cannot forge a line of the log.
        """
        return ""
