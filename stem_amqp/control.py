"""Commands to all workers of an application's namespace."""

from __future__ import annotations

from stem_amqp.app import Stem
from stem_amqp.commands import Revoke
from stem_amqp.errors import StemError, UnroutableError
from stem_amqp.transport.base import Publication


async def revoke(
    app: Stem, task_id: str, *, reason: str = "revoked", terminate: bool = False
) -> None:
    """Ask every worker not to run a task any more.

    Workers that are up remember the id (the last 100,000 of them) and forget the task's message when
    it comes; a worker that starts later does not know of it. A message that waits in a delay queue
    stays there until its time.

    Args:
        app: connected.
        task_id: the task.
        reason: why, for the log and the signals.
        terminate: also cancel it where it runs.

    Raises:
        StemError: no worker is up that could hear of it.
        PublishError: the broker did not take the command, or not for every worker: a worker's queue
            on a dead node of a cluster refuses it, and the others may have it.
    """
    command = Revoke(task_id=task_id, reason=reason, terminate=terminate)
    publication = Publication(
        exchange=app.names.control,
        routing_key="",
        body=command.encode(),
        type="stem.revoke",
        correlation_id=task_id,
        app_id=app.settings.namespace,
    )
    try:
        await app.connected.transport.publish(publication)
    except UnroutableError as error:
        raise StemError(
            f"task {task_id} was not revoked: no worker is up in namespace"
            f" {app.settings.namespace!r} that could hear of it"
        ) from error
