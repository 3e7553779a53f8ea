"""Declaration of dependencies in a signature: ``session: Session = Depends(open_session)``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar, cast, get_type_hints, overload

import uncalled_for

from stem_amqp.errors import ConfigurationError
from stem_amqp.tasks.dependencies.scope import Factory, current_scope

R = TypeVar("R")


class Resource(uncalled_for.Provider[Any]):
    """A dependency as declared in a signature; see `Depends` and `Shared`.

    Args:
        factory: creates the value.
        shared: whether all tasks of a worker share one value.

    Raises:
        ConfigurationError: the factory cannot be called.
    """

    def __init__(self, factory: Factory, *, shared: bool) -> None:
        given: object = factory
        if not callable(given) or not isinstance(given, Hashable):
            raise ConfigurationError(
                f"{factory!r} is not a dependency's factory: pass the function itself, such as"
                " Depends(open_session), instead of what it returns"
            )
        self.factory = factory
        self.shared = shared

    async def __aenter__(self) -> Any:
        """Open the dependency, or return the shared value that is already open."""
        scope = current_scope()
        factory = scope.overrides.get(self.factory, self.factory)
        if self.shared and scope.share is not None:
            found = scope.share(factory)
            return found if scope.hold is not None else await found
        return await opening(factory)

    def __repr__(self) -> str:
        return f"{'Shared' if self.shared else 'Depends'}({name_of(self.factory)})"


async def opening(factory: Factory) -> Any:
    """Call a factory with its own dependencies, and enter the context manager that it returns.

    Args:
        factory: creates the value.
    """
    filled = {
        name: current_scope().fill[kind]
        for name, kind in filled_in(factory, current_scope().fill).items()
    }
    # A factory is called once per call of a task: uncalled-for caches the value by its opener
    inner = cast("uncalled_for.Dependency[Any]", uncalled_for.Depends(_opener(factory), **filled))
    try:
        return await inner.__aenter__()
    except Exception as error:
        note = f"stem-amqp: while opening the dependency {name_of(factory)}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise


def filled_in(factory: Factory, kinds: Mapping[type, Any]) -> dict[str, type]:
    """Return the parameters of a factory that are filled in by their type.

    Args:
        factory: the factory.
        kinds: the types that are filled in.
    """
    return {name: hint for name, hint in _hints(factory).items() if hint in kinds}


@functools.lru_cache(maxsize=4096)
def _hints(factory: Factory) -> Mapping[str, type]:
    target = factory.__init__ if inspect.isclass(factory) else factory
    while isinstance(target, functools.partial):
        target = target.func
    try:
        hints = get_type_hints(target)
    except (NameError, TypeError):
        # An unreadable annotation of a foreign function is not one of the types that are filled in
        return {}
    return {name: hint for name, hint in hints.items() if isinstance(hint, type)}


@functools.lru_cache(maxsize=4096)
def _opener(factory: Factory) -> Factory:
    """Return a factory whose value uncalled-for can enter, also for a generator function."""

    def opener(**values: Any) -> Any:
        made: Any = factory(**values)
        if inspect.isasyncgen(made):
            made = contextlib.asynccontextmanager(functools.partial(_same, made))()
        elif inspect.isgenerator(made):
            made = contextlib.contextmanager(functools.partial(_same, made))()
        hold = current_scope().hold
        if hold is not None and _is_asynchronous(made):
            return hold(made)
        return made

    if inspect.isroutine(factory):
        functools.update_wrapper(opener, factory)  # its annotations may have dependencies too
    opener.__signature__ = signature_of(factory)  # type: ignore[attr-defined]
    return opener


def _same(made: Any) -> Any:
    return made


def _is_asynchronous(made: object) -> bool:
    return isinstance(made, AbstractAsyncContextManager | Awaitable) or asyncio.isfuture(made)


def signature_of(factory: Factory) -> inspect.Signature:
    """Return a factory's signature; an empty one for a built-in without a signature."""
    try:
        return inspect.signature(factory)
    except ValueError:
        return inspect.Signature()


def name_of(factory: Factory) -> str:
    """Return a name for a factory, for people."""
    name: str = getattr(factory, "__qualname__", None) or repr(factory)
    return name


@overload
def Depends(factory: Callable[..., AbstractAsyncContextManager[R]]) -> R: ...
@overload
def Depends(factory: Callable[..., AbstractContextManager[R]]) -> R: ...
@overload
def Depends(factory: Callable[..., AsyncIterator[R]]) -> R: ...
@overload
def Depends(factory: Callable[..., Iterator[R]]) -> R: ...
@overload
def Depends(factory: Callable[..., Awaitable[R]]) -> R: ...
@overload
def Depends(factory: Callable[..., R]) -> R: ...
def Depends(factory: Factory) -> Any:  # noqa: N802 - the name that frameworks use
    """Declare a dependency that is opened for each run of a task and closed after it.

    ::

        async def open_session(pool: Pool = Shared(open_pool)) -> AsyncIterator[Session]:
            async with pool.session() as session:
                yield session


        @stem.task("orders.pay")
        async def pay(order_id: int, session: Session = Depends(open_session)) -> None: ...

    Args:
        factory: a plain or async function, a generator function that yields once, or a callable that
            returns a context manager, such as a class. It may have dependencies of its own; parameters
            annotated ``TaskContext`` or ``Settings`` are filled in.

    Returns:
        The default value to write in the signature.

    Raises:
        ConfigurationError: the factory cannot be called.
    """
    return Resource(factory, shared=False)


@overload
def Shared(factory: Callable[..., AbstractAsyncContextManager[R]]) -> R: ...
@overload
def Shared(factory: Callable[..., AbstractContextManager[R]]) -> R: ...
@overload
def Shared(factory: Callable[..., AsyncIterator[R]]) -> R: ...
@overload
def Shared(factory: Callable[..., Iterator[R]]) -> R: ...
@overload
def Shared(factory: Callable[..., Awaitable[R]]) -> R: ...
@overload
def Shared(factory: Callable[..., R]) -> R: ...
def Shared(factory: Factory) -> Any:  # noqa: N802 - as Depends
    """Declare a dependency that all tasks of a worker share, such as a pool or a client.

    It is opened once, in the worker's event loop, when the first task needs it, and closed when the
    worker has stopped. It outlives the task that opened it, so it cannot depend on a ``TaskContext``.

    Args:
        factory: as for `Depends`.

    Returns:
        The default value to write in the signature.

    Raises:
        ConfigurationError: the factory cannot be called.
    """
    return Resource(factory, shared=True)
