"""Limits of tasks: how often they start and how many run at once, over all workers or in each."""

from __future__ import annotations

import difflib
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

import orjson

from stem_amqp.durations import Rate, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import NAME, NAME_LIMIT

Per: TypeAlias = Literal["namespace", "worker"]
OnStoreFailure: TypeAlias = Literal["closed", "open"]

MOST_AT_ONCE = 100_000
"""The largest concurrency of a limit."""
LONGEST_KEY = 128
"""The longest key in characters that is stored as it is; of a longer one a hash is stored."""
NO_KEY = ""
"""The key of calls that lack what a limit counts by: they share one limit of their own."""
_ROOTS = ("args", "meta")
_EXAMPLES = 'such as "args.tenant_id" or "meta.tenant"'


class LimitedCall(Protocol):
    """The call that a function in `Limit.by` gets: plain JSON values, as they are in the message."""

    @property
    def task(self) -> str:
        """The task's name."""
        ...

    @property
    def id(self) -> str:
        """The task's id."""
        ...

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments by name; without those that the caller left out."""
        ...

    @property
    def meta(self) -> Mapping[str, Any]:
        """The caller's metadata."""
        ...


By: TypeAlias = str | Callable[[LimitedCall], object]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of how often tasks start and of how many run at once.

    Args:
        rate: the most starts in a period, evenly spread, such as ``"10/s"`` or ``"600/m"``.
        concurrency: the most runs at the same time.
        by: counts separately for each value of an argument (``"args.tenant_id"``), of the metadata
            (``"meta.tenant"``), or of what a function of the call returns. Calls without it share one
            limit of their own. None: one limit for all calls.
        per: ``"namespace"``: over all workers, counted in the result backend's store;
            ``"worker"``: in each worker process separately, for a rate only.
        on_store_failure: while the store is away, ``"closed"`` lets the tasks wait in the broker, and
            ``"open"`` runs them without this limit.

    Raises:
        ConfigurationError: a value is not valid.
    """

    rate: str | None = None
    _: KW_ONLY
    concurrency: int | None = None
    by: By | None = None
    per: Per = "namespace"
    on_store_failure: OnStoreFailure = "closed"

    def __post_init__(self) -> None:
        if self.rate is None and self.concurrency is None:
            raise ConfigurationError(
                'a limit needs a rate or a concurrency: Limit("10/s") or Limit(concurrency=5)'
            )
        if self.rate is not None:
            Rate.parse(self.rate)
        _check_concurrency(self.concurrency)
        _check_by(self.by)
        _check_choice("per", self.per, get_args(Per))
        _check_choice("on_store_failure", self.on_store_failure, get_args(OnStoreFailure))
        if self.per == "worker" and self.concurrency is not None:
            raise ConfigurationError(
                'a limit per worker has a rate only: remove per="worker", or set the concurrency of the'
                " queue, which is per worker (stem-amqp worker --concurrency, or the topology file)"
            )

    def __str__(self) -> str:
        words = [self.rate] if self.rate is not None else []
        if self.concurrency is not None:
            words.append(f"{self.concurrency} at once")
        text = " and ".join(words)
        if self.by is not None:
            text += f" by {by_text(self.by)}"
        return text + (" per worker" if self.per == "worker" else "")

    @property
    def argument(self) -> str | None:
        """The name of the argument that it counts by, if it does."""
        root, _, path = self.by.partition(".") if isinstance(self.by, str) else ("", "", "")
        return path.partition(".")[0] if root == "args" else None

    def key(self, call: LimitedCall) -> str:
        """Return the key that a call counts under; `NO_KEY` without one.

        Args:
            call: the call.

        Raises:
            Exception: whatever a function in ``by`` raises.
            ConfigurationError: it returns what cannot be written as JSON.
        """
        by = self.by
        if by is None:
            return NO_KEY
        if not isinstance(by, str):
            return key_text(by(call))
        root, *path = by.split(".")
        value: Any = call.args if root == "args" else call.meta
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return key_text(value)


def key_text(value: object) -> str:
    """Return a value as the key of a limit: equal values have equal keys in every process.

    Raises:
        ConfigurationError: it cannot be written as JSON.
    """
    if value is None:
        return NO_KEY
    if isinstance(value, str):
        text = value
    else:
        try:
            text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        except TypeError as error:
            raise ConfigurationError(
                f"the key of a limit must be a string, a number or other JSON, not {shown(value)}"
            ) from error
    if len(text) <= LONGEST_KEY and text.isprintable():
        return text
    return "sha256:" + hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def by_text(by: By) -> str:
    """Return a text for what a limit counts by: the path, or the name of the function."""
    if isinstance(by, str):
        return by
    return str(getattr(by, "__qualname__", type(by).__name__)).rpartition("<locals>.")[2]


def rate_limit(value: object) -> Limit:
    """Read the option ``rate_limit``: a rate or a `Limit`.

    Raises:
        ConfigurationError: the value is not valid.
    """
    if isinstance(value, Limit):
        if value.rate is None:
            raise ConfigurationError(
                "rate_limit needs a limit with a rate; write concurrency_limit=… for this one"
            )
        return value
    if isinstance(value, str):
        return Limit(value)
    raise ConfigurationError(
        f'rate_limit must be a rate such as "10/s" or a Limit, not {shown(value)}'
    )


def concurrency_limit(value: object) -> Limit:
    """Read the option ``concurrency_limit``: a number or a `Limit`.

    Raises:
        ConfigurationError: the value is not valid.
    """
    if isinstance(value, Limit):
        if value.concurrency is None:
            raise ConfigurationError(
                "concurrency_limit needs a limit with a concurrency; write rate_limit=… for this one"
            )
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Limit(concurrency=value)
    raise ConfigurationError(
        f"concurrency_limit must be a number such as 5 or a Limit, not {shown(value)}"
    )


def limits(value: object) -> tuple[Limit | str, ...]:
    """Read the option ``limits``: limits, rates, and names of limits in the topology file.

    Raises:
        ConfigurationError: the value is not valid.
    """
    single = isinstance(value, (str, Limit)) or not isinstance(value, Iterable)
    given: list[object] = [value] if single else list(value)  # type: ignore[call-overload]
    return tuple(_one(one) for one in given)


OPTIONS: Mapping[str, Callable[[object], object]] = {
    "rate_limit": rate_limit,
    "concurrency_limit": concurrency_limit,
    "limits": limits,
}
"""The options of tasks that are limits, and what reads them."""


def _one(value: object) -> Limit | str:
    if isinstance(value, Limit):
        return value
    if isinstance(value, str) and "/" in value:
        return Limit(value)
    if isinstance(value, str) and NAME.fullmatch(value) and len(value) <= NAME_LIMIT:
        return value
    raise ConfigurationError(
        'limits must be a list of Limit(…), of rates such as "10/s", and of names of limits in the'
        f" topology file, not of {shown(value)}"
    )


def _check_concurrency(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_AT_ONCE:
        raise ConfigurationError(
            f"concurrency must be a whole number from 1 to {MOST_AT_ONCE}, not {shown(value)}"
        )


def _check_by(by: object) -> None:
    if by is None:
        return
    if isinstance(by, str):
        root, *path = by.split(".")
        if root in _ROOTS and path and all(path):
            return
        close = difflib.get_close_matches(root, _ROOTS, n=1) if path and all(path) else []
        meant = f"; did you mean {'.'.join([close[0], *path])!r}?" if close else ""
        if not path and by and by not in _ROOTS:
            meant = f"; did you mean 'args.{by}' or 'meta.{by}'?"
        raise ConfigurationError(
            f"a limit cannot count by {shown(by)}{meant}\n  Write a path, {_EXAMPLES}."
        )
    if not callable(by):
        raise ConfigurationError(
            f"by must be a path, {_EXAMPLES}, or a function of the call, not {shown(by)}"
        )
    if inspect.iscoroutinefunction(by):
        raise ConfigurationError(
            f"by must be a plain function, since it is called before each start; {by_text(by)} is async"
        )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(
            f"{name} must be {' or '.join(map(repr, choices))}, not {shown(value)}{meant}"
        )
