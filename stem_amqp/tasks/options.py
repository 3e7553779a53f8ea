"""Options of tasks and of single calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from stem_amqp.breakers.breaker import Breaker
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.message import UNIQUE_KEY
from stem_amqp.retry import RetryPolicy
from stem_amqp.settings import NAME, NAME_LIMIT
from stem_amqp.tasks import limit
from stem_amqp.tasks import option_values as option
from stem_amqp.tasks.batch import Batch, check_batch
from stem_amqp.tasks.equal_calls.debounce import DEBOUNCE, Debounce, Place
from stem_amqp.tasks.equal_calls.rule import read_rules
from stem_amqp.tasks.equal_calls.throttle import Throttle
from stem_amqp.tasks.keywords import CallKeywords, TaskKeywords
from stem_amqp.tasks.limit import Limit
from stem_amqp.tasks.unique import Unique

DEFAULT_MAX_RETRIES = 3
LONGEST_KEY = 1024
"""The longest unique key that a worker accepts, in characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOptions:
    """The checked options of a task; None means not set. See `TaskKeywords`."""

    queue: str | None = None
    max_retries: int | None = None
    retry: RetryPolicy | None = None
    retry_on: tuple[type[Exception], ...] = (Exception,)
    never_retry_on: tuple[type[Exception], ...] = ()
    expected: tuple[type[Exception], ...] = ()
    rate_limit: Limit | None = None
    concurrency_limit: Limit | None = None
    limits: tuple[Limit | str, ...] = ()
    time_limit: float | None = None
    soft_time_limit: float | None = None
    priority: int | None = None
    expires: float | None = None
    max_age: float | None = None
    ignore_result: bool = False
    result_ttl: float | None = None
    unique: Unique | None = None
    debounce: Debounce | None = None
    throttle: Throttle | None = None
    breaker: Breaker | None = None
    executor: Literal["process"] | None = None
    batch: Batch | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    idempotent: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_rule(self) -> bool:
        """Whether there is a rule for equal calls."""
        return self.unique is not None or self.debounce is not None or self.throttle is not None

    @classmethod
    def build(cls, keywords: TaskKeywords, batch: Batch | None = None) -> TaskOptions:
        """Check the options given to the decorator.

        Args:
            keywords: the options.
            batch: the option ``batch``, which changes the type of the task.

        Raises:
            ConfigurationError: an option is unknown or its value is not valid.
        """
        values = _given({**keywords, "batch": batch}, cls.__dataclass_fields__, "task")
        for name in ("time_limit", "soft_time_limit", "expires", "max_age", "result_ttl"):
            if name in values:
                values[name] = option.positive(name, values[name])
        for name, read in limit.OPTIONS.items():
            if name in values:
                values[name] = read(values[name])
        if "retry" in values:
            values["retry"] = retry_policy(values["retry"])
        for name in ("retry_on", "never_retry_on", "expected"):
            if name in values:
                values[name] = option.exceptions(name, values[name])
        option.check_expected(values)
        read_rules(values, "task")
        if "breaker" in values:
            values["breaker"] = Breaker.parse(values["breaker"])
        option.check_executor(values)
        check_batch(values)
        option.check_description(values)
        check_shared(values)
        return cls(**values)

    @property
    def limited(self) -> bool:
        """Whether the task has limits, its own or named ones."""
        return bool(self.rate_limit or self.concurrency_limit or self.limits)

    @property
    def own_limits(self) -> tuple[Limit, ...]:
        """The limits that the task itself has, without those that it names."""
        listed = [one for one in self.limits if isinstance(one, Limit)]
        return tuple(one for one in (self.rate_limit, self.concurrency_limit, *listed) if one)

    @property
    def named_limits(self) -> tuple[str, ...]:
        """The names of limits in the topology file that apply to the task."""
        return tuple(one for one in self.limits if isinstance(one, str))


@dataclass(frozen=True, kw_only=True, slots=True)
class CallOptions:
    """The checked options of one call; None means not set. See `CallKeywords`."""

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
    debounce: Debounce | Literal[False] | None = None
    debounce_key: str | None = None
    throttle: Throttle | Literal[False] | None = None
    throttle_key: str | None = None
    task_id: str | None = None

    @property
    def has_rule(self) -> bool:
        """Whether there is a rule for equal calls, or a key for one."""
        return (
            self.unique is not None
            or self.debounce is not None
            or self.throttle is not None
            or self.unique_key is not None
            or self.debounce_key is not None
            or self.throttle_key is not None
        )

    @classmethod
    def build(cls, keywords: CallKeywords) -> CallOptions:
        """Check the options given for a call.

        Raises:
            ConfigurationError: an option is unknown or its value is not valid.
        """
        values = _given(keywords, cls.__dataclass_fields__, "call")
        if "delay" in values and "eta" in values:
            raise ConfigurationError("a call takes either a delay or an eta, not both")
        if "delay" in values:
            values["delay"] = option.delay(values["delay"])
        for name in ("time_limit", "soft_time_limit", "max_age", "result_ttl"):
            if name in values:
                values[name] = option.positive(name, values[name])
        for name in ("eta", "expires"):
            if name in values:
                values[name] = option.time_or_duration(name, values[name])
        if "retry" in values:
            values["retry"] = retry_policy(values["retry"])
            values["retry"].short_form()
        option.check_properties(values)
        read_rules(values, "call")
        check_shared(values)
        return cls(**values)

    def carried(self) -> dict[str, Any]:
        """Return the options that are sent to the worker: the ``options`` of the message's body."""
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


def check_carried(options: Mapping[str, Any]) -> None:
    """Check the ``options`` of a received message's body.

    Args:
        options: the options as received. Options that this version does not know are ignored.

    Raises:
        ConfigurationError: a value is not valid.
    """
    for name in _CARRIED_NUMBERS:
        value = options.get(name)
        if value is None:
            continue
        whole = name == "max_retries"
        kinds = (int,) if whole else (int, float)
        if type(value) not in kinds or not (value >= 0 if whole else 0 < value <= option.LONGEST):
            raise ConfigurationError(f"invalid value for the option {name}: {value!r:.60}")
    key = options.get(UNIQUE_KEY)
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= LONGEST_KEY):
        raise ConfigurationError(f"invalid value for the option {UNIQUE_KEY}: {key!r:.60}")
    if options.get(DEBOUNCE) is not None:
        Place.read(options[DEBOUNCE])
    ignore = options.get("ignore_result")
    if not isinstance(ignore, bool | None):
        raise ConfigurationError(f"invalid value for the option ignore_result: {ignore!r:.60}")
    retry = options.get("retry")
    if retry is not None:
        try:
            retry_policy(retry)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigurationError(
                f"invalid value for the option retry: {error!s:.200}"
            ) from error


def retry_policy(value: RetryPolicy | Mapping[str, Any]) -> RetryPolicy:
    """Return a policy from a policy or its short form.

    Raises:
        ConfigurationError: the value is neither.
    """
    if isinstance(value, RetryPolicy):
        return value
    if isinstance(value, Mapping):
        try:
            return RetryPolicy.parse(value)
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(f"invalid retry policy: {error}") from error
    raise ConfigurationError(
        f"a retry policy must be a RetryPolicy or its short form such as"
        f' {{"base": "2s", "max": "5m"}}, not {type(value).__name__}'
    )


def check_name(kind: str, name: str) -> str:
    """Return the name of a task or queue, checked.

    Raises:
        ConfigurationError: it is not a valid name.
    """
    given: object = name
    if hasattr(given, "prepare"):
        raise ConfigurationError(
            f"{given!r} is a task, not a task's name: call its enqueue(…) or prepare(…)"
        )
    if callable(given) or (given == "" and kind == "task"):
        # `@stem.task` without parentheses passes the function as the name
        raise ConfigurationError(
            f"a {kind} needs a name, and {getattr(name, '__name__', 'this one')} has none: write"
            " @stem.task('orders.sync') above the function, with a name that stays when code moves"
        )
    if not isinstance(given, str) or not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise ConfigurationError(
            f"{name!r:.300} is not a valid {kind} name: use dotted words of letters, digits, '_' and"
            f" '-', such as 'orders.sync', at most {NAME_LIMIT} characters"
        )
    return name


def _given(keywords: Mapping[str, Any], known: Iterable[str], what: str) -> dict[str, Any]:
    """Return the options that are given and not None; refuse those that are unknown."""
    unknown = sorted(keywords.keys() - known)
    if unknown:
        raise ConfigurationError(
            f"unknown {what} option {', '.join(unknown)}; the options are {', '.join(sorted(known))}"
        )
    return {name: value for name, value in keywords.items() if value is not None}


def check_shared(values: Mapping[str, Any]) -> None:
    """Check the options that tasks and calls share.

    Args:
        values: option name to value, never None.

    Raises:
        ConfigurationError: a value is not valid.
    """
    if "queue" in values:
        check_name("queue", values["queue"])
    option.integer("max_retries", values.get("max_retries", 0), option.MOST_RETRIES)
    option.integer("priority", values.get("priority", 0), 255)
    option.flag("ignore_result", values.get("ignore_result", False))
    soft, hard = values.get("soft_time_limit"), values.get("time_limit")
    if soft is not None and hard is not None and soft >= hard:
        raise ConfigurationError(
            f"soft_time_limit ({soft:g} s) must be shorter than time_limit ({hard:g} s)"
        )
