"""Who did what: the last commands that changed something, and the directives that hold now."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.control.gathered import Answers
from stem_amqp.control.keywords import CommandKeywords, To
from stem_amqp.control.lasting import described
from stem_amqp.directives.model import Directive, Kind, Target
from stem_amqp.errors import StemError
from stem_amqp.messages.answers import ShuttingDown

log = logging.getLogger("stem_amqp.control")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """One command of the history.

    Args:
        at: when, in seconds since the epoch.
        by: who.
        what: what it asked for, such as ``pause queue orders``.
        kind: its kind, such as ``pause`` or ``shutdown``.
        reason: why, as the issuer says.
        nonce: its own id, which the logs of workers have too.
        expires: when it ends, in seconds since the epoch; None: when it is withdrawn.
    """

    at: float
    by: str
    what: str
    kind: str
    reason: str = ""
    nonce: str = ""
    expires: float | None = None

    @classmethod
    def of(cls, directive: Directive) -> Recorded:
        """Return what a stored directive says."""
        return cls(
            at=directive.at,
            by=directive.by,
            what=described(directive),
            kind=directive.kind,
            reason=directive.reason,
            nonce=directive.nonce,
            expires=directive.expires,
        )


def recorded(directives: Iterable[Directive]) -> tuple[Recorded, ...]:
    """Return what directives say, without the notes of workers on where messages wait: nobody ordered those.

    Args:
        directives: the directives, in their order.
    """
    return tuple(Recorded.of(one) for one in directives if one.kind != Kind.HELD)


async def record_shutdown(
    blueprint: Blueprint,
    connected: Connected,
    answers: Answers[ShuttingDown],
    keywords: CommandKeywords,
) -> None:
    """Keep a shutdown in the history; it is carried out already, so that an error is only logged.

    Args:
        blueprint: the application.
        connected: its connections.
        answers: what came of it.
        keywords: who was meant.
    """
    to = To.of(keywords, blueprint.settings)
    directive = Directive(
        kind="shutdown",
        value=answers.command.partition(" ")[0],
        target=Target(queue=", ".join(to.queues) or None),
        workers=to.workers,
        by=answers.issuer,
        nonce=answers.nonce,
    )
    try:
        await connected.desk(blueprint).record(directive)
    except StemError as error:
        log.warning("the command is not in the history: %s", error)
