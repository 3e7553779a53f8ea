"""Finds what another process has to import to have an application with all of its tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

from stem_amqp.blueprint import Blueprint

_TARGETS: WeakKeyDictionary[object, str] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What another process imports.

    Args:
        path: ``module:attribute`` of the application, or ``path.py:attribute`` if it is in a script.
        modules: the modules in which its tasks may be. The module of the application need not import them:
            a worker may have been started with another module, which imports both.
    """

    path: str
    modules: tuple[str, ...] = ()


def note_target(app: object, target: str) -> None:
    """Note the target with which this process has imported an application: another one imports the same.

    Args:
        app: the application.
        target: ``module:attribute``.
    """
    _TARGETS[app] = target


def origin_of(app: object) -> Origin | None:
    """Return where another process finds an application.

    Args:
        app: the application; it has all of its tasks.

    Returns:
        None if no module has it as an attribute, such as one that is created in a function.
    """
    # Modules whose import ends first come first: without a target it may be any that uses the application
    path, modules = _target_of(app), []
    for name, module in list(sys.modules.items()):
        if name == "__mp_main__" or not isinstance(module, ModuleType):
            continue  # the first is __main__ once more
        attribute = next((key for key, value in list(vars(module).items()) if value is app), None)
        if attribute is None:
            continue
        modules.append(name)
        place = _importable(name, module)
        if path is None and place is not None:
            path = f"{place}:{attribute}"
    if path is None:
        return None
    found = dict.fromkeys([*modules, *_modules_of_tasks(app)])
    return Origin(path=path, modules=tuple(name for name in found if name != "__main__"))


def _target_of(app: object) -> str | None:
    try:
        return _TARGETS.get(app)
    except TypeError:  # it cannot be a key
        return None


def _modules_of_tasks(app: object) -> Iterator[str]:
    """Yield the module of each task's function."""
    blueprint = getattr(app, "blueprint", None)
    if not isinstance(blueprint, Blueprint):
        return
    for task in blueprint.registry:
        name = getattr(task.function, "__module__", None)
        if isinstance(name, str):
            yield name


def _importable(name: str, module: ModuleType) -> str | None:
    if name != "__main__":
        return name
    spec = getattr(module, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name)
    file = getattr(module, "__file__", None)
    return None if file is None else str(Path(file).resolve())
