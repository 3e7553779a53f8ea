"""Carries out the commands for this worker, one after the other, and answers each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stem_amqp.clock import Clock
from stem_amqp.errors import StemError
from stem_amqp.messages.commands import SKEW, Command, Order
from stem_amqp.observability import Telemetry
from stem_amqp.observability.events import EventsExporter
from stem_amqp.signing.memory import NonceMemory, Taken
from stem_amqp.transport.delivery import Delivery
from stem_amqp.worker.report.quota import Quota
from stem_amqp.worker.steering.answers import Answers

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

audit = logging.getLogger("stem_amqp.control")
"""Who changed what; it has a level of its own while a directive sets the log level."""

LINES, PERIOD = 100, 10.0
"""The maximum number of audit lines in a number of seconds."""
_REMEMBERED = 10_000
_WAITING = 1000
"""The maximum number of commands that wait for their turn; further ones are refused."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that was carried out.

    Args:
        value: the result, which is answered.
        then: called after the answer, if there is something to do then.
    """

    value: DataclassInstance
    then: Callable[[], None] | None = None


Handler = Callable[[Any], "Awaitable[Done] | Done"]
"""Carries out one kind of command."""


class Orders:
    """Carries out commands.

    Args:
        worker: the worker's name.
        queues: its logical queues.
        handlers: what carries out each kind of command.
        clock: the time of day.
        answers: publishes the answers.
        telemetry: receives what became of each command.
        events: publishes an event for each command; None: there are no events.
        on_close: called at the end.
    """

    def __init__(
        self,
        worker: str,
        queues: Sequence[str],
        handlers: Mapping[type[Order], Handler],
        *,
        clock: Clock,
        answers: Answers,
        telemetry: Telemetry,
        events: EventsExporter | None,
        on_close: Callable[[], Awaitable[None]],
    ) -> None:
        self._worker = worker
        self._queues = queues
        self._clock = clock
        self._memory = NonceMemory(_REMEMBERED)
        self._carry = handlers
        self._answers = answers
        self._telemetry = telemetry
        self._events = events
        self._on_close = on_close
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines = Quota(LINES, PERIOD)

    @property
    def handlers(self) -> dict[type[Command], Callable[[Any, Delivery], None]]:
        """What takes each kind of command from the listener."""
        return dict.fromkeys(self._carry, self.take)

    def take(self, order: Order, delivery: Delivery) -> None:
        """Carry out a command in the background, if it is for this worker and in time.

        Args:
            order: the command, verified.
            delivery: its delivery.
        """
        if not order.is_for(self._worker, self._queues):
            return
        late = self._clock.time() - order.deadline
        reason = self._refusal(order, late)
        if reason is not None:
            self._count(order, reason)
            if self._lines.take():
                audit.warning(
                    "%s by %r, command %r, is ignored: %s",
                    order.summary(),
                    order.issuer,
                    order.nonce,
                    f"it arrived {late:.0f} s after its deadline" if late > SKEW else reason,
                )
            return
        reply_to = delivery.reply_to
        task = asyncio.create_task(self._carry_out(order, reply_to), name=f"stem-amqp {order.NAME}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refusal(self, order: Order, late: float) -> str | None:
        if late > SKEW:
            return "stale"
        if len(self._tasks) >= _WAITING:
            return "too-many"
        return None if self._memory.take(order.nonce) is Taken.NEW else "replayed"

    async def _carry_out(self, order: Order, reply_to: str | None) -> None:
        async with self._turn:
            done, error = await self._result(order)
            if order.recorded or error is not None:
                self._record(order, error)
            value = None if done is None else done.value
            await self._answers.publish(reply_to, order.nonce, value=value, error=error)
        if done is not None and done.then is not None:
            done.then()

    async def _result(self, order: Order) -> tuple[Done | None, str | None]:
        handler = self._carry.get(type(order))
        if handler is None:
            return None, f"this worker cannot carry out {order.NAME}"
        try:
            found = handler(order)
            return (found if isinstance(found, Done) else await found), None
        except StemError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001 - it is logged here, and answered
            audit.exception("the command %s failed", order.NAME)
            return None, f"{type(error).__name__}: {error}"

    def _record(self, order: Order, error: str | None) -> None:
        """Write the audit line, the event and the count of a command."""
        self._count(order, "done" if error is None else "failed")
        if self._events is not None:
            self._events.worker(
                "worker-commanded",
                self._worker,
                command=order.summary(),
                issuer=order.issuer,
                nonce=order.nonce,
                error=error,
            )
        if self._lines.take():
            skipped = self._lines.skipped()
            more = f" ({skipped} more were not logged)" if skipped else ""
            # The texts may be unsigned: quoted, they cannot forge a line of the log
            audit.log(
                logging.INFO if error is None else logging.WARNING,
                "%s by %r, command %r: %s%s",
                order.summary(),
                order.issuer,
                order.nonce,
                "done" if error is None else f"not carried out: {error}",
                more,
            )

    def _count(self, order: Order, outcome: str) -> None:
        for report in self._telemetry.commanded:
            report(order.NAME, outcome)

    async def close(self) -> None:
        """Wait until the commands that were taken are answered."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._on_close()
