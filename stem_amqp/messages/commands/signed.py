"""The parts of a command that its signature covers."""

from __future__ import annotations

from stem_amqp.messages.commands.revoke import REVOKE
from stem_amqp.signing.publish import Publish

NO_QUEUE = "-"
"""The queue name that is signed with a command, which is for all workers."""


def signed_part(
    body: bytes,
    task_id: str | None,
    headers: dict[str, object],
    *,
    type: str = REVOKE,  # noqa: A002 - AMQP's name
    reply_to: str | None = None,
) -> Publish:
    """Return the parts of a command that its signature covers.

    Args:
        body: the command.
        task_id: AMQP ``correlation_id``.
        headers: the headers.
        type: AMQP ``type``.
        reply_to: AMQP ``reply_to``.
    """
    return Publish(
        queue=NO_QUEUE,
        body=body,
        type=type,
        correlation_id=task_id,
        reply_to=reply_to,
        headers=headers,
    )
