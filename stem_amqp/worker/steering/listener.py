"""Receives the commands of the control exchange, at a limited rate, and verifies them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from stem_amqp.clock import Clock
from stem_amqp.errors import DecodeError, ReplayedMessageError, SignatureError
from stem_amqp.messages.commands import COMMAND_BYTES, Command, decode, signed_part
from stem_amqp.observability import Telemetry
from stem_amqp.settings import Signatures
from stem_amqp.signing.memory import NonceMemory, Taken
from stem_amqp.signing.publish import PUBLISH, verify_publish
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.transport.delivery import Delivery
from stem_amqp.worker.report.quota import Quota

log = logging.getLogger("stem_amqp.worker")

COMMANDS = 10_000
"""The maximum number of commands that are processed in a period; the others are ignored."""
LINES = 20
"""The maximum number of log lines about commands in a period."""
PERIOD = 10.0
"""The length of a period in seconds."""
WINDOW = 300.0
"""Seconds after its publish during which a signed command is processed."""
_REMEMBERED = 10_000
UNREAD = "other"
"""The name of a command that cannot be read, for the metric."""


Handler = Callable[[Any, Delivery], None]
"""Carries out one command; it gets the command and its delivery, and raises DecodeError if its content is
not valid."""


class _StaleError(ReplayedMessageError):
    """A command arrived after its time."""


class ControlListener:
    """Calls a handler for each delivery of the control queue.

    Clients that may publish to the control exchange determine the number, the size and the content
    of the commands: so each of these has a limit, and the number of log lines too.

    Args:
        handlers: what carries out each class of command; the others are ignored.
        seal: verifies commands; None accepts unsigned ones.
        clock: the time of day.
        telemetry: receives the commands that are ignored, with the reason; None: nothing does.

    Attributes:
        refused: the number of commands that were ignored: malformed, not valid, or beyond a limit.
    """

    def __init__(
        self,
        handlers: Mapping[type[Command], Handler],
        *,
        seal: Seal | None,
        clock: Clock,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.refused = 0
        self._handlers = handlers
        self._seal = seal
        self._clock = clock
        self._telemetry = telemetry
        self._commands = Quota(COMMANDS, PERIOD)
        self._lines = Quota(LINES, PERIOD)
        self._memory = NonceMemory(_REMEMBERED)

    def __call__(self, delivery: Delivery) -> None:
        """Carry out one command; log it instead if it is malformed, not valid or beyond a limit."""
        if not self._commands.take():
            self._refuse(UNREAD, "too-many")
            self.log(
                logging.WARNING, f"more than {COMMANDS} commands in {PERIOD:g} s: some are ignored"
            )
            return
        name = UNREAD
        try:
            # A large command is refused before it is parsed
            command = decode(delivery.body)
            name = command.NAME
            self._verify(delivery, command)
            self._carry_out(command, delivery)
        except (DecodeError, SignatureError) as error:
            self._refuse(name, _reason(error, delivery))
            self.log(logging.WARNING, f"a command on the control exchange is ignored: {error}")

    def _carry_out(self, command: Command, delivery: Delivery) -> None:
        handler = self._handlers.get(type(command))
        if handler is None:
            return
        line = command.log_line()
        if line:
            self.log(logging.INFO, line)
        handler(command, delivery)

    def _verify(self, delivery: Delivery, command: Command) -> None:
        seal = self._seal
        if seal is None or seal.level is Signatures.BODIES:
            return
        header = delivery.headers.get(PUBLISH)
        if header is None:
            if seal.signs_all:
                raise SignatureError("it is not signed")
            return
        stamp = verify_publish(
            seal.ring,
            header,
            signed_part(
                delivery.body,
                delivery.correlation_id,
                dict(delivery.headers),
                type=command.TYPE,
                reply_to=delivery.reply_to,
            ),
            domain=Domain.COMMAND,
            namespace=seal.namespace,
        )
        if abs(self._clock.time() - stamp.at) > WINDOW:
            raise _StaleError(f"it was signed more than {WINDOW:g} s ago")
        if self._memory.take(stamp.nonce) is not Taken.NEW:
            raise ReplayedMessageError("it was received before")

    def _refuse(self, command: str, reason: str) -> None:
        self.refused += 1
        if self._telemetry is not None:
            for report in self._telemetry.commanded:
                report(command, reason)

    def log(self, level: int, text: str) -> None:
        """Log a line about commands, within the limit.

        Args:
            level: the level.
            text: the line; parts that may be unsigned are quoted, so that they cannot forge a line.
        """
        if self._lines.take():
            skipped = self._lines.skipped()
            more = f" ({skipped} more were not logged)" if skipped else ""
            log.log(level, "%s%s", text, more)


def _reason(error: DecodeError | SignatureError, delivery: Delivery) -> str:
    """Return why a command is ignored, for the metric."""
    if isinstance(error, DecodeError):
        return "too-large" if len(delivery.body) > COMMAND_BYTES else "malformed"
    if isinstance(error, _StaleError):
        return "stale"
    return "replayed" if isinstance(error, ReplayedMessageError) else "signature"
