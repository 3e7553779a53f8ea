"""Enqueue tasks once a database transaction is committed."""

from __future__ import annotations

from dataclasses import replace
from typing import ParamSpec, TypeVar

from django.db import transaction

from stem_amqp.messages.message import new_id
from stem_amqp.task import BoundTask, Task

P = ParamSpec("P")
R = TypeVar("R")


def enqueue_on_commit(
    task: Task[P, R] | BoundTask[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> str:
    """Enqueue a task once the transaction of the default database is committed.

    After a rollback nothing is enqueued; without a transaction the task is enqueued at once. The
    publish uses the process's shared blocking producer, and waits for the broker's confirm.

    A crash between the commit and the publish loses the task: the two are not one transaction.

    Args:
        task: the task; with options of the call, ``task.options(…)``.
        *args: the function's arguments, without the context; they are checked now.
        **kwargs: the same by name.

    Returns:
        The id that the task will have, which can be stored in the same transaction. If an equal
        unique task is enqueued already, no task gets this id.

    Raises:
        ArgumentsError: the arguments do not fit the function; nothing will be enqueued.
        PublishError: the broker did not accept it. The end of the outermost ``atomic`` block raises
            this, and the transaction stays committed.
        BrokerUnavailableError: there is no connection within the timeout; raised likewise.
    """
    call = task.prepare(*args, **kwargs)
    task_id = call.options.task_id or new_id()
    named = replace(call, options=replace(call.options, task_id=task_id))

    def publish() -> None:
        task.app.blocking_producer.enqueue_call(named)

    transaction.on_commit(publish)
    return task_id
