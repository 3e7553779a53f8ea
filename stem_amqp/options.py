"""Options of a task, and those of one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict

from stem_amqp.durations import Duration, Rate, seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.headers import check_own
from stem_amqp.message import ID_BYTES, UNIQUE_KEY
from stem_amqp.retry import RetryPolicy
from stem_amqp.settings import NAME, NAME_LIMIT
from stem_amqp.unique import Unique

DEFAULT_MAX_RETRIES = 3
LONGEST_KEY = 1024
"""Characters of a unique task's key that are believed."""


class TaskKeywords(TypedDict, total=False):
    """What ``@stem.task(name, …)`` takes.

    queue: logical queue; else the topology's routes decide, else the default queue.
    max_retries: runs after the first one; default 3, or the queue's in the topology.
    retry: a `RetryPolicy`, its short form as a mapping; default: the queue's in the topology.
    retry_on: exception types to retry on; default: every `Exception`.
    never_retry_on: exception types that go to the dead-letter queue at once; they win.
    rate_limit: starts per worker, such as ``"10/s"``.
    time_limit: after so long a run is cancelled, and counts as failed.
    soft_time_limit: after so long `SoftTimeLimitError` is raised inside the task.
    priority: 0 to 255; the queue must support it.
    expires: a task not started so long after its enqueue goes to the dead-letter queue.
    max_age: from that age on it is not retried or snoozed; default: the queue's, or STEM_MAX_AGE.
    ignore_result: store neither states nor the result.
    result_ttl: how long the result is kept.
    unique: of the calls that are the same one is on its way at a time: a `Unique`, a window such as
        ``"1h"``, or True: until it has finished.
    executor: ``"process"`` runs it in a process of the worker's pool; default: async functions in the
        event loop, the others in threads.
    description, tags, idempotent, attributes: metadata for people and tools.
    """

    queue: str | None
    max_retries: int | None
    retry: RetryPolicy | Mapping[str, Any] | None
    retry_on: type[Exception] | tuple[type[Exception], ...]
    never_retry_on: type[Exception] | tuple[type[Exception], ...]
    rate_limit: str | None
    time_limit: Duration | None
    soft_time_limit: Duration | None
    priority: int | None
    expires: Duration | None
    max_age: Duration | None
    ignore_result: bool
    result_ttl: Duration | None
    unique: Unique | Duration | bool | None
    executor: Literal["process"] | None
    description: str
    tags: tuple[str, ...] | list[str]
    idempotent: bool
    attributes: Mapping[str, Any]


class CallKeywords(TypedDict, total=False):
    """What ``task.options(…)`` and ``stem.enqueue(name, …)`` take: this call's own.

    queue: another logical queue than the task's.
    delay: run that much later.
    eta: run at that time, an aware datetime; never earlier.
    expires: do not start later than that: a duration from now, or an aware datetime.
    priority: 0 to 255; the queue must support it.
    max_age: from that age on it is not retried or snoozed any more.
    meta: the caller's metadata, such as a request id; JSON values.
    headers: AMQP headers of one's own: at most 64, with 8 KiB together.
    max_retries: runs after the first one.
    retry: the short form of a retry policy.
    time_limit: after so long a run is cancelled.
    soft_time_limit: after so long `SoftTimeLimitError` is raised inside the task.
    ignore_result: store neither states nor the result.
    result_ttl: how long the result is kept.
    unique: as for a task; False for a call that is to be enqueued in any case.
    unique_key: what makes the call the same as another one, instead of arguments.
    task_id: an id of one's own instead of a new UUIDv7.
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
    task_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOptions:
    """The options of a task, checked; None means: not set here. See `TaskKeywords`."""

    queue: str | None = None
    max_retries: int | None = None
    retry: RetryPolicy | None = None
    retry_on: tuple[type[Exception], ...] = (Exception,)
    never_retry_on: tuple[type[Exception], ...] = ()
    rate_limit: Rate | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    priority: int | None = None
    expires: float | None = None
    max_age: float | None = None
    ignore_result: bool = False
    result_ttl: float | None = None
    unique: Unique | None = None
    executor: Literal["process"] | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    idempotent: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def build(cls, keywords: TaskKeywords) -> TaskOptions:
        """Check what was given to the decorator.

        Raises:
            ConfigurationError: an option is unknown or its value cannot be used.
        """
        known = set(cls.__dataclass_fields__)
        unknown = sorted(set(keywords) - known)
        if unknown:
            raise ConfigurationError(
                f"a task has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        values: dict[str, Any] = {k: v for k, v in keywords.items() if v is not None}
        for name in ("time_limit", "soft_time_limit", "expires", "max_age", "result_ttl"):
            if name in values:
                values[name] = _positive(name, values[name])
        if "rate_limit" in values:
            values["rate_limit"] = Rate.parse(values["rate_limit"])
        if "retry" in values:
            values["retry"] = retry_policy(values["retry"])
        for name in ("retry_on", "never_retry_on"):
            if name in values:
                values[name] = _exceptions(name, values[name])
        if "unique" in values:
            values["unique"] = Unique.parse(values["unique"])
        _check_executor(values)
        if "tags" in values:
            values["tags"] = tuple(values["tags"])
        check_shared(values)
        return cls(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallOptions:
    """The options of one call, checked; None means: not set here. See `CallKeywords`."""

    queue: str | None = None
    delay: float | None = None
    eta: datetime | None = None
    expires: float | datetime | None = None
    max_age: float | None = None
    priority: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    max_retries: int | None = None
    retry: RetryPolicy | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None = None
    result_ttl: float | None = None
    unique: Unique | Literal[False] | None = None
    unique_key: str | None = None
    task_id: str | None = None

    @classmethod
    def build(cls, keywords: CallKeywords) -> CallOptions:
        """Check what was given for a call.

        Raises:
            ConfigurationError: an option is unknown or its value cannot be used.
        """
        known = set(cls.__dataclass_fields__)
        unknown = sorted(set(keywords) - known)
        if unknown:
            raise ConfigurationError(
                f"a call has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        values: dict[str, Any] = {k: v for k, v in keywords.items() if v is not None}
        if "delay" in values and "eta" in values:
            raise ConfigurationError("a call has either a delay or an eta, not both")
        if "delay" in values:
            values["delay"] = seconds(values["delay"])
        for name in ("time_limit", "soft_time_limit", "max_age", "result_ttl"):
            if name in values:
                values[name] = _positive(name, values[name])
        for name in ("eta", "expires"):
            if name in values:
                values[name] = _moment(name, values[name])
        if "retry" in values:
            values["retry"] = retry_policy(values["retry"])
            values["retry"].short_form()
        _check_properties(values)
        _read_unique(values)
        check_shared(values)
        return cls(**values)

    def carried(self) -> dict[str, Any]:
        """Return what the worker must know: the ``options`` of the message's body."""
        carried: dict[str, Any] = {
            name: getattr(self, name)
            for name in _CARRIED_NUMBERS
            if getattr(self, name) is not None
        }
        if self.retry is not None:
            carried["retry"] = self.retry.short_form()
        if self.ignore_result is not None:
            carried["ignore_result"] = self.ignore_result
        return carried


DEFAULT_CALL = CallOptions()
_CARRIED_NUMBERS = ("max_retries", "time_limit", "soft_time_limit", "max_age", "result_ttl")
LONGEST = 10 * 366 * 86400.0
"""Seconds of the longest duration that an option may have: ten years."""


def check_carried(options: Mapping[str, Any]) -> None:
    """Check the ``options`` of a message's body before anything is done with them.

    Args:
        options: as they came, from whomever. Those that this version does not know are left alone.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    for name in _CARRIED_NUMBERS:
        value = options.get(name)
        if value is None:
            continue
        whole = name == "max_retries"
        kinds = (int,) if whole else (int, float)
        if type(value) not in kinds or not (value >= 0 if whole else 0 < value <= LONGEST):
            raise ConfigurationError(f"the option {name} cannot be {value!r:.60}")
    key = options.get(UNIQUE_KEY)
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= LONGEST_KEY):
        raise ConfigurationError(f"the option {UNIQUE_KEY} cannot be {key!r:.60}")
    ignore = options.get("ignore_result")
    if not isinstance(ignore, bool | None):
        raise ConfigurationError(f"the option ignore_result cannot be {ignore!r:.60}")
    retry = options.get("retry")
    if retry is not None:
        try:
            retry_policy(retry)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigurationError(f"the option retry cannot be used: {error!s:.200}") from error


def retry_policy(value: RetryPolicy | Mapping[str, Any]) -> RetryPolicy:
    """Return a policy from an object or from its short form.

    Raises:
        ConfigurationError: it is neither.
    """
    if isinstance(value, RetryPolicy):
        return value
    if isinstance(value, Mapping):
        return RetryPolicy.parse(value)
    raise ConfigurationError(
        f"a retry policy is a RetryPolicy or its short form such as"
        f' {{"base": "2s", "max": "5m"}}, not {type(value).__name__}'
    )


def check_name(kind: str, name: str) -> str:
    """Return a task's or queue's name if it is one.

    Raises:
        ConfigurationError: it is not.
    """
    if callable(name):  # `@stem.task` without parentheses: the function comes as the name
        raise ConfigurationError(
            f"a {kind} needs a name, and {getattr(name, '__name__', name)} has none: write"
            " @stem.task('orders.sync') above the function, with a name that stays when code moves"
        )
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise ConfigurationError(
            f"{name!r} is no {kind} name: dotted words of letters, digits, '_' and '-',"
            f" such as 'orders.sync', at most {NAME_LIMIT} characters"
        )
    return name


def _positive(name: str, value: Duration) -> float:
    result = seconds(value)
    if not 0 < result <= LONGEST:
        raise ConfigurationError(
            f"{name} must be longer than nothing and at most ten years, not {value!r}"
        )
    return result


def _moment(name: str, value: Duration | datetime) -> float | datetime:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError(
                f"{name} must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1);"
                f" {value!r} has no time zone"
            )
        return value
    if name == "eta":
        raise ConfigurationError(f"eta must be an aware datetime, not {value!r}; or use delay")
    return _positive(name, value)


def _read_unique(values: dict[str, Any]) -> None:
    if "unique" in values:
        values["unique"] = Unique.parse(values["unique"]) or False
    key = values.get("unique_key")
    if key is None:
        return
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"unique_key is a text that is not empty, not {key!r}")
    if values.get("unique") is False:
        raise ConfigurationError("a call with unique=False has no unique_key")


def _exceptions(name: str, value: Any) -> tuple[type[Exception], ...]:
    types = value if isinstance(value, tuple) else (value,)
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ConfigurationError(f"{name} takes exception types, not {kind!r}")
    return types


def _check_executor(values: Mapping[str, Any]) -> None:
    if values.get("executor", "process") != "process":
        raise ConfigurationError(
            f"executor is 'process' or left out, not {values['executor']!r}: without it, async"
            " functions run in the event loop and the others in threads"
        )


def _check_properties(values: Mapping[str, Any]) -> None:
    if "headers" in values:
        check_own(values["headers"])
    if not 0 < len(str(values.get("task_id", "-")).encode(errors="replace")) <= ID_BYTES:
        raise ConfigurationError(f"a task_id has 1 to {ID_BYTES} bytes")


def check_shared(values: Mapping[str, Any]) -> None:
    """Check what tasks and calls both have.

    Args:
        values: by their names; None is not among them.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    if "queue" in values:
        check_name("queue", values["queue"])
    retries = values.get("max_retries", 0)
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ConfigurationError(f"max_retries must be 0 or more, not {retries!r}")
    priority = values.get("priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 255:  # noqa: PLR2004 - one byte on the wire
        raise ConfigurationError(f"priority must be from 0 to 255, not {priority!r}")
    soft, hard = values.get("soft_time_limit"), values.get("time_limit")
    if soft is not None and hard is not None and soft >= hard:
        raise ConfigurationError(
            f"soft_time_limit ({soft:g} s) must be shorter than time_limit ({hard:g} s)"
        )
