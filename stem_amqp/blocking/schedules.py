"""``producer.schedules``: schedules at run time, for code that cannot await."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from typing_extensions import Unpack

from stem_amqp.blocking.part import BlockingPart
from stem_amqp.directives.issue import Issued
from stem_amqp.durations import Duration
from stem_amqp.scheduler.managed import Schedules
from stem_amqp.scheduler.operated import PastTick
from stem_amqp.schedules import DefinitionKeywords, Schedule

T = TypeVar("T")


class BlockingSchedules(BlockingPart[Schedules]):
    """Adds, changes and removes schedules; see `BlockingProducer.schedules`.

    The methods are those of `stem_amqp.scheduler.managed.Schedules`, and raise the same errors, and:

    - BrokerUnavailableError: there is no connection within the producer's timeout.
    - StemError: an event loop runs in this thread.

    Args:
        producer: the producer whose connections are used.
        blueprint: returns the application's blueprint.
    """

    __slots__ = ()

    _place = "stem.schedules"
    _unclear = "the schedule may or may not be changed"

    def add(self, name: str, task: str, **options: Unpack[DefinitionKeywords]) -> Schedule:
        """Add a schedule; see `Schedules.add`."""
        return self._ask(lambda schedules: schedules.add(name, task, **options), "add")

    def change(self, name: str, **options: Unpack[DefinitionKeywords]) -> Schedule:
        """Change a schedule; see `Schedules.change`."""
        return self._ask(lambda schedules: schedules.change(name, **options), "change")

    def remove(self, name: str) -> None:
        """Remove a schedule; see `Schedules.remove`."""
        self._ask(lambda schedules: schedules.remove(name), "remove")

    def get(self, name: str) -> Schedule | None:
        """Return a stored schedule; see `Schedules.get`."""
        return self._ask(lambda schedules: schedules.get(name), "get")

    def list(
        self, *, after: str = "", limit: int = 1000, matching: str = "*"
    ) -> Sequence[Schedule]:
        """Return a page of the stored schedules; see `Schedules.list`."""
        return self._ask(
            lambda schedules: schedules.list(after=after, limit=limit, matching=matching), "list"
        )

    def pause(
        self, name: str, *, reason: str = "", lifetime: Duration | None = None, issuer: str = ""
    ) -> Issued:
        """Pause schedules; see `Operated.pause`."""
        return self._ask(
            lambda schedules: schedules.pause(
                name, reason=reason, lifetime=lifetime, issuer=issuer
            ),
            "pause",
        )

    def resume(self, name: str, *, issuer: str = "") -> Issued:
        """End a pause; see `Operated.resume`."""
        return self._ask(lambda schedules: schedules.resume(name, issuer=issuer), "resume")

    def history(self, name: str) -> Sequence[PastTick]:
        """Return the last ticks of a schedule; see `Operated.history`."""
        return self._ask(lambda schedules: schedules.history(name), "history")

    def _ask(self, ask: Callable[[Schedules], Coroutine[Any, Any, T]], name: str) -> T:
        return self._asked(Schedules, ask, name)
