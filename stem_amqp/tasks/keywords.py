"""The options of tasks and calls as keyword arguments, for type checkers and readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from stem_amqp.breakers.breaker import Breaker
from stem_amqp.durations import Duration
from stem_amqp.retry import RetryPolicy
from stem_amqp.tasks.equal_calls.debounce import Debounce
from stem_amqp.tasks.equal_calls.throttle import Throttle
from stem_amqp.tasks.limit import Limit
from stem_amqp.tasks.unique import Unique


class TaskKeywords(TypedDict, total=False):
    """The options of ``@stem.task(name, …)``.

    queue: logical queue; default: from the topology's routes, else the default queue.
    max_retries: runs after the first one; default: the queue's in the topology, else 3.
    retry: a `RetryPolicy` or its short form as a mapping; default: the queue's in the topology.
    retry_on: exception types to retry on; default: every `Exception`.
    never_retry_on: exception types that are dead-lettered at once; they take precedence.
    expected: exception types that are dead-lettered at once and are no reason for an alarm: logged
        at INFO without a traceback, and not sent to Sentry; they take precedence over both.
    rate_limit: the most starts over all workers, such as ``"10/s"``, or a `Limit`.
    concurrency_limit: the most runs at once over all workers, such as 5, or a `Limit`.
    limits: further limits, each a `Limit`, a rate, or the name of one under ``limits`` in the topology.
    time_limit: duration after which a run is cancelled and counts as failed.
    soft_time_limit: duration after which `SoftTimeLimitError` is raised inside the task.
    priority: 0 to 255; the queue must support it.
    expires: a task that is not started within this duration of its enqueue is dead-lettered.
    max_age: age from which the task is not retried or snoozed; default: the queue's, or STEM_MAX_AGE.
    ignore_result: store neither states nor the result.
    result_ttl: how long the result is kept.
    unique: allow one of several equal calls at a time: a `Unique`, a window such as ``"1h"``, or
        True: until the task has finished.
    debounce: run the last of several equal calls that follow each other closely: a `Debounce`, or the
        time that a call waits for the next one, such as ``"5s"``.
    throttle: enqueue at most so many equal calls in a period: a `Throttle`, or a rate such as ``"1/m"``.
    breaker: pause the task in all workers while too many of its runs fail: a
        `Breaker`, or a mapping such as ``{"failures": "50%", "of": 20}``.
    executor: ``"process"`` runs it in a process of the worker's pool; default: async functions in the
        event loop, the others in threads.
    description, tags, idempotent, attributes: metadata for people and tools.
    """

    queue: str | None
    max_retries: int | None
    retry: RetryPolicy | Mapping[str, Any] | None
    retry_on: type[Exception] | tuple[type[Exception], ...]
    never_retry_on: type[Exception] | tuple[type[Exception], ...]
    expected: type[Exception] | tuple[type[Exception], ...]
    rate_limit: str | Limit | None
    concurrency_limit: int | Limit | None
    limits: str | Limit | Sequence[str | Limit] | None
    time_limit: Duration | None
    soft_time_limit: Duration | None
    priority: int | None
    expires: Duration | None
    max_age: Duration | None
    ignore_result: bool
    result_ttl: Duration | None
    unique: Unique | Duration | bool | None
    debounce: Debounce | Duration | None
    throttle: Throttle | str | None
    breaker: Breaker | Mapping[str, Any] | None
    executor: Literal["process"] | None
    description: str
    tags: tuple[str, ...] | list[str]
    idempotent: bool
    attributes: Mapping[str, Any]


class CallKeywords(TypedDict, total=False):
    """The options of one call: of ``task.options(…)`` and ``stem.enqueue(name, …)``.

    queue: logical queue instead of the task's.
    delay: wait before the run.
    eta: time of the run, an aware datetime; the task never starts earlier.
    expires: latest time of the start: a duration from now, or an aware datetime.
    priority: 0 to 255; the queue must support it.
    max_age: age from which the task is not retried or snoozed.
    meta: the caller's metadata, such as a request id; JSON values.
    headers: custom AMQP headers: at most 64, 8 KiB in total.
    max_retries: runs after the first one.
    retry: the short form of a retry policy.
    time_limit: duration after which a run is cancelled.
    soft_time_limit: duration after which `SoftTimeLimitError` is raised inside the task.
    ignore_result: store neither states nor the result.
    result_ttl: how long the result is kept.
    unique: as for a task; False enqueues the call in any case.
    unique_key: the key by which calls are equal, instead of the arguments.
    debounce: as for a task; False runs the call in any case.
    debounce_key: the key by which debounced calls are equal, instead of the arguments.
    throttle: as for a task; False enqueues the call in any case.
    throttle_key: the key by which throttled calls are equal, instead of the arguments.
    task_id: the task's id, instead of a new UUIDv7.
    """

    queue: str | None
    delay: Duration | None
    eta: datetime | None
    expires: Duration | datetime | None
    max_age: Duration | None
    priority: int | None
    meta: Mapping[str, Any] | None
    headers: Mapping[str, Any] | None
    max_retries: int | None
    retry: RetryPolicy | Mapping[str, Any] | None
    time_limit: Duration | None
    soft_time_limit: Duration | None
    ignore_result: bool | None
    result_ttl: Duration | None
    unique: Unique | Duration | bool | None
    unique_key: str | None
    debounce: Debounce | Duration | Literal[False] | None
    debounce_key: str | None
    throttle: Throttle | str | Literal[False] | None
    throttle_key: str | None
    task_id: str | None
