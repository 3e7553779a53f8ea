"""Commands that only ask: ping, inspect, statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stem_amqp.messages.commands.order import Order


@dataclass(frozen=True, kw_only=True, slots=True)
class Ping(Order):
    """Ask for a sign of life: the event loop turns, and the worker can publish."""

    NAME: ClassVar[str] = "ping"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspect(Order):
    """Ask for the registered tasks, the queues, the settings, and what runs and waits inside."""

    NAME: ClassVar[str] = "inspect"


@dataclass(frozen=True, kw_only=True, slots=True)
class AskStatistics(Order):
    """Ask for the worker's counters and its use of the machine."""

    NAME: ClassVar[str] = "stats"
