"""The methods of a task that make links, chains and groups of its calls.

They are here twice, for coroutine functions and for plain ones, since a type checker finds the type of the
first argument in the function's own type only: every task is a callable of the type that ``self`` has here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from stem_amqp.composition.application import Composes
from stem_amqp.composition.items import arguments_of, chunk_size, items_of
from stem_amqp.composition.model import Group, Link, PartialLink, composed
from stem_amqp.composition.step import CallStep, ForkStep, call_step
from stem_amqp.errors import ArgumentsError
from stem_amqp.tasks.definition import TaskDefinition

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
A = TypeVar("A")


class Links(Generic[P, R]):
    """The methods whose types do not depend on the kind of the function."""

    definition: TaskDefinition

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Link[R]:
        """Make a link: a call for a chain or a group, with all arguments, or with all but the first.

        Without the first argument, the link takes the result of the link before it in its place.

        Args:
            *args: the function's arguments, without the context.
            **kwargs: the same by name.

        Raises:
            ArgumentsError: the arguments do not fit the function.
        """
        link: Link[R] = self._link(args, kwargs)
        return link

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Link[R]:
        """Make a link that takes nothing from the link before it.

        Args:
            *args: the function's arguments, without the context.
            **kwargs: the same by name.

        Raises:
            ArgumentsError: the arguments do not fit the function.
        """
        return Link((call_step(self.definition, args, kwargs, fixed=True),), _app_of(self))

    def starmap(self, items: Iterable[Sequence[Any]]) -> Group[R]:
        """Make a group with a call for each tuple of arguments: ``add.starmap([(1, 2), (3, 4)])``.

        Args:
            items: the arguments of each call, by position.

        Raises:
            ArgumentsError: the arguments of a call do not fit the function, or are not a tuple or another iterable;
                the text names its position. Or the items are no iterable, or a text, bytes or a mapping.
        """
        found = items_of(f"{self.definition.name}.starmap", items)
        return _group(self, found, lambda where, item: (arguments_of(where, item), {}))

    def _link(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return composed((call_step(self.definition, args, kwargs),), _app_of(self))

    def _map(
        self, items: Iterable[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Group[R]:
        found = items_of(f"{self.definition.name}.map", items)
        return _group(self, found, lambda _, item: ((item, *args), kwargs))

    def _chunks(
        self, items: Iterable[Any], size: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Group[R]:
        where = f"{self.definition.name}.chunks"
        most, rest = chunk_size(where, size), items_of(where, items)
        chunks = iter(lambda: list(islice(rest, most)), [])
        return _group(self, chunks, lambda _, chunk: ((chunk, *args), kwargs))


class AsyncLinks(Links[P, R]):
    """Makes links of a task whose function is a coroutine function."""

    @abstractmethod
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the plain function."""

    @overload
    def s(self, *args: P.args, **kwargs: P.kwargs) -> Link[R]: ...  # type: ignore[overload-overlap] # the first that fits
    @overload
    def s(
        self: Callable[Concatenate[A, Q], Coroutine[Any, Any, R]],  # pyright: ignore[reportGeneralTypeIssues]
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> PartialLink[A, R]: ...
    def s(self, *args: Any, **kwargs: Any) -> Any:
        """Make a link; see `Links.s`."""
        return self._link(args, kwargs)

    def map(
        self: Callable[Concatenate[A, Q], Coroutine[Any, Any, R]],  # pyright: ignore[reportGeneralTypeIssues]
        items: Iterable[A],
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Group[R]:
        """Make a group with a call for each item: ``resize.map(images)``.

        Args:
            items: the first argument of each call.
            *args: the further arguments, the same for each call.
            **kwargs: the same by name.

        Raises:
            ArgumentsError: the arguments of a call do not fit the function; the text names its position. Or the
                items are no iterable, or a text, bytes or a mapping.
        """
        return cast("AsyncLinks[..., R]", self)._map(items, args, kwargs)  # noqa: SLF001 - its own

    def chunks(  # type: ignore[misc] # as above
        self: Callable[Concatenate[list[A], Q], Coroutine[Any, Any, R]],  # pyright: ignore[reportGeneralTypeIssues]
        items: Iterable[A],
        size: int,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Group[R]:
        """Make a group with a call for each so many items, of a task whose first argument is a list.

        Args:
            items: the items of all calls together.
            size: the number of items of each call; the last one may have fewer.
            *args: the further arguments, the same for each call.
            **kwargs: the same by name.

        Raises:
            ArgumentsError: as for `map`.
            ConfigurationError: the size is not a whole number of at least 1.
        """
        return cast("AsyncLinks[..., R]", self)._chunks(items, size, args, kwargs)  # noqa: SLF001 - its own


class SyncLinks(Links[P, R]):
    """Makes links of a task whose function is a plain function."""

    @abstractmethod
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function."""

    @overload
    def s(self, *args: P.args, **kwargs: P.kwargs) -> Link[R]: ...  # type: ignore[overload-overlap] # the first that fits
    @overload
    def s(
        self: Callable[Concatenate[A, Q], R],  # pyright: ignore[reportGeneralTypeIssues]
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> PartialLink[A, R]: ...
    def s(self, *args: Any, **kwargs: Any) -> Any:
        """Make a link; see `Links.s`."""
        return self._link(args, kwargs)

    def map(
        self: Callable[Concatenate[A, Q], R],  # pyright: ignore[reportGeneralTypeIssues]
        items: Iterable[A],
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Group[R]:
        """Make a group with a call for each item; see `AsyncLinks.map`."""
        return cast("SyncLinks[..., R]", self)._map(items, args, kwargs)  # noqa: SLF001 - its own

    def chunks(  # type: ignore[misc] # as above
        self: Callable[Concatenate[list[A], Q], R],  # pyright: ignore[reportGeneralTypeIssues]
        items: Iterable[A],
        size: int,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Group[R]:
        """Make a group with a call for each so many items; see `AsyncLinks.chunks`."""
        return cast("SyncLinks[..., R]", self)._chunks(items, size, args, kwargs)  # noqa: SLF001 - its own


def _app_of(task: Any) -> Composes:
    app: Composes = task.app
    return app


def _group(
    task: Links[..., R],
    items: Iterator[Any],
    arguments: Callable[[str, Any], tuple[tuple[Any, ...], Mapping[str, Any]]],
) -> Group[R]:
    app = _app_of(task)
    branches: list[tuple[CallStep]] = []
    for position, item in enumerate(items):
        where = f"call {position} of the group"
        args, kwargs = arguments(where, item)
        try:
            branches.append((call_step(task.definition, args, kwargs, fixed=True),))
        except ArgumentsError as error:
            raise ArgumentsError(f"{where}: {error}") from error
    return Group((ForkStep(branches=tuple(branches)),), app)
