"""Answers requests for the worker's state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stem_amqp.errors import BrokerError, BrokerRefusedError
from stem_amqp.messages.commands import REPORT
from stem_amqp.transport.base import Transport
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.report.quota import Quota

log = logging.getLogger("stem_amqp.worker")

ANSWERS, PERIOD = 100, 10.0
"""The maximum number of answers in a number of seconds, since any client may send many requests."""


class Reporter:
    """Publishes the worker's state to the reply queue of a command.

    Args:
        transport: publishes the answers.
        state: returns the state, encoded.
        refused: called if the user may not publish to the default exchange, and so not answer.
        prefix: the prefix that a reply queue must have, so that a command can name no other queue.
    """

    def __init__(
        self,
        transport: Transport,
        state: Callable[[], bytes],
        *,
        refused: Callable[[], None],
        prefix: str,
    ) -> None:
        self._transport = transport
        self._state = state
        self._refused = refused
        self._prefix = prefix
        self._quota = Quota(ANSWERS, PERIOD)
        self._answering: set[asyncio.Task[None]] = set()

    def answer(self, reply_to: str | None) -> None:
        """Publish an answer in the background, within the limit.

        Args:
            reply_to: the reply queue; None or one without the prefix is ignored.
        """
        if reply_to is None or not reply_to.startswith(self._prefix) or not self._quota.take():
            return
        task = asyncio.create_task(self._answer(reply_to), name="stem-amqp report")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, reply_to: str) -> None:
        body = self._state()
        try:
            await self._transport.publish(
                Publication(exchange="", routing_key=reply_to, body=body, type=REPORT)
            )
        except BrokerRefusedError as error:
            log.debug("no answer to %s: %s", reply_to, error)
            self._refused()
        except BrokerError as error:
            # The client no longer waits for it
            log.debug("the report to %s was not delivered: %s", reply_to, error)

    async def close(self) -> None:
        """Wait until the pending answers are published."""
        while self._answering:
            await asyncio.wait(set(self._answering))
