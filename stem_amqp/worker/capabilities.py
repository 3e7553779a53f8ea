"""Checks whether the result backend supports the features that the tasks use."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from types import CodeType

from stem_amqp.blueprint import Blueprint
from stem_amqp.results.base import ResultBackend
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.worker.gates.limits.plan import shared_limits

_REMEDY = "Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers and workers"


def warnings_of(blueprint: Blueprint, backend: ResultBackend) -> Iterator[str]:
    """Yield an error message for everything that tasks use and the backend does not support.

    Args:
        blueprint: the application of a worker.
        backend: its result backend.
    """
    yield from unmet(blueprint.registry, backend)
    rates = rates_of_each_worker(blueprint, backend)
    if rates is not None:
        yield rates


def unmet(tasks: Iterable[TaskDefinition], backend: ResultBackend) -> Iterator[str]:
    """Yield an error message for each feature that tasks use and the backend does not support.

    Args:
        tasks: the tasks of a worker.
        backend: its result backend.
    """
    if backend.keeps_keys:
        return
    kind, known = type(backend).__name__, list(tasks)
    ruled = [task.name for task in known if task.options.has_rule]
    if ruled:
        yield (
            f"{', '.join(ruled)}: unique, debounced and throttled tasks need a result backend that keeps keys, which {kind}"
            f" does not: they cannot be enqueued. {_REMEDY}"
        )
    guarded = [task.name for task in known if _guards(task)]
    if guarded:
        yield (
            f"{', '.join(guarded)}: ctx.once needs a result backend that keeps keys, which {kind}"
            f" does not: a run that uses it fails and is not retried. {_REMEDY}"
        )


def rates_of_each_worker(blueprint: Blueprint, backend: ResultBackend) -> str | None:
    """Return an error message if rates over all workers are counted in each worker; None if not.

    Args:
        blueprint: the application of a worker.
        backend: its result backend.
    """
    rates = [
        f"{task.name} {counter.limit.rate}"
        for task in blueprint.registry
        for counter in shared_limits(task, blueprint)
        if counter.rate is not None
    ]
    if not rates or backend.limits() is not None:
        return None
    return (
        f"rates over all workers need a store, which {type(backend).__name__} is not: these apply in each"
        f' worker process separately: {", ".join(rates)}. {_REMEDY}; or write Limit(…, per="worker")'
    )


def _guards(task: TaskDefinition) -> bool:
    """Return whether the names in a task's own code indicate that it uses `ctx.once`."""
    code = getattr(inspect.unwrap(task.function), "__code__", None)
    if not isinstance(code, CodeType):
        return False
    names = set(_names(code))
    has_context = task.arguments.context_parameter is not None or "TaskContext" in names
    return has_context and "once" in names


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
