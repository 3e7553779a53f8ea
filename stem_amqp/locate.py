"""Import the application that ``module:attribute`` names, or explain why that fails."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType

from stem_amqp.app import Stem
from stem_amqp.errors import ConfigurationError, StemError, TopologyError
from stem_amqp.topology.spec.mistake import did_you_mean
from stem_amqp.worker.isolation.origin import note_target

_PACKAGE = str(Path(__file__).parent)
_FORM = "Write it as module:attribute, such as examples.orders:stem"


def find(target: str) -> Stem:
    """Import an application.

    Args:
        target: ``module:attribute``.

    Raises:
        ConfigurationError: the module or the attribute is missing or cannot be imported.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    name, _, attribute = target.partition(":")
    if not attribute or name.endswith(".py") or not _is_dotted(name):
        raise ConfigurationError(_malformed(target, name, attribute))
    module = _import(name)
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(_no_attribute(module, attribute))
        found = getattr(found, part)
    if not isinstance(found, Stem):
        raise ConfigurationError(
            f"{target} is not an application, but {_kind(found)}.\n  {_applications_of(module)}"
        )
    note_target(found, target)
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except TopologyError:
        raise  # its message has file, line and key already, and lists all mistakes
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigurationError(_no_module(name, error.name)) from error
        raise ConfigurationError(_broken(name, error)) from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(_broken(name, error)) from error


def _malformed(target: str, name: str, attribute: str) -> str:
    if name.endswith(".py") or "/" in name:
        dotted = name.removesuffix(".py").removesuffix("/__init__").strip("./").replace("/", ".")
        return (
            f"{target} is a path, not a module.\n"
            f"  Write {dotted}:{attribute or 'stem'}, and run the command in the directory that the"
            " path starts from."
        )
    if not attribute and _is_module(name):
        return f"{target} names no attribute.\n  {_applications_of(_import(name))}"
    return f"{target!r} does not name an application.\n  {_FORM}."


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _is_module(name: str) -> bool:
    try:
        return _is_dotted(name) and importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _no_module(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    if parent:
        path = getattr(importlib.import_module(parent), "__path__", ())
        place = f"in {parent}"
    else:
        path, place = [str(Path.cwd())], f"in {Path.cwd()} or on Python's path"
    near = [module.name for module in pkgutil.iter_modules(path)]
    return (
        f"there is no module {last} {place}{did_you_mean(last, near)}\n"
        f"  Run the command in the directory that contains {name.split('.', 1)[0]}, with the"
        " virtual environment of the application."
    )


def _no_attribute(module: ModuleType, attribute: str) -> str:
    close = did_you_mean(attribute, [name for name in vars(module) if not name.startswith("_")])
    return f"the module {module.__name__} has no {attribute}{close}\n  {_applications_of(module)}"


def _applications_of(module: ModuleType) -> str:
    """Return a sentence that lists the applications of a module."""
    apps = [name for name, value in vars(module).items() if isinstance(value, Stem)]
    if apps:
        return "Write " + " or ".join(f"{module.__name__}:{name}" for name in apps) + "."
    return f"There is no application in {module.__name__}: create one with stem = Stem()."


def _kind(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    word = type(value).__name__
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"


def _broken(name: str, error: BaseException) -> str:
    """Say where an import failed: the last frame outside of the import system and of stem_amqp."""
    what = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, StemError):
        what = str(error)
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith(("<frozen", _PACKAGE, importlib.__file__))
        ]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else name
    return f"{name} cannot be imported: {what}\n  at {place}\n  --debug shows the whole traceback."
