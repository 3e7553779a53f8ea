"""Checks of option values: type, range, and whether they can be written on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.headers import check_custom_headers
from stem_amqp.messages.message import ID_BYTES, unwritable_reason

LONGEST = 10 * 366 * 86400.0
"""The longest duration of an option, in seconds: ten years."""
MOST_RETRIES = 2**31 - 1


def text(name: str, value: Any, example: str) -> str:
    """Return a non-empty string that AMQP and every backend can store.

    Raises:
        ConfigurationError: the value is not such a string.
    """
    if not isinstance(value, str):
        hint = "; convert it first, as with str(value)" if hasattr(value, "hex") else ""
        raise ConfigurationError(
            f"{name} must be a string such as {example}, not a {type(value).__name__}{hint}"
        )
    if not value:
        raise ConfigurationError(f"{name} must be a string such as {example}, and cannot be empty")
    if value.isprintable():
        return value
    if any(ord(character) < ord(" ") or 0xD800 <= ord(character) < 0xE000 for character in value):  # noqa: PLR2004 - surrogates
        raise ConfigurationError(
            f"{name} contains a control character or is not UTF-8: {value!r:.80}"
        )
    return value


def task_id(value: Any) -> str:
    """Return a task's id.

    Raises:
        ConfigurationError: it is not a valid id.
    """
    given = text("task_id", value, "'order-42'")
    if len(given.encode()) > ID_BYTES:
        raise ConfigurationError(
            f"a task_id must have 1 to {ID_BYTES} bytes, not {len(given.encode())}"
        )
    return given


def flag(name: str, value: Any) -> bool:
    """Return whether an option is set.

    Raises:
        ConfigurationError: the value is neither True nor False.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {value!r:.80}")
    return value


def integer(name: str, value: Any, most: int) -> int:
    """Return an integer from 0 to a maximum.

    Raises:
        ConfigurationError: the value is not such an integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ConfigurationError(f"{name} must be an integer from 0 to {most}, not {value!r:.80}")
    return value


def positive(name: str, value: Duration) -> float:
    """Return a duration in seconds, longer than 0.

    Raises:
        ConfigurationError: it is not a valid duration, 0, or longer than ten years.
    """
    result = seconds(value)
    if not 0 < result <= LONGEST:
        raise ConfigurationError(
            f"{name} must be longer than 0 and at most ten years, not {value!r:.80}"
        )
    return result


def delay(value: Duration) -> float:
    """Return a delay in seconds, which may be 0.

    Raises:
        ConfigurationError: it is not a valid duration, or longer than ten years.
    """
    result = seconds(value)
    if result > LONGEST:
        raise ConfigurationError(f"delay must be at most ten years, not {value!r:.80}")
    return result


def time_or_duration(name: str, value: Duration | datetime) -> float | datetime:
    """Return a point in time or, except for an eta, a duration in seconds.

    Raises:
        ConfigurationError: the value is neither, or has no time zone.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError(
                f"{name} must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1);"
                f" {value!r} has no time zone"
            )
        return value
    if name == "eta":
        raise ConfigurationError(f"eta must be an aware datetime, not {value!r:.80}; or use delay")
    return positive(name, value)


def json_object(name: str, value: Any) -> dict[str, Any]:
    """Return a mapping as it is read back from JSON, so that it is equal on every broker and backend.

    Raises:
        ConfigurationError: it is not a mapping, or contains a value that JSON cannot represent.
    """
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f'{name} must be a mapping of names to JSON values, such as {{"request_id": "req-1"}}, not a'
            f" {type(value).__name__}"
        )
    try:
        written = orjson.dumps(dict(value))
    except TypeError as error:
        raise ConfigurationError(
            f"{name} cannot be written as JSON: {unwritable_reason(error)}"
        ) from error
    if b"null" in written and _has_non_finite(value):
        raise ConfigurationError(f"{name} contains NaN or an infinity, which JSON cannot represent")
    read: dict[str, Any] = orjson.loads(written)
    return read


def by_name(args: Any) -> dict[str, Any]:
    """Return the arguments of a call by name.

    Raises:
        ConfigurationError: the value is not a mapping of names.
    """
    if args is None:
        return {}
    if not isinstance(args, Mapping) or not all(isinstance(name, str) for name in args):
        raise ConfigurationError(
            f'args must be a mapping of names to values, such as {{"order_id": "o-1"}}, not {args!r:.80}'
        )
    return dict(args)


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_non_finite, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_non_finite, value))


def check_properties(values: dict[str, Any]) -> None:
    """Check the options that become AMQP properties, headers and metadata.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    if "headers" in values:
        check_custom_headers(values["headers"])
    if "meta" in values:
        values["meta"] = json_object("meta", values["meta"])
    if "task_id" in values:
        task_id(values["task_id"])


def exceptions(name: str, value: Any) -> tuple[type[Exception], ...]:
    """Return exception types, given as a tuple or as a single type.

    Raises:
        ConfigurationError: a value is not an exception type.
    """
    types = value if isinstance(value, tuple) else (value,)
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ConfigurationError(f"{name} takes exception types, not {kind!r}")
    return types


def check_expected(values: Mapping[str, Any]) -> None:
    """Check the option ``expected``.

    Raises:
        ConfigurationError: it contains `Exception`, which includes every bug of the task.
    """
    if Exception in values.get("expected", ()):
        raise ConfigurationError(
            "expected takes the exception types of planned ends, such as CardDeclined, and not"
            " Exception: no failure of the task would be reported.\n  To fail at the first exception"
            " without a retry, use max_retries=0"
        )


def check_executor(values: Mapping[str, Any]) -> None:
    """Check the option ``executor``.

    Raises:
        ConfigurationError: there is no such executor.
    """
    if values.get("executor", "process") != "process":
        raise ConfigurationError(
            f"executor must be 'process' or left out, not {values['executor']!r}: without it, async"
            " functions run in the event loop and the others in threads"
        )


def check_description(values: dict[str, Any]) -> None:
    """Check the descriptive options, which do not affect a run.

    Raises:
        ConfigurationError: a value has the wrong type.
    """
    flag("idempotent", values.get("idempotent", False))
    if not isinstance(values.get("description", ""), str):
        raise ConfigurationError(f"description must be a string, not {values['description']!r:.80}")
    if not isinstance(values.get("attributes", {}), Mapping):
        raise ConfigurationError(f"attributes must be a mapping, not {values['attributes']!r:.80}")
    tags = values.get("tags")
    if tags is None:
        return
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
        raise ConfigurationError(
            f"tags must be a list of strings, such as ['billing'], not {tags!r:.80}"
        )
    values["tags"] = tuple(tags)
