"""The option ``batch``: a worker collects messages of a task and calls the function once for them."""

from __future__ import annotations

import keyword
from dataclasses import dataclass

from stem_amqp.durations import Duration, format_seconds, seconds, shown
from stem_amqp.errors import ConfigurationError

LARGEST = 10_000
"""The most messages of a batch."""
LONGEST = 600.0
"""The longest time in seconds for which a worker collects: RabbitMQ closes the channel of a consumer that
leaves a delivery unsettled for half an hour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Call a task's function once for several messages.

    Args:
        size: the most messages of a batch, 1 to 10,000.
        within: the longest time from the first message of a batch to the call: seconds or a text such as
            ``"2s"``, at most 10 minutes.
        argument: the name of the one argument in a message, for calls by name and other languages.

    Raises:
        ConfigurationError: a value is not valid.
    """

    size: int
    within: Duration = "1s"
    argument: str = "item"

    def __post_init__(self) -> None:
        size, argument = self.size, self.argument
        if type(size) is not int or not 1 <= size <= LARGEST:
            raise ConfigurationError(
                f"size must be a whole number of messages from 1 to {LARGEST:,}, not {shown(size)}"
            )
        if not 0 < seconds(self.within) <= LONGEST:
            raise ConfigurationError(
                f"within must be longer than 0 and at most {format_seconds(LONGEST)}, not"
                f" {shown(self.within)}: the collected messages are unsettled for so long"
            )
        given: object = argument  # callers without a type checker may pass any type
        if not isinstance(given, str) or not argument.isidentifier():
            raise ConfigurationError(f"argument must be a name, not {shown(argument)}")
        if keyword.iskeyword(argument):
            raise ConfigurationError(f"argument must not be the keyword {argument!r}")

    @property
    def seconds(self) -> float:
        """The longest time from the first message of a batch to the call, in seconds."""
        return seconds(self.within)


def check_batch(values: dict[str, object]) -> None:
    """Check the option ``batch`` against the other options of a task.

    Args:
        values: option name to value.

    Raises:
        ConfigurationError: it is not a `Batch`, or another option does not go with it.
    """
    batch = values.get("batch")
    if batch is None:
        return
    if not isinstance(batch, Batch):
        raise ConfigurationError(
            f'batch takes a Batch, such as Batch(size=100, within="2s"), not {shown(batch)}'
        )
    if values.get("executor") is not None:
        raise ConfigurationError(
            "a batch task cannot run in the process pool, which gets one message at a time: leave out"
            " executor, or batch"
        )
    listed = [values.get("concurrency_limit"), *(values.get("limits") or ())]  # type: ignore[misc] # checked
    if any(getattr(limit, "concurrency", None) is not None for limit in listed):
        raise ConfigurationError(
            "concurrency_limit counts messages, so a batch would never be full: limit the batches that"
            " run at once by the number of workers and their prefetch, or use rate_limit"
        )
