"""The breaker of one queue or task in one worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from stem_amqp.breakers.breaker import Breaker
from stem_amqp.breakers.opening import Opening, State
from stem_amqp.breakers.window import Window
from stem_amqp.directives.model import Kind, Target
from stem_amqp.directives.state import Directives


@dataclass(kw_only=True, slots=True, eq=False)
class Circuit:
    """The breaker of one queue or task in one worker.

    Args:
        kind: ``queue`` or ``task``.
        name: the logical queue, or the task's name.
        breaker: what it allows.

    Attributes:
        window: the latest runs in this worker.
        state: the last state that was reported.
        moving: whether this worker is about to change the state.
        changed: set when the state has changed.
    """

    kind: str
    name: str
    breaker: Breaker
    window: Window = field(init=False)
    state: State = State.CLOSED
    moving: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.window = Window(self.breaker)

    @property
    def target(self) -> Target:
        """What its directive is for."""
        return Target(queue=self.name) if self.kind == "queue" else Target(task=self.name)

    def opening(self, directives: Directives) -> Opening | None:
        """Return its state in all workers; None if it is closed.

        Args:
            directives: what holds in this worker.
        """
        for one in directives.in_effect(Kind.BREAKER):
            if one.target == self.target:
                return Opening.read(one.value)
        return None

    def is_paused_by_others(self, directives: Directives) -> bool:
        """Return whether an operator's pause covers it, which a breaker never changes.

        Args:
            directives: what holds in this worker.
        """
        if self.kind == "queue":
            found = directives.paused_queue(self.name)
        else:
            found = directives.paused_task(self.name)
        return found is not None and found.kind == Kind.PAUSE

    def __str__(self) -> str:
        return f"the breaker of {self.kind} {self.name}"
