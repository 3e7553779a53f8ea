"""Reports the ends of members, and goes on after a group: with its continuation, or in the group around it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

from stem_amqp.errors import ResultSignatureError, ResultUnavailableError, StemError
from stem_amqp.messages.links import FAIL_FAST, Chain, LinkNode, Source
from stem_amqp.producer.linking.batches import Unbegun, follow_batch
from stem_amqp.producer.linking.calls import Given, Value
from stem_amqp.producer.linking.members import results_of
from stem_amqp.producer.linking.place import Place
from stem_amqp.producer.linking.plan import Plan, read_plan
from stem_amqp.producer.linking.skips import UNPUBLISHED, Skips
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.groups.model import GroupRecord, MemberReport
from stem_amqp.results.groups.reporter import GroupReporter
from stem_amqp.states import Reason, TaskState

log = logging.getLogger("stem_amqp.producer")

Errors = tuple[type[StemError], ...]
CarryOut = Callable[[Chain, Place, Given], Awaitable[None]]
"""Begins a chain: its nodes, the place of the first one, and what its links take."""


class GroupEnds:
    """Goes on after groups.

    Each step can be repeated: a member is counted once by its index, what follows has a deterministic id,
    and a continuation claims its group before it runs.

    Args:
        backend: the result backend.
        skips: stores links that never run.
        begin: begins what follows.
    """

    def __init__(self, backend: ResultBackend, skips: Skips, begin: CarryOut) -> None:
        self._backend = backend
        self._reporter = GroupReporter(backend)
        self._skips = skips
        self._begin = begin

    async def report(
        self, report: MemberReport, place: Place | None = None, *, final: Errors = ()
    ) -> None:
        """Report the end of a member; return once what follows its group is confirmed.

        Args:
            report: the member.
            place: its place, if other members may wait for it.
            final: the errors after which nobody reports it again: a callback of a batch that cannot be published
                for one of them is logged and stored as failed, and the error is not raised.

        Raises:
            BackendUnavailableError: the report may not be stored.
            PublishError: the broker did not take what follows.
            ConfigurationError: what follows cannot be published.
            DecodeError: the plan of the group is malformed.
        """
        reports = deque([report] if place is None else _everywhere(report, place))
        while reports:
            report = reports.popleft()
            try:
                group = await self._reporter.report(report)
                reports += await self._after(report, group, final)
            except ResultSignatureError as error:
                log.error(  # noqa: TRY400 - the text says all
                    "member %d of group %s has ended, and its continuation does not run: %s",
                    report.index,
                    report.group_id,
                    error,
                )
            except ResultUnavailableError:
                log.error(  # noqa: TRY400 - the text says all
                    "member %d of group %s has ended, and the group is unknown: its ttl has passed, so its"
                    " continuation does not run. Give the group a longer ttl",
                    report.index,
                    report.group_id,
                )

    async def _after(
        self, report: MemberReport, group: GroupRecord, final: Errors
    ) -> list[MemberReport]:
        """Go on after a report, and return the reports of the group itself as a member, if it is one."""
        first = report.failed and group.first_failed == report.index
        all_ended = group.done >= group.size
        if not all_ended and not first:
            return []
        stored = await self._backend.get_group(group.group_id)
        if stored is None:
            return []
        plan = read_plan(stored.plan, group.group_id)
        if plan.batch is not None:
            if all_ended and not group.sealed:
                # Nobody is left who would add a member
                group = await self._backend.seal_group(group.group_id)
            failure = report if first else None
            unbegun = await follow_batch(plan.batch, plan.place, group, failure, self._begin)
            for one in unbegun:
                if not isinstance(one.error, final):
                    raise one.error
            await self._give_up(unbegun)
            return []
        if plan.policy == FAIL_FAST and group.failed:
            return await self._fail(plan, stored) if first else []
        return await self._go_on(plan, stored) if group.complete else []

    async def _give_up(self, unbegun: list[Unbegun]) -> None:
        """Let callbacks of a batch that never run end as failed, so that nobody waits for them."""
        for one in unbegun:
            log.error(
                "%s of batch %s never runs, since it cannot be published: %s",
                one.event,
                one.place.composition,
                one.error,
            )
            why = f"{type(one.error).__name__}: {one.error}"
            await self._skips.store(one.links, one.place, why, cause=UNPUBLISHED)

    async def _go_on(self, plan: Plan, group: GroupRecord) -> list[MemberReport]:
        place = plan.place
        if not plan.then:
            if place.group is None or place.index is None:
                return []
            value = b"null"
            if plan.results != "none":
                value = await results_of(self._backend, group, plan.policy)
            return _reports(plan, TaskState.SUCCEEDED, value=value)
        # The continuation may be stored as failed: only a further replay may change that
        mended = plan.policy == FAIL_FAST and group.first_failed is not None
        next_place = place.next().replayed(place.replay + mended)
        source = Source(group=place.id, results=plan.results, policy=plan.policy)
        await self._begin(plan.then, next_place, source)
        return []

    async def _fail(self, plan: Plan, group: GroupRecord) -> list[MemberReport]:
        """Go on after the first failure of a group whose continuation needs all results."""
        place, why = plan.place, group.first_error or "a member failed"
        if plan.then:
            await self._run_on_failure(plan, why)
            await self._skips.store(plan.then, place.next(), why)
        if place.group is None or place.index is None:
            return []
        return _reports(plan, TaskState.FAILED, error=why)

    async def _run_on_failure(self, plan: Plan, why: str) -> None:
        """Publish the links on failure of a continuation that does not run."""
        continuation, place = plan.then[0], plan.place.next()
        if not isinstance(continuation, LinkNode):
            return
        end = {
            "id": place.id,
            "task": continuation.task,
            "state": TaskState.FAILED.value,
            "reason": Reason.LINK_FAILED.value,
            "error": why,
        }
        for index, node in enumerate(continuation.on_failure):
            await self._begin((node,), place.beside(f"err{index}"), Value(end))


def _reports(
    plan: Plan, state: TaskState, *, value: bytes | None = None, error: str | None = None
) -> list[MemberReport]:
    """Return the reports of a group that is a member of another one."""
    place = plan.place
    report = MemberReport(
        group_id=place.group or "",
        index=place.index or 0,
        task_id=place.id,
        state=state,
        value=value,
        error=error,
    )
    return _everywhere(report, place)


def _everywhere(report: MemberReport, place: Place) -> list[MemberReport]:
    """Return the report of a member to its group, and to each gate of a member that waits for it."""
    gates = [
        replace(report, group_id=f"{report.group_id}.{index}.0", index=position)
        for index, position in place.gates
    ]
    return [report, *gates]
