"""Describes an exception as text, and never raises.

An exception is code of the application: its text, its class and its chain may fail in any way. If a
step fails, the description has less detail, but there always is one.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

import uncalled_for

from stem_amqp.messages.message import ERROR_LIMIT, TRACEBACK_LIMIT, shortened
from stem_amqp.outcome import Failure

CHAIN_LIMIT = 100
"""The maximum number of chained or grouped exceptions that are shown; of more, only the last is."""
_PACKAGE = str(Path(__file__).parents[2])
_CALLERS = tuple(str(Path(__file__).with_name(name)) for name in ("run.py", "threads.py"))
"""The files that call a task's function; a task never calls them."""
_INTERNAL_FILES = (
    _PACKAGE,
    str(Path(uncalled_for.__file__).parent),
    *(str(Path(traceback.__file__).with_name(name)) for name in ("asyncio", "concurrent")),
    str(Path(traceback.__file__).with_name("contextlib.py")),
)
"""Prefixes of the paths of the code between `_CALLERS` and the code of the application."""


def describe(error: BaseException) -> str:
    """Return type and message of an exception, shortened for a header. This never raises."""
    try:
        text = "".join((str(error),))
    except BaseException:  # noqa: BLE001 - the application's exception cannot be shown
        text = "(its text is not available)"
    return shortened(f"{_name(error)}: {text[:ERROR_LIMIT]}".removesuffix(": "), ERROR_LIMIT)


def failure_of(error: BaseException) -> Failure:
    """Return the description, the traceback and the object of an exception. This never raises."""
    text = shortened(traceback_of(error), TRACEBACK_LIMIT, keep_end=True)
    return Failure(error=describe(error), traceback=text, exception=error)


def _name(error: BaseException) -> str:
    # The slots of `type`: a metaclass may return anything for the attributes of its classes
    kind = type(error)
    try:
        name = str(type.__dict__["__qualname__"].__get__(kind))
        module = type.__dict__["__module__"].__get__(kind)
    except BaseException:  # noqa: BLE001 - as above
        return "an exception"
    if not isinstance(module, str) or module in {"builtins", "__main__"}:
        return name
    return f"{module}.{name}"


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception without the frames of the worker. This never raises."""
    try:
        if has_short_chain(error):
            shown = traceback.TracebackException(type(error), error, error.__traceback__)
            _trim(shown)
            return "".join(shown.format())
    except BaseException:  # noqa: BLE001 - see the module's docstring
        return _frames(error) + describe(error) + "\n"
    return f"{_frames(error)}{describe(error)}\n(with more than {CHAIN_LIMIT} chained exceptions)\n"


def _frames(error: BaseException) -> str:
    """Return the frames of one exception alone, without running any of its code."""
    try:
        step: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
        stack = traceback.StackSummary.extract(traceback.walk_tb(step))
        del stack[: _foreign(stack)]
        lines = stack.format()
    except BaseException:  # noqa: BLE001 - as above
        return ""
    return "".join(("Traceback (most recent call last):\n", *lines)) if lines else ""


def has_short_chain(error: BaseException) -> bool:
    """Return whether a chain has at most `CHAIN_LIMIT` exceptions; some tasks chain millions."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            if len(one.exceptions) > CHAIN_LIMIT:
                return False
            waiting += one.exceptions
        if len(seen) > CHAIN_LIMIT:
            return False
    return True


def _trim(shown: traceback.TracebackException) -> None:
    """Remove the frames between the worker and the task's function, which do not help users."""
    seen: set[int] = set()
    waiting: list[traceback.TracebackException | None] = [shown]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        del one.stack[: _foreign(one.stack)]
        waiting += [one.__cause__, one.__context__, *(one.exceptions or ())]


def _foreign(stack: traceback.StackSummary) -> int:
    """Return the number of frames before those of the application; 0 if it has none.

    The call of the task's function may itself be inside of a middleware: the last call counts.
    """
    calls = (i for i in reversed(range(len(stack))) if stack[i].filename.startswith(_CALLERS))
    start = next(calls, -1) + 1
    for begin in (start, 0):
        for index in range(begin, len(stack)):
            if not stack[index].filename.startswith(_INTERNAL_FILES):
                return index
    return 0
