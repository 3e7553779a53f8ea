"""Database connections of tasks: one for each thread, and no stale ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.db import close_old_connections
from typing_extensions import override

from stem_amqp.app import Stem
from stem_amqp.tasks.definition import Registry, TaskDefinition


class _ConnectionKeeper(Registry):
    """Wraps the functions that workers run; a direct call runs the plain function."""

    @override
    def add(self, definition: TaskDefinition) -> None:
        if not definition.is_async:
            definition = replace(definition, function=_as_a_request(definition.function))
        super().add(definition)


class DjangoStem(Stem):
    """A `Stem` whose plain tasks use Django's database connections like requests.

    Before and after each run the task's own thread closes the connections that are older than
    ``CONN_MAX_AGE`` or broken. Calls of the plain function, as in tests, close no connection. An
    async task uses the database in a thread of Django, with ``sync_to_async``, and has to close
    such connections itself.
    """

    registry_type = _ConnectionKeeper


def _as_a_request(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that closes old connections before and after a run, in the same thread."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return run
