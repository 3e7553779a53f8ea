"""The command that passes a directive on to the workers that run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from stem_amqp.messages.commands.base import Command

DIRECTIVE = "stem.directive"
"""AMQP ``type`` of `Directed`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Directed(Command):
    """Obey a directive, which is stored too; `stem_amqp.directives` reads it.

    Args:
        body: the bytes of the directive, as they are signed.
    """

    TYPE: ClassVar[str] = DIRECTIVE
    NAME: ClassVar[str] = "directive"

    body: bytes

    @override
    def encode(self) -> bytes:
        return self.body
