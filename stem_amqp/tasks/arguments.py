"""Arguments of a task: from a call to JSON and back, validated by the function's annotations."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from stem_amqp.errors import ArgumentsError, TaskDefinitionError
from stem_amqp.tasks.arguments_codec import arguments_codec
from stem_amqp.tasks.canonical import canonical
from stem_amqp.tasks.codec import LossyError, describe_errors
from stem_amqp.tasks.dependencies import check_dependencies, dependencies_of
from stem_amqp.tasks.return_value import ReturnValue
from stem_amqp.tasks.signature import (
    check_parameter,
    hints_of,
    mutable_defaults,
    name_of,
    wire_annotation,
)

_REFUSED = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only; arguments are sent by name",
    inspect.Parameter.VAR_POSITIONAL: "collects positional arguments; name each of them,"
    " or take one list",
}


class Arguments:
    """The parameters of a task function that are sent in a message.

    Args:
        function: the task function.
        context_type: the type of the parameter that the worker fills in.

    Raises:
        TaskDefinitionError: the signature or an annotation is not supported.
    """

    def __init__(self, function: Callable[..., Any], context_type: type) -> None:
        self._where = name_of(function)
        hints = hints_of(function, self._where)
        self.context_parameter: str | None = None
        check_dependencies(self._where, function, context_type)
        self.dependencies = frozenset(dependencies_of(function))
        """The parameters that are dependencies: the worker opens them, and they are never sent."""
        sent: list[inspect.Parameter] = []
        parameters = tuple(inspect.signature(function).parameters.values())
        for parameter in parameters:
            annotation = hints.get(parameter.name, Any)
            if annotation is context_type:
                self._set_context(parameter)
                continue
            if parameter.kind in _REFUSED:
                raise TaskDefinitionError(
                    f"{self._where}: {parameter.name!r} {_REFUSED[parameter.kind]}"
                )
            if parameter.name in self.dependencies:
                continue
            self._check_place(parameter, parameters)
            annotation = wire_annotation(f"{self._where}: {parameter.name!r}", annotation)
            # The resolved annotation, so that errors show types instead of the annotation's text
            sent.append(parameter.replace(annotation=annotation))
        self._take(sent)
        for parameter in sent:
            check_parameter(self._where, parameter)
        self._mutable = mutable_defaults({parameter.name: parameter for parameter in sent})
        self._filled = self.dependencies | {self.context_parameter}
        self.returns = ReturnValue(hints.get("return", Any), self._where)

    def _take(self, sent: list[inspect.Parameter]) -> None:
        """Set the parameters that are sent."""
        self._signature = inspect.Signature(sent)
        self._positional = tuple(
            parameter.name
            for parameter in sent
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        self._required = {
            p.name
            for p in sent
            if p.default is p.empty and p.kind is not inspect.Parameter.VAR_KEYWORD
        }
        self._known = set(self.names)
        self._codec = arguments_codec(sent, self._where)

    def _set_context(self, parameter: inspect.Parameter) -> None:
        if self.context_parameter is not None:
            raise TaskDefinitionError(
                f"{self._where}: both {self.context_parameter!r} and {parameter.name!r} take the"
                " context; remove one of them"
            )
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TaskDefinitionError(
                f"{self._where}: {parameter.name!r} {_REFUSED[parameter.kind]}"
            )
        self.context_parameter = parameter.name

    def _check_place(
        self, parameter: inspect.Parameter, parameters: tuple[inspect.Parameter, ...]
    ) -> None:
        """Refuse an argument after a dependency: a positional call would assign it to the dependency."""
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            return
        for other in parameters[: parameters.index(parameter)]:
            if other.name in self.dependencies:
                raise TaskDefinitionError(
                    f"{self._where}: the argument {parameter.name!r} follows the dependency"
                    f" {other.name!r}; put the dependencies last, or after a *"
                )

    def __str__(self) -> str:
        return str(self._signature)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters in the function's order, without a ``**`` parameter."""
        return tuple(
            name
            for name, parameter in self._signature.parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        )

    @property
    def positional(self) -> tuple[str, ...]:
        """The names of the parameters that can be given by position."""
        return self._positional

    def annotation(self, name: str) -> Any:
        """Return the resolved annotation of a parameter; `Any` if it has none, or a ``**`` takes it."""
        parameter = self._signature.parameters.get(name)
        if parameter is None or parameter.annotation is inspect.Parameter.empty:
            return Any
        return parameter.annotation

    @functools.cached_property
    def rest(self) -> Arguments:
        """The same arguments without the first one that can be given by position.

        In a composition the first one takes the result of the link before.
        """
        rest = copy.copy(self)
        first = self._positional[0]
        rest._take([p for p in self._signature.parameters.values() if p.name != first])  # noqa: SLF001 - its own class
        return rest

    def takes(self, names: Iterable[str]) -> bool:
        """Whether these names include all required parameters and no unknown one."""
        given = set(names)
        return self._required <= given and (self.takes_any or given <= self._known)

    @property
    def takes_any(self) -> bool:
        """Whether the function takes arguments of any name."""
        kinds = [parameter.kind for parameter in self._signature.parameters.values()]
        return inspect.Parameter.VAR_KEYWORD in kinds

    def canonical(self, packed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call, defaults included, in a form that is equal for equal calls.

        Args:
            packed: JSON values by argument name.

        Raises:
            ArgumentsError: the arguments are invalid, or a default cannot be written as JSON.
        """
        typed = self.unpack(packed)
        defaults = {
            name: parameter.default
            for name, parameter in self._signature.parameters.items()
            if parameter.default is not inspect.Parameter.empty and name not in packed
        }
        try:
            forms = {name: canonical(value) for name, value in defaults.items()}
        except (PydanticSerializationError, ValueError) as error:
            raise ArgumentsError(f"a default of {self._where}: {error}") from error
        for name, value in typed.items():
            try:
                forms[name] = canonical(value)
            except (PydanticSerializationError, ValueError):  # a type with a custom serializer
                forms[name] = packed[name]
        return forms

    def pack(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a call into JSON values by argument name, validated.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.

        Returns:
            The message's ``args``.

        Raises:
            ArgumentsError: the arguments do not fit the signature or its annotations.
        """
        return self.pack_named(self._named(args, kwargs))

    def pack_named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Turn arguments by name into JSON values, validated.

        Raises:
            ArgumentsError: the arguments do not fit the signature or its annotations.
        """
        self._refuse_filled(values)
        try:
            return self._packed(self._codec.validate(values))
        except ValidationError as error:
            raise ArgumentsError(describe_errors(error)) from error
        except LossyError as error:
            raise ArgumentsError(
                f"{_with_path(error)}; it is not sent.\n  Pass a value that JSON can represent, or"
                " annotate the parameter with a type that it can; see “Types of arguments” in the docs"
            ) from error
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            # A plain ValueError means that a value contains itself, or is nested too deep
            raise ArgumentsError(
                f"{error}; pass plain values, or a reference to where large or binary data is stored"
            ) from error

    def _packed(self, values: dict[str, Any]) -> dict[str, Any]:
        packed: dict[str, Any] = self._codec.packed(values)
        return packed

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        # Try the common case first: binding a signature is the slowest step here
        values = dict(zip(self._positional, args, strict=False))
        if len(values) == len(args) and values.keys().isdisjoint(kwargs):
            values.update(kwargs)
            if self._required <= values.keys() <= self._known:
                return values
        self._refuse_filled(kwargs)
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsError(f"{error}; the task takes {self._signature}") from error
        values = {}
        for name, value in bound.arguments.items():
            if self._signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                values.update(value)
            else:
                values[name] = value
        return values

    def _refuse_filled(self, values: Mapping[str, Any]) -> None:
        """Refuse parameters that the worker fills in: a ``**`` parameter would swallow them."""
        if self.context_parameter is not None and self.context_parameter in values:
            raise ArgumentsError(
                f"{self.context_parameter}: the context is filled in by the worker; do not pass it"
            )
        if self.dependencies.isdisjoint(values):
            return
        names = ", ".join(sorted(self.dependencies & values.keys()))
        raise ArgumentsError(
            f"{names}: dependencies are opened by the worker and are not sent; do not pass them"
        )

    def unpack(self, values: Mapping[str, Any], *, large: bool = False) -> dict[str, Any]:
        """Turn a message's ``args`` into the function's arguments by name.

        Args:
            values: the ``args``.
            large: whether there may be so many values that only the first errors are reported.

        Raises:
            ArgumentsError: the arguments do not fit the signature or its annotations.
        """
        if not self._filled.isdisjoint(values):
            self._refuse_filled(values)
        try:
            unpacked: dict[str, Any] = self._codec.unpacked(values, large=large)
        except ValidationError as error:
            raise ArgumentsError(describe_errors(error)) from error
        except (RecursionError, PydanticSerializationError) as error:
            raise ArgumentsError("the arguments are nested too deep") from error
        return unpacked

    def keywords(self, values: Mapping[str, Any], *, large: bool = False) -> dict[str, Any]:
        """Turn a message's ``args`` into the keyword arguments of the function.

        A mutable default is copied, so that a run cannot change it for the next one.

        Args:
            values: the ``args``.
            large: whether there may be so many values that only the first errors are reported.

        Raises:
            ArgumentsError: the arguments do not fit the signature or its annotations.
        """
        keywords = self.unpack(values, large=large)
        if self._mutable:
            for name, default in self._mutable.items():
                if name not in keywords:
                    keywords[name] = copy.deepcopy(default)
        return keywords


def _with_path(error: LossyError) -> str:
    """Return an error's text, which begins with the path to the value: ``['order'].price``."""
    text = str(error)
    name, bracket, rest = text.removeprefix("['").partition("']")
    return f"{name}{rest}" if bracket else text.removeprefix(": ")
