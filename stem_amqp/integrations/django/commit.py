"""Tasks that are enqueued when the database has committed what they are about."""

from __future__ import annotations

from dataclasses import replace
from typing import ParamSpec, TypeVar

from django.db import transaction

from stem_amqp.message import new_id
from stem_amqp.task import BoundTask, Task

P = ParamSpec("P")
R = TypeVar("R")


def enqueue_on_commit(
    task: Task[P, R] | BoundTask[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> str:
    """Enqueue a task once the transaction of the default database is committed.

    After a rollback nothing is enqueued; without a transaction it is enqueued at once. It goes
    through the blocking producer that the process shares, and returns when the broker has confirmed.

    A crash between the commit and the publish loses the task: the two are not one transaction.

    Args:
        task: the task; with options of the call, ``task.options(…)``.
        *args: the function's arguments, without the context; they are checked now.
        **kwargs: the same by name.

    Returns:
        The id that the task is going to have, to be kept in the same transaction. (Where a unique
        task is on its way already, nothing gets this id.)

    Raises:
        ArgumentsError: the arguments do not fit the function; nothing will be enqueued.
        PublishError: the broker did not take it. The end of the outermost ``atomic`` block raises
            this; what was to be committed is.
        BrokerUnavailableError: there is no connection within the timeout; likewise.
    """
    call = task.prepare(*args, **kwargs)
    task_id = call.options.task_id or new_id()
    named = replace(call, options=replace(call.options, task_id=task_id))

    def publish() -> None:
        task.app.blocking_producer.enqueue_call(named)

    transaction.on_commit(publish)
    return task_id
