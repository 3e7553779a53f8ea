"""The scope in which dependencies are opened: overrides, filled-in values, shared values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

Factory = Callable[..., Any]
"""Creates a dependency: a function, a generator function, or a class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """How the dependencies of a call are opened.

    Args:
        overrides: factory to the factory that replaces it.
        fill: type to the value for a factory's parameters of that type.
        share: returns the value of a shared factory, as an awaitable unless there is a ``hold``; None
            without a worker, so that the value is created for the call.
        hold: wraps an asynchronous value in a context manager for this thread; None where the value
            can be awaited.
    """

    overrides: Mapping[Factory, Factory] = field(default_factory=dict)
    fill: Mapping[type, Any] = field(default_factory=dict)
    share: Callable[[Factory], Any] | None = None
    hold: Callable[[Any], AbstractContextManager[Any]] | None = None


_EMPTY = Scope()
_scope: ContextVar[Scope] = ContextVar("stem_amqp_scope")


def current_scope() -> Scope:
    """Return the scope of the call whose dependencies are being opened."""
    return _scope.get(_EMPTY)


class in_scope:  # noqa: N801 - reads as a statement: with in_scope(scope)
    """Make a scope the current one for a block.

    Args:
        scope: the scope.
    """

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        self._token = _scope.set(self._scope)

    def __exit__(self, *exc_info: object) -> None:
        _scope.reset(self._token)
