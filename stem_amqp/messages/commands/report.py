"""The command with which tools ask workers for a heartbeat, and for events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import orjson
from pydantic import BaseModel
from typing_extensions import override

from stem_amqp.messages.commands.base import Command

REPORT = "stem.report"
"""AMQP ``type`` of `Report` and of the replies to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report(Command):
    """Report the worker's state to the queue in AMQP ``reply_to``, a control queue of the namespace.

    Args:
        events: seconds for which to publish lifecycle events; 0: do not begin to. Workers of release 0.1.0
            ignore it.
    """

    TYPE: ClassVar[str] = REPORT
    NAME: ClassVar[str] = "report"

    events: float = 0.0

    @override
    def encode(self) -> bytes:
        return orjson.dumps(
            {"command": "report", "events": self.events} if self.events else {"command": "report"}
        )


class ReportFields(BaseModel):
    """A report as it is read."""

    command: Literal["report"]
    events: Any = None

    def command_of(self) -> Report:
        """Return the command."""
        known = isinstance(self.events, (int, float)) and not isinstance(self.events, bool)
        return Report(events=max(0.0, float(self.events)) if known else 0.0)
