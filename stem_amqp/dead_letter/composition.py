"""Replay the dead letters of one composition, in whichever queues they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stem_amqp.dead_letter.letters import DeadLetters
from stem_amqp.dead_letter.replay import OnEach, ReplayReport
from stem_amqp.dead_letter.selection import ALL, Selection
from stem_amqp.durations import Rate
from stem_amqp.errors import TopologyMissingError

if TYPE_CHECKING:
    from stem_amqp.dead_letter.application import Application


@dataclass(frozen=True, kw_only=True, slots=True)
class CompositionReplay:
    """The result of replaying the dead letters of a composition.

    Args:
        composition: the id of the composition.
        queues: the report of each logical queue in which there was a dead letter of it.
    """

    composition: str
    queues: Mapping[str, ReplayReport]

    @property
    def matched(self) -> int:
        """The number of its dead letters."""
        return sum(report.matched for report in self.queues.values())

    @property
    def replayed(self) -> int:
        """The number of those that are in their work queue again; 0 in a dry run."""
        return sum(report.replayed for report in self.queues.values())

    @property
    def complete(self) -> bool:
        """Whether every one was replayed, or would be."""
        return all(report.complete for report in self.queues.values())


async def replay_composition(
    app: Application,
    composition: str,
    *,
    selection: Selection = ALL,
    dry_run: bool = False,
    rate: Rate | None = None,
    on_each: OnEach | None = None,
) -> CompositionReplay:
    """Replay the dead letters of a composition: those of its failed members and links.

    They are looked for in the dead-letter queue of each queue that the application has.

    Args:
        app: the application, connected.
        composition: the id of the composition, or of a task of it.
        selection: further criteria.
        dry_run: only count.
        rate: maximum rate.
        on_each: called for each letter, with the error if it could not be replayed.

    Raises:
        BrokerError: the broker does not answer, or refuses.
    """
    own = composition.partition(".")[0]
    wanted = replace(selection, composition=own)
    reports: dict[str, ReplayReport] = {}
    for queue in app.queues:
        letters = DeadLetters(app, queue)
        try:
            if not await letters.count():
                continue
            report = await letters.replay(wanted, dry_run=dry_run, rate=rate, on_each=on_each)
        except TopologyMissingError:
            continue  # a queue of the file that was never declared has no dead letters
        if report.matched or not report.complete:
            reports[queue] = report
    return CompositionReplay(composition=own, queues=reports)
