"""``producer.control``: commands to workers, for code that cannot await."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from typing_extensions import Unpack

from stem_amqp.blocking.part import BlockingPart
from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.control import (
    Answers,
    CommandKeywords,
    Control,
    LastingKeywords,
    Recorded,
    RevokeManyKeywords,
)
from stem_amqp.messages.answers import Inspection, Obeyed, Pong, ShuttingDown, Statistics

T = TypeVar("T")


class BlockingControl(BlockingPart[Control]):
    """Sends commands to workers; see `BlockingProducer.control`.

    The methods are those of `stem_amqp.control.Control`, and raise the same errors, and:

    - BrokerUnavailableError: there is no connection within the producer's timeout.
    - StemError: an event loop runs in this thread.

    Args:
        producer: the producer whose connections are used.
        blueprint: returns the application's blueprint.
    """

    __slots__ = ()

    _place = "stem.control"
    _unclear = "workers may have received the command"

    def ping(self, **to: Unpack[CommandKeywords]) -> Answers[Pong]:
        """Ask for a sign of life; see `Control.ping`."""
        return self._ask(lambda control: control.ping(**to), "ping")

    def inspect(self, **to: Unpack[CommandKeywords]) -> Answers[Inspection]:
        """Ask for registered tasks, queues, settings, and what runs and waits inside."""
        return self._ask(lambda control: control.inspect(**to), "inspect")

    def stats(self, **to: Unpack[CommandKeywords]) -> Answers[Statistics]:
        """Ask for the counters since the start, and the use of the machine."""
        return self._ask(lambda control: control.stats(**to), "stats")

    def shutdown(
        self, *, cold: bool = False, **to: Unpack[CommandKeywords]
    ) -> Answers[ShuttingDown]:
        """Stop workers; see `Control.shutdown`."""
        return self._ask(lambda control: control.shutdown(cold=cold, **to), "shutdown")

    def pause(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        **options: Unpack[LastingKeywords],
    ) -> Answers[Obeyed]:
        """Pause a queue or a task in all workers; see `Control.pause`."""
        return self._ask(lambda control: control.pause(queue=queue, task=task, **options), "pause")

    def resume(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        **options: Unpack[LastingKeywords],
    ) -> Answers[Obeyed]:
        """End a pause, and close an open breaker; see `Control.resume`."""
        return self._ask(
            lambda control: control.resume(queue=queue, task=task, **options), "resume"
        )

    def concurrency(
        self, change: str | None, *, queue: str | None = None, **options: Unpack[LastingKeywords]
    ) -> Answers[Obeyed]:
        """Change how many tasks run at once; see `Control.concurrency`."""
        return self._ask(
            lambda control: control.concurrency(change, queue=queue, **options), "concurrency"
        )

    def rate_limit(
        self, task: str, rate: str | None, **options: Unpack[LastingKeywords]
    ) -> Answers[Obeyed]:
        """Limit how often a task starts; see `Control.rate_limit`."""
        return self._ask(lambda control: control.rate_limit(task, rate, **options), "rate_limit")

    def log_level(
        self, level: str | None, *, queue: str | None = None, **options: Unpack[LastingKeywords]
    ) -> Answers[Obeyed]:
        """Set the level of the workers' logs; see `Control.log_level`."""
        return self._ask(
            lambda control: control.log_level(level, queue=queue, **options), "log_level"
        )

    def revoke(
        self, task_id: str, *, terminate: bool = False, **options: Unpack[LastingKeywords]
    ) -> Answers[Obeyed]:
        """Prevent that a task runs, or runs again; see `Control.revoke`."""
        return self._ask(
            lambda control: control.revoke(task_id, terminate=terminate, **options), "revoke"
        )

    def revoke_all(
        self, *, terminate: bool = False, **options: Unpack[RevokeManyKeywords]
    ) -> Answers[Obeyed]:
        """Revoke all tasks that match; see `Control.revoke_all`."""
        return self._ask(
            lambda control: control.revoke_all(terminate=terminate, **options), "revoke_all"
        )

    def history(self) -> tuple[Recorded, ...]:
        """Return the last commands that changed something; see `Control.history`."""
        return self._ask(lambda control: control.history(), "history")

    def in_force(self) -> tuple[Recorded, ...]:
        """Return the lasting commands that hold now; see `Control.in_force`."""
        return self._ask(lambda control: control.in_force(), "in_force")

    def issue(
        self,
        work: Callable[[Blueprint, Connected], Coroutine[Any, Any, T]],
        name: str,
        unclear: str,
    ) -> T:
        """Revoke without waiting for answers; see `BlockingProducer.revoke`.

        Args:
            work: revokes, with the blueprint and the connections.
            name: the method of the application that does the same.
            unclear: what remains uncertain if the wait is interrupted.
        """
        return self._producer.ask(
            lambda connected: work(self._blueprint(), connected),
            instead=f"await stem.{name}(…)",
            unclear=unclear,
        )

    def _ask(self, command: Callable[[Control], Coroutine[Any, Any, T]], name: str) -> T:
        return self._asked(Control, command, name)
