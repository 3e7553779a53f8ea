"""Hears the commands that come over the control exchange."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stem_amqp.commands import Revoke, decode
from stem_amqp.errors import DecodeError
from stem_amqp.transport.base import Delivery

log = logging.getLogger("stem_amqp.worker")


class ControlListener:
    """Turns deliveries of the control queue into calls.

    Args:
        on_revoke: called for each revocation.
    """

    def __init__(self, on_revoke: Callable[[Revoke], None]) -> None:
        self._on_revoke = on_revoke

    def __call__(self, delivery: Delivery) -> None:
        """Take one command; one that this version does not know is logged."""
        try:
            command = decode(delivery.body)
        except DecodeError as error:
            log.warning("a command on the control exchange is ignored: %s", error)
            return
        log.info("task %s is revoked: %s", command.task_id, command.reason)
        self._on_revoke(command)
