"""Begin nodes of compositions, and go on when the last member of a group has ended."""

from __future__ import annotations

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import Clock
from stem_amqp.errors import EnqueueManyError
from stem_amqp.messages.links import Chain
from stem_amqp.producer.linking.calls import Calls, Given
from stem_amqp.producer.linking.dependents import Dependents
from stem_amqp.producer.linking.ends import GroupEnds
from stem_amqp.producer.linking.place import Place
from stem_amqp.producer.linking.skips import Skips
from stem_amqp.producer.linking.start import Start, start_of
from stem_amqp.producer.producer import Producer
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.groups.model import MemberReport
from stem_amqp.results.writer import ResultWriter
from stem_amqp.signing.seal import Seal
from stem_amqp.states import TaskState
from stem_amqp.tasks.call import Call, Lineage


class Linker:
    """Begins nodes of compositions.

    Attributes:
        skips: stores links that never run.
        ends: reports the members of groups, and goes on after the groups.
        dependents: tells groups of the ends of tasks that were enqueued before.

    Args:
        blueprint: the application.
        clock: the time of day.
        backend: the result backend, which stores the groups.
        writer: its batching writer.
        producer: publishes the calls.
        seal: signs and verifies what dependents are told; None without keys.
        worker: the worker's name; None in a producer.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        *,
        clock: Clock,
        backend: ResultBackend,
        writer: ResultWriter,
        producer: Producer,
        seal: Seal | None,
        worker: str | None = None,
    ) -> None:
        self._registry = blueprint.registry
        self._clock = clock
        self._backend = backend
        self._producer = producer
        ttl = blueprint.settings.result_ttl
        self.skips = Skips(writer, clock, worker=worker, result_ttl=ttl)
        self.ends = GroupEnds(backend, self.skips, self.begin)
        self.dependents = Dependents(backend, seal, self.ends.report)

    def prepare(self, nodes: Chain, place: Place, given: Given) -> Beginning:
        """Return what begins a chain; nothing is created or published yet.

        Args:
            nodes: the nodes of the chain.
            place: the place of the first one.
            given: what its links take.

        Raises:
            ConfigurationError: an option of a link is invalid.
        """
        start = start_of(nodes, place, given, Calls(self._registry, self._clock.time()))
        return Beginning(start, place.lineage)

    async def begin(self, nodes: Chain, place: Place, given: Given) -> None:
        """Begin a chain; see `prepare` and `carry_out`."""
        await self.carry_out(self.prepare(nodes, place, given))

    async def carry_out(self, beginning: Beginning) -> None:
        """Create the groups, then publish the calls; each is confirmed when this returns.

        Repeating it after an error continues where it has stopped.

        Args:
            beginning: the result of `prepare`.

        Raises:
            PublishError: the broker did not take a message.
            ConfigurationError: arguments cannot be written as JSON, or a group exists with another size.
            MessageTooLargeError: a body is larger than ``STEM_MAX_BODY_SIZE``.
            BackendUnavailableError: a group may not be created.
        """
        start = beginning.start
        while start.groups:
            group = start.groups[0]
            plan = group.plan.encode()
            await self._backend.create_group(group.id, group.size, ttl=group.ttl, plan=plan)
            del start.groups[0]
        while start.watches:
            await self.dependents.wait_for(start.watches[0])
            del start.watches[0]
        for call in start.calls:
            if call.links is not None and call.links.watched:
                await self.dependents.open(call.options.task_id or "")
        if start.calls:
            await self._publish(start, beginning.lineage)
        while start.empty:
            await self.ends.report(ended_empty(start.empty[0]), start.empty[0])
            del start.empty[0]

    async def _publish(self, start: Start, lineage: Lineage | None) -> None:
        if len(start.calls) == 1:
            await self._producer.enqueue(start.calls[0], lineage)
            start.calls = []
            return
        try:
            await self._producer.enqueue_many(start.calls, lineage)
        except EnqueueManyError as error:
            start.calls = [start.calls[index] for index in sorted(error.failed)]
            raise next(iter(error.failed.values())) from error
        start.calls = []


class Beginning:
    """What begins a chain, as far as it is not carried out.

    Args:
        start: the groups to create and the calls to publish.
        lineage: the task that enqueues them; None: no task does.
    """

    def __init__(self, start: Start, lineage: Lineage | None) -> None:
        self.start = start
        self.lineage = lineage

    @classmethod
    def nothing(cls, lineage: Lineage | None) -> Beginning:
        """Return a beginning to which others are added."""
        return cls(Start(), lineage)

    def add(self, other: Beginning) -> None:
        """Add what begins another chain of the same task.

        Args:
            other: the other beginning.
        """
        self.start.groups += other.start.groups
        self.start.watches += other.start.watches
        self.start.calls += other.start.calls
        self.start.empty += other.start.empty

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that are not published yet."""
        return tuple(self.start.calls)


def ended_empty(place: Place) -> MemberReport:
    """Return the report of a member that is an empty group.

    Args:
        place: the place of the group, which is a member.
    """
    return MemberReport(
        group_id=place.group or "",
        index=place.index or 0,
        task_id=place.id,
        state=TaskState.SUCCEEDED,
        value=b"[]",
    )
