"""Checks periodically that the queues and bindings a worker needs still exist."""

from __future__ import annotations

import asyncio
import logging
import random

from stem_amqp.errors import StemError, TopologyMissingError
from stem_amqp.topology.entities import Binding
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.worker")


class TopologyWatch:
    """Restores deleted queues and bindings whose absence no publish here detects.

    An example is the second queue of a delay, to which RabbitMQ itself passes messages on.

    Args:
        transport: the transport; its `restorer`, if it has one, declares what is missing.
        control: the control exchange.
        commands: the worker's own queue of commands.
        interval: seconds between two checks on average; 0 disables them.
    """

    def __init__(
        self, transport: Transport, *, control: str, commands: str, interval: float
    ) -> None:
        self._commands = commands
        self._transport = transport
        self._control = control
        self._interval = interval
        self._logged = ""

    def command_queue_renamed(self, name: str) -> None:
        """Note that the queue of commands has a new name, and bind that one from now on.

        Args:
            name: the new name.
        """
        self._commands = name

    async def run(self) -> None:
        """Check periodically until cancelled."""
        while self._interval:
            # Random, so that workers that started together do not check at the same time
            await asyncio.sleep(self._interval * random.uniform(0.5, 1.5))
            try:
                await self._check()
            except StemError as error:
                self._log(str(error))
            else:
                self._logged = ""

    async def _check(self) -> None:
        if self._transport.restorer is not None:
            await self._transport.restorer.check()
        binding = Binding(source=self._control, destination=self._commands)
        try:
            await self._transport.rebind((binding,), ())
        except TopologyMissingError:
            log.debug("this worker receives no commands while %s is missing", self._control)

    def _log(self, trouble: str) -> None:
        """Log a problem as a warning when it begins, and at DEBUG while it lasts."""
        level = logging.DEBUG if trouble == self._logged else logging.WARNING
        self._logged = trouble
        log.log(level, "the topology could not be checked: %s", trouble)
