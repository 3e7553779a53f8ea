"""Checks of a task function's signature: reject what cannot work when the task is defined."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections import abc, deque
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    PlainSerializer,
    Secret,
    TypeAdapter,
    ValidationError,
    WrapSerializer,
)
from pydantic.fields import FieldInfo
from pydantic.types import SecretBytes, SecretStr

from stem_amqp.errors import TaskDefinitionError

_SECRETS = (Secret, SecretStr, SecretBytes)
_MUTABLE = (list, dict, set, bytearray, deque)
_UNIONS = (Union, types.UnionType)
_READ_ONCE = (
    abc.Iterator,
    abc.Generator,
    abc.AsyncIterable,
    abc.AsyncIterator,
    abc.AsyncGenerator,
)
_SENTINELS = (type(None), object)
"""Types of defaults that mean "not given" and need not fit the annotation."""


def underlying(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function inside of partial applications or of a callable object."""
    found: Any = function
    while isinstance(found, functools.partial):
        found = found.func
    if not inspect.isroutine(found) and not hasattr(found, "__qualname__"):
        found = type(found).__call__
    return found  # type: ignore[no-any-return] # any callable


def name_of(function: Callable[..., Any]) -> str:
    """Return the module and name of a function, for messages."""
    found = underlying(function)
    return f"{found.__module__}.{found.__qualname__}"


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a function is declared as a coroutine function."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        underlying(function)
    )


def check_function(task: str, function: Any) -> Callable[..., Any]:
    """Return the function of a task, checked.

    Args:
        task: the task's name, for the message.
        function: the decorated object.

    Raises:
        TaskDefinitionError: it cannot be a task.
    """
    if isinstance(function, classmethod):
        raise TaskDefinitionError(
            f"{task}: a class method cannot be a task, since the class is not sent in the message; make it"
            " a function of the module, or a static method"
        )
    found: Any = function.__func__ if isinstance(function, staticmethod) else function
    if inspect.isclass(found) or not callable(found):
        raise TaskDefinitionError(f"{task}: {found!r} is not a function")
    inner = underlying(found)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise TaskDefinitionError(f"{task}: a generator cannot be a task; return a value")
    _refuse_method(task, found)
    return found  # type: ignore[no-any-return] # it is callable


def _refuse_method(task: str, function: Callable[..., Any]) -> None:
    name: str = underlying(function).__qualname__
    try:
        first = next(iter(inspect.signature(function).parameters), "")
    except ValueError:
        raise TaskDefinitionError(
            f"{task}: the parameters of {name} are not known; call it in a function of your own"
        ) from None
    if "." in name.rpartition("<locals>.")[2] and first in {"self", "cls"}:
        raise TaskDefinitionError(
            f"{task}: {name} is a method, and its {first!r} cannot be sent in the message; make"
            " it a function of the module, or a static method"
        )


def hints_of(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """Return a function's resolved annotations.

    Raises:
        TaskDefinitionError: an annotation cannot be resolved.
    """
    try:
        return get_type_hints(underlying(function), include_extras=True)
    except (NameError, TypeError) as error:
        raise TaskDefinitionError(
            f"{where}: an annotation cannot be resolved ({error}); import it at run time,"
            " not only under TYPE_CHECKING"
        ) from error


def wire_annotation(where: str, annotation: Any) -> Any:
    """Return the annotation by which a value is sent: an iterable is sent as a list.

    Args:
        where: the function and parameter, for the message.
        annotation: the resolved annotation.

    Raises:
        TaskDefinitionError: values of the annotation can be iterated only once.
    """
    origin = get_origin(annotation) or annotation
    if origin in _UNIONS:
        parts = tuple(wire_annotation(where, part) for part in get_args(annotation))
        return annotation if parts == get_args(annotation) else Union[parts]  # noqa: UP007 - made here
    if origin is abc.Iterable:
        return list[get_args(annotation) or (Any,)]  # type: ignore[misc] # made here
    if origin in _READ_ONCE:
        raise TaskDefinitionError(
            f"{where}: a {origin.__name__} can be iterated only once, so it cannot be sent; annotate list,"
            " Sequence or Iterable"
        )
    return annotation


def check_parameter(where: str, parameter: inspect.Parameter) -> None:
    """Refuse a parameter whose default does not fit its annotation.

    Args:
        where: the function, for the message.
        parameter: the parameter with a resolved annotation.

    Raises:
        TaskDefinitionError: the default or the annotation is not supported.
    """
    refuse_secrets(f"{where}: {parameter.name!r}", parameter.annotation)
    default = parameter.default
    if default is parameter.empty or type(default) in _SENTINELS:
        return
    if isinstance(default, (FieldInfo, dataclasses.Field)):
        raise TaskDefinitionError(
            f"{where}: the default of {parameter.name!r} is a {type(default).__name__}, which would be"
            f" passed to the function; write"
            f" {parameter.name}: Annotated[…, Field(…)] = {_value_of(default)}"
        )
    if parameter.annotation is Any or type(default) is parameter.annotation:
        return
    if not _fits(default, parameter.annotation):
        raise TaskDefinitionError(
            f"{where}: the default of {parameter.name!r}, a {type(default).__name__}, does not fit"
            f" its annotation {inspect.formatannotation(parameter.annotation)}, and the function is"
            " called with it unchanged; change one of them"
        )


def _value_of(default: Any) -> str:
    value = default.default
    return repr(value) if type(value) in {int, str, float, bool, type(None)} else "…"


def _fits(default: Any, annotation: Any) -> bool:
    try:
        read = TypeAdapter(annotation).validate_python(default)
    except ValidationError:
        return False
    except Exception:  # noqa: BLE001 - a user-defined validator needs a context that is missing here
        return True
    try:
        return bool(read == default) or not isinstance(default, (str, bytes, int, float))
    except Exception:  # noqa: BLE001 - a user-defined comparison failed
        return True


def refuse_secrets(where: str, annotation: Any) -> None:
    """Refuse an annotation whose values are written as asterisks.

    Args:
        where: the function and parameter, for the message.
        annotation: the resolved annotation.

    Raises:
        TaskDefinitionError: it contains a secret type without a custom serializer.
    """
    name = _secret_in(annotation)
    if name is not None:
        raise TaskDefinitionError(
            f"{where}: a {name} is written as asterisks, so its value would be lost. Pass a reference"
            " to the secret; or send it readable, with annotation str and STEM_ENCRYPT, or with"
            f" Annotated[{name}, PlainSerializer(lambda secret: secret.get_secret_value(),"
            " when_used='json')]"
        )


def _secret_in(annotation: Any, seen: frozenset[int] = frozenset()) -> str | None:
    """Return the name of a secret type in an annotation, aliases resolved."""
    if id(annotation) in seen:
        return None
    seen |= {id(annotation)}
    origin, parts = get_origin(annotation) or annotation, get_args(annotation)
    if inspect.isclass(origin) and issubclass(origin, _SECRETS):
        return origin.__name__
    if any(isinstance(part, (PlainSerializer, WrapSerializer)) for part in parts):
        return None
    # The value of `type Name = …`: Python and typing_extensions have a class each for it
    named = getattr(origin, "__value__", None)
    return next((name for part in (*parts, named) if (name := _secret_in(part, seen))), None)


def mutable_defaults(parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Return the mutable defaults, which a run could change for later runs."""
    return {
        name: parameter.default
        for name, parameter in parameters.items()
        if isinstance(parameter.default, (*_MUTABLE, BaseModel))
        or (dataclasses.is_dataclass(parameter.default) and not isinstance(parameter.default, type))
    }
