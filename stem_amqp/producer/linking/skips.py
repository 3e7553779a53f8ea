"""Stores the states of links that never run, since a task before them has failed."""

from __future__ import annotations

import asyncio
import logging

from stem_amqp.clock import Clock
from stem_amqp.errors import ReplyRefusedError
from stem_amqp.messages.links import Chain, GroupNode
from stem_amqp.messages.message import ERROR_LIMIT, shortened
from stem_amqp.producer.linking.place import Place
from stem_amqp.results.base import Transition
from stem_amqp.results.writer import ResultWriter
from stem_amqp.states import Reason, TaskState

log = logging.getLogger("stem_amqp.producer")

GROUP_TASK = "(group)"
"""The task's name in the record of a group that is never created."""


_FAILED_BEFORE = "a task before it in its composition failed"
UNPUBLISHED = "it cannot be published"
"""The cause of a link on failure, or a callback of a batch, that was given up."""


class Skips:
    """Stores links as failed, so that handles that wait for them end.

    Args:
        writer: the writer of the result backend.
        clock: the time of day.
        worker: the worker's name; None in a producer.
        result_ttl: seconds that the states are kept.
    """

    def __init__(
        self, writer: ResultWriter, clock: Clock, *, worker: str | None, result_ttl: float
    ) -> None:
        self._clock = clock
        self._writer = writer
        self._worker = worker
        self._result_ttl = result_ttl

    async def store(
        self,
        nodes: Chain,
        place: Place,
        why: str,
        *,
        cause: str = _FAILED_BEFORE,
    ) -> None:
        """Store the nodes of a chain as failed, with the reason *link-failed*; repeating is safe.

        Args:
            nodes: the nodes that never run.
            place: the place of the first one.
            why: the task that failed, and its error; or the error of the publish.
            cause: what that means for them.

        Raises:
            BackendUnavailableError: the states may not be stored.
        """
        now = self._clock.time()
        error = shortened(f"{cause}: {why}", ERROR_LIMIT)
        changes = [
            Transition(
                # the path of a link beside a chain has no number to count on from
                task_id=(place.next(position) if position else place).id,
                task=GROUP_TASK if isinstance(node, GroupNode) else node.task,
                queue="" if isinstance(node, GroupNode) else node.queue or "",
                state=TaskState.FAILED,
                replay=place.replay,
                at=now,
                worker=self._worker,
                reason=Reason.LINK_FAILED.value,
                error=error,
                meta={} if place.lineage is None else place.lineage.meta,
                ttl=self._result_ttl,
                reply_to=place.reply_to,
            )
            for position, node in enumerate(nodes)
            if isinstance(node, GroupNode) or not node.ignore_result
        ]
        try:
            await asyncio.gather(*map(self._writer.write, changes))
        except ReplyRefusedError as refused:
            log.warning("links of composition %s: %s", place.composition, refused)
