"""Database connections of tasks: one a thread, and none that is stale."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.db import close_old_connections

from stem_amqp.app import Stem
from stem_amqp.definition import Registry, TaskDefinition


class _ConnectionKeeper(Registry):
    """Wraps the functions that workers run, and not those that people call."""

    def add(self, definition: TaskDefinition) -> None:
        """Add a task."""
        if not definition.is_async:
            definition = replace(definition, function=_as_a_request(definition.function))
        super().add(definition)


class DjangoStem(Stem):
    """A `Stem` whose plain tasks use Django's database connections as requests do.

    Before and after each run the task's own thread closes the connections that are older than
    ``CONN_MAX_AGE`` or broken. Calls of the plain function, as in tests, touch no connection. An async
    task reaches the database in a thread of Django's, with ``sync_to_async``, and sees to it itself.
    """

    registry_type = _ConnectionKeeper


def _as_a_request(function: Callable[..., Any]) -> Callable[..., Any]:
    """Do around a run what Django does around a request, in the same thread."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return run
