"""Finds the import path with which another process can import an application."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


def origin_of(app: object) -> str | None:
    """Return ``module:attribute`` of an application, or ``path.py:attribute`` if it is in a script.

    Args:
        app: the application.

    Returns:
        None if no module has it as an attribute, such as one that is created in a function.
    """
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            if value is app:
                place = _importable(name, module)
                if place is not None:
                    return f"{place}:{attribute}"
    return None


def _importable(name: str, module: ModuleType) -> str | None:
    if name != "__main__":
        return name
    spec = getattr(module, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name)
    file = getattr(module, "__file__", None)
    return None if file is None else str(Path(file).resolve())
