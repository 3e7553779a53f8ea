"""The hierarchy of errors, which the docstring of `stem_amqp.errors` shows."""

import importlib
import pkgutil
import re

import pytest

from stem_amqp import errors
from stem_amqp.cli.exit_codes import ExitCode, code_of
from stem_amqp.task_control import Reject, Retry, Snooze, TaskControl

CLASSES = [getattr(errors, name) for name in errors.__all__]


def drawn() -> set[tuple[str, str]]:
    """Return the pairs of class and base that the hierarchy shows."""
    pairs = set()
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"([│├└─ ]*)(\w+Error)\b", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        path[depth:] = [found[2]]
        if depth:
            pairs.add((found[2], path[depth - 1]))
    return pairs


def test_the_tree_is_that_of_the_classes():
    """Each error is listed under each of its bases, and nothing else is listed."""
    real = {
        (kind.__name__, base.__name__)
        for kind in CLASSES
        for base in kind.__bases__
        if base in CLASSES
    }
    assert drawn() == real


def test_every_error_is_exported():
    """`stem_amqp.errors` exports the classes of all its modules."""
    modules = [
        importlib.import_module(f"{errors.__name__}.{found.name}")
        for found in pkgutil.iter_modules(errors.__path__)
    ]
    kinds = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert kinds == set(CLASSES)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_is_named_by_where_it_is_imported_from(kind):
    """Tracebacks, logs and dead letters contain the name ``stem_amqp.errors.…``."""
    assert (kind.__module__, kind.__qualname__) == ("stem_amqp.errors", kind.__name__)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code(kind):
    """The code tells the cause: no error ends with the code of a bug or of a success."""
    code = code_of(kind.__new__(kind))
    assert code not in {ExitCode.OK, ExitCode.BUG}


def test_no_handler_of_exceptions_takes_the_control_of_a_task_for_an_error():
    """``except Exception`` in a task, and ``except StemError``, do not catch them."""
    for kind in (TaskControl, Retry, Snooze, Reject):
        assert issubclass(kind, BaseException)
        assert not issubclass(kind, Exception)
