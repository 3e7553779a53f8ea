"""The command that ends workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from stem_amqp.messages.commands.order import Order


@dataclass(frozen=True, kw_only=True, slots=True)
class ShutDown(Order):
    """End each worker as a signal does.

    Args:
        cold: cancel running tasks at once and requeue their messages, instead of giving them the grace
            period.
    """

    NAME: ClassVar[str] = "shutdown"

    cold: bool = False

    @override
    def summary(self) -> str:
        """Describe the end, for the log."""
        return "cold shutdown" if self.cold else "warm shutdown"
