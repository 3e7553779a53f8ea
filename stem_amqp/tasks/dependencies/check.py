"""Check the dependencies of a task when it is defined: refuse those that could not be opened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import uncalled_for

from stem_amqp.errors import TaskDefinitionError
from stem_amqp.settings import Settings
from stem_amqp.tasks.dependencies.declare import Resource, filled_in, name_of, signature_of
from stem_amqp.tasks.dependencies.scope import Factory

_VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def dependencies_of(function: Callable[..., Any]) -> Mapping[str, uncalled_for.Dependency[Any]]:
    """Return the parameters of a function that are dependencies.

    Args:
        function: a task, or a factory.

    Raises:
        TaskDefinitionError: a parameter declares two dependencies, or its annotation's dependency is invalid.
    """
    try:
        return uncalled_for.get_dependency_parameters(function)
    except TypeError as error:
        raise TaskDefinitionError(f"{name_of(function)}: {error}") from error
    except ValueError:  # a built-in without a signature
        return {}


def check_dependencies(where: str, function: Callable[..., Any], context_type: type) -> None:
    """Check that the dependencies of a task can be opened.

    Args:
        where: the task, for the message.
        function: its function.
        context_type: the type of the parameter that the worker fills in.

    Raises:
        TaskDefinitionError: a dependency cannot be opened.
    """
    for name, dependency in dependencies_of(function).items():
        _check(f"{where}: {name!r}", dependency, (), context_type)


def check_factory(where: str, factory: Factory, context_type: type) -> None:
    """Check that a factory can be called as an unshared dependency.

    Raises:
        TaskDefinitionError: it cannot be called.
    """
    _check(where, Resource(factory, shared=False), (), context_type)


def _check(
    where: str,
    dependency: uncalled_for.Dependency[Any],
    above: tuple[Resource, ...],
    context_type: type,
) -> None:
    if not isinstance(dependency, Resource):
        _check_foreign(where, dependency, above)
        return
    factories = [resource.factory for resource in above]
    if dependency.factory in factories:
        cycle = " → ".join(name_of(one) for one in (*factories, dependency.factory))
        raise TaskDefinitionError(f"{where} depends on itself: {cycle}")
    own = dependencies_of(dependency.factory)
    shared = any(resource.shared for resource in (*above, dependency))
    _check_parameters(where, dependency.factory, own, context_type, shared=shared)
    for inner in own.values():
        _check(where, inner, (*above, dependency), context_type)


def _check_foreign(
    where: str, dependency: uncalled_for.Dependency[Any], above: tuple[Resource, ...]
) -> None:
    if hasattr(dependency, "factory"):
        raise TaskDefinitionError(
            f"{where} is declared with another library's {type(dependency).__name__.lstrip('_')};"
            " use Depends and Shared of stem_amqp"
        )
    if any(resource.shared for resource in above):
        raise TaskDefinitionError(
            f"{where} is Shared and outlives the task, so it cannot depend on the task's arguments"
        )


def _check_parameters(
    where: str,
    factory: Factory,
    own: Collection[str],
    context_type: type,
    *,
    shared: bool,
) -> None:
    filled = filled_in(factory, {context_type: None, Settings: None})
    for name, parameter in signature_of(factory).parameters.items():
        if parameter.kind in _VARIADIC or name in own:
            continue
        if shared and filled.get(name) is context_type:
            raise TaskDefinitionError(
                f"{where} is Shared and outlives the task, so {name_of(factory)} cannot take its"
                f" {context_type.__name__}; use Depends"
            )
        optional = parameter.default is not parameter.empty
        by_position = parameter.kind is parameter.POSITIONAL_ONLY
        if not optional and (by_position or name not in filled):
            raise TaskDefinitionError(
                f"{where}: its factory {name_of(factory)} has a parameter {name!r} without a value: give it"
                f" a default, Depends(…) or Shared(…), or annotate it {context_type.__name__} or"
                " Settings"
            )
