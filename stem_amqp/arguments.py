"""Arguments of a task: from a call to JSON and back, validated by the function's annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, Required, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from stem_amqp.dependencies.check import check_dependencies, dependencies_of
from stem_amqp.errors import ArgumentsError, TaskDefinitionError

_REFUSED = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only; arguments travel by name",
    inspect.Parameter.VAR_POSITIONAL: "collects positional arguments; name each of them,"
    " or take one list",
}


class Arguments:
    """The parameters of a task function that travel in a message.

    Args:
        function: the task function.
        context_type: the type whose parameter is filled in by the worker.

    Raises:
        TaskDefinitionError: the signature cannot travel, or an annotation cannot be used.
    """

    def __init__(self, function: Callable[..., Any], context_type: type) -> None:
        self._where = f"{function.__module__}.{function.__qualname__}"
        hints = _hints(function, self._where)
        self.context_parameter: str | None = None
        check_dependencies(self._where, function, context_type)
        self.dependencies = frozenset(dependencies_of(function))
        """The parameters that the worker opens; they never travel."""
        fields: dict[str, Any] = {}
        extra = False
        travelling: list[inspect.Parameter] = []
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
            # As resolved, so that an error shows types and not the text of annotations
            travelling.append(parameter.replace(annotation=annotation))
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = True
            elif parameter.default is inspect.Parameter.empty:
                fields[parameter.name] = Required[annotation]
            else:
                fields[parameter.name] = NotRequired[annotation]
        self._signature = inspect.Signature(travelling)
        self._positional = tuple(
            parameter.name
            for parameter in travelling
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        self._required = fields.keys() - {p.name for p in travelling if p.default is not p.empty}
        self._known = fields.keys()
        self._adapter = _adapter(fields, self._where, extra=extra)
        self.returns = result_adapter(hints.get("return", Any), self._where)

    def _set_context(self, parameter: inspect.Parameter) -> None:
        if self.context_parameter is not None:
            raise TaskDefinitionError(
                f"{self._where}: both {self.context_parameter!r} and {parameter.name!r} take the"
                " context; one is enough"
            )
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TaskDefinitionError(
                f"{self._where}: {parameter.name!r} {_REFUSED[parameter.kind]}"
            )
        self.context_parameter = parameter.name

    def _check_place(
        self, parameter: inspect.Parameter, parameters: tuple[inspect.Parameter, ...]
    ) -> None:
        """Refuse an argument behind a dependency: by position, a plain call would give it to that."""
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            return
        for other in parameters[: parameters.index(parameter)]:
            if other.name in self.dependencies:
                raise TaskDefinitionError(
                    f"{self._where}: the argument {parameter.name!r} stands behind the dependency"
                    f" {other.name!r}; put the dependencies last, or after a *"
                )

    def __str__(self) -> str:
        return str(self._signature)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, in the function's order, without ``**`` ones."""
        return tuple(
            name
            for name, parameter in self._signature.parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        )

    @property
    def takes_any(self) -> bool:
        """Whether the function takes arguments of any name."""
        kinds = [parameter.kind for parameter in self._signature.parameters.values()]
        return inspect.Parameter.VAR_KEYWORD in kinds

    def with_defaults(self, packed: Mapping[str, Any]) -> dict[str, Any]:
        """Return JSON values by argument name, with the defaults of those that are not there.

        Raises:
            ArgumentsError: a default cannot be written as JSON.
        """
        defaults = {
            name: parameter.default
            for name, parameter in self._signature.parameters.items()
            if parameter.default is not inspect.Parameter.empty and name not in packed
        }
        try:
            return {**to_jsonable_python(defaults), **packed}
        except PydanticSerializationError as error:
            raise ArgumentsError(f"a default of {self._where}: {error}") from error

    def pack(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a call into JSON values by argument name, validated.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.

        Returns:
            What stands in the message's ``args``.

        Raises:
            ArgumentsError: they do not fit the signature or its annotations.
        """
        return self.pack_named(self._named(args, kwargs))

    def pack_named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Turn arguments by name into JSON values, validated.

        Raises:
            ArgumentsError: they do not fit the signature or its annotations.
        """
        self._refuse_dependencies(values)
        try:
            packed: dict[str, Any] = self._adapter.dump_python(
                self._adapter.validate_python(values), mode="json"
            )
        except ValidationError as error:
            raise ArgumentsError(_readable(error)) from error
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            # A plain ValueError says that a value contains itself, or is nested too deep
            raise ArgumentsError(
                f"{error}; pass plain values, or a reference to where large or binary ones are"
            ) from error
        return packed

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        # The plain case first: binding a signature takes longer than everything else here
        values = dict(zip(self._positional, args, strict=False))
        if len(values) == len(args) and values.keys().isdisjoint(kwargs):
            values.update(kwargs)
            if self._required <= values.keys() <= self._known:
                return values
        self._refuse_dependencies(kwargs)
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

    def _refuse_dependencies(self, values: Mapping[str, Any]) -> None:
        if self.dependencies.isdisjoint(values):
            return
        names = ", ".join(sorted(self.dependencies & values.keys()))
        raise ArgumentsError(
            f"{names}: a dependency, which the worker opens and no message carries; leave it out"
        )

    def unpack(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a message's ``args`` into the keyword arguments of the function.

        Raises:
            ArgumentsError: they do not fit the signature or its annotations.
        """
        self._refuse_dependencies(values)
        try:
            unpacked: dict[str, Any] = self._adapter.validate_python(values)
        except ValidationError as error:
            raise ArgumentsError(_readable(error)) from error
        except RecursionError as error:
            raise ArgumentsError("the arguments are nested too deep") from error
        return unpacked


def _hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise TaskDefinitionError(
            f"{where}: an annotation cannot be read ({error}); import it at run time,"
            " not only under TYPE_CHECKING"
        ) from error


def _adapter(fields: dict[str, Any], where: str, *, extra: bool) -> TypeAdapter[dict[str, Any]]:
    # The functional form takes names of any kind, which a model's fields do not
    functional_form: Any = TypedDict
    shape = functional_form("Arguments", fields)
    config = ConfigDict(extra="allow" if extra else "forbid", arbitrary_types_allowed=False)
    shape.__pydantic_config__ = config
    try:
        return TypeAdapter(shape)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        problem = str(error).split("\n", 1)[0]
        raise TaskDefinitionError(
            f"{where}: an argument's type cannot travel as JSON: {problem}"
        ) from error


def result_adapter(annotation: Any, where: str) -> TypeAdapter[Any]:
    """Return what writes and reads a task's result.

    Raises:
        TaskDefinitionError: the return type cannot travel as JSON.
    """
    try:
        return TypeAdapter(annotation)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        problem = str(error).split("\n", 1)[0]
        raise TaskDefinitionError(
            f"{where}: the return type cannot travel as JSON: {problem}"
        ) from error


def _readable(error: ValidationError) -> str:
    """Say what does not fit, without the values: they may be secrets."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in problem["loc"]) or "arguments"
        lines.append(f"{name}: {problem['msg']}")
    return "; ".join(lines)
