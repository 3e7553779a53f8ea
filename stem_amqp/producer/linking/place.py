"""Where a node of a composition is, and what its tasks take from the task before them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stem_amqp.messages.links import Gates
from stem_amqp.tasks.call import Lineage, Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The place of the first node of a chain.

    Args:
        composition: the id of the composition.
        path: the path of the node, such as ``0`` or ``2.14.1``; see docs/wire.md.
        enqueued_at: the time in the messages, ISO 8601 in UTC, equal in each copy of them.
        group: the group that the chain is a member of; None: of none.
        index: its index in that group.
        gates: the members of that group that wait for the chain; see `stem_amqp.messages.links.Links`.
        lineage: the task that enqueues; None: no task does.
        reply_to: where the producer waits for replies, for backends that reply.
        replay: how often the task before, or a member of the group before, was replayed.
        follows: whether a worker begins the node, so that its messages may be published twice.
    """

    composition: str
    path: str = "0"
    enqueued_at: str
    group: str | None = None
    index: int | None = None
    gates: Gates = ()
    lineage: Lineage | None = None
    reply_to: str | None = None
    replay: int = 0
    follows: bool = False

    @property
    def id(self) -> str:
        """The id of the node: of the task, or of the group."""
        return f"{self.composition}.{self.path}"

    @property
    def origin(self) -> Origin | None:
        """What a call takes over; None if a producer begins the composition."""
        if not self.follows:
            return None
        return Origin(enqueued_at=self.enqueued_at, reply_to=self.reply_to, replay=self.replay)

    def next(self, count: int = 1) -> Place:
        """Return the place of a later node of the chain.

        Args:
            count: the number of nodes after this one.
        """
        before, _, position = self.path.rpartition(".")
        path = str(int(position) + count)
        return replace(self, path=f"{before}.{path}" if before else path)

    def replayed(self, replay: int) -> Place:
        """Return the same place, of a message with another number of replays.

        Args:
            replay: the number.
        """
        return replace(self, replay=replay)

    def member(self, index: int, *, chain: bool, gates: Gates = ()) -> Place:
        """Return the place of a member of the group at this place.

        Args:
            index: the index of the member.
            chain: whether the member is a chain.
            gates: the members that wait for it.
        """
        path = f"{self.path}.{index}.0" if chain else f"{self.path}.{index}"
        return replace(self, path=path, group=self.id, index=index, gates=gates)

    def beside(self, suffix: str) -> Place:
        """Return the place of a link on success or failure of the node; it is no member of a group.

        Args:
            suffix: its name, such as ``ok0``.
        """
        return replace(self, path=f"{self.path}.{suffix}", group=None, index=None, gates=())


def path_of(task_id: str, composition: str) -> str:
    """Return the path of a task in its composition; empty if its id is of another form.

    Args:
        task_id: the task.
        composition: the id of the composition.
    """
    path = task_id.removeprefix(f"{composition}.")
    return "" if path == task_id else path
