"""Runs a task's function with its dependencies, and keeps what the tasks of a worker share."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import uncalled_for

from stem_amqp.definition import TaskDefinition
from stem_amqp.dependencies.declare import name_of, opening
from stem_amqp.dependencies.place import Factory, Place, at
from stem_amqp.errors import StemError
from stem_amqp.settings import Settings
from stem_amqp.worker.context import TaskContext, entered
from stem_amqp.worker.held import CLOSE_LIMIT, Held, HeldElsewhere

log = logging.getLogger("stem_amqp.worker")


class Resources:
    """What tasks depend on in one worker, or in the process of one.

    Args:
        overrides: factory to the one that stands in for it; looked up at each opening.
        settings: the application's settings, which factories may ask for.
    """

    def __init__(self, overrides: Mapping[Factory, Factory], settings: Settings) -> None:
        self.loop: asyncio.AbstractEventLoop
        """The worker's; set by who runs tasks in it."""
        self._overrides = overrides
        self._settings = settings
        self._context = contextvars.copy_context()
        self._shared: dict[Factory, Held] = {}
        self._opened: list[tuple[Factory, Held]] = []
        self._closed = False

    def prepared(self, definition: TaskDefinition, context: TaskContext) -> Callable[..., Any]:
        """Return what to call instead of a task's function; it is async if the function is.

        Args:
            definition: the task; it has dependencies.
            context: the context of its run.
        """
        fill = {TaskContext: context, Settings: self._settings}
        if definition.is_async:
            place = Place(overrides=self._overrides, fill=fill, share=self._share)
            return functools.partial(_call, definition.function, place)
        place = Place(
            overrides=self._overrides, fill=fill, share=self._share_there, hold=self._hold_there
        )
        return functools.partial(_call_here, definition.function, place)

    def _share_there(self, factory: Factory) -> Any:
        return asyncio.run_coroutine_threadsafe(self._share(factory), self.loop).result()

    def _hold_there(self, made: Any) -> HeldElsewhere:
        return HeldElsewhere(self.loop, made, self._context.copy())

    async def _share(self, factory: Factory) -> Any:
        """Return what a worker-scoped factory has made; the first who asks lets it be opened."""
        held = self._shared.get(factory)
        if held is None:
            if self._closed:
                raise StemError(
                    f"{name_of(factory)} is not opened any more: the worker has stopped"
                )
            held = self._shared[factory] = Held(
                functools.partial(self._open_shared, factory),
                name=f"stem-amqp shared {name_of(factory)}",
                context=self._context.copy(),
            )
            held.opened.add_done_callback(functools.partial(self._note, factory, held))
        # Shielded: others wait for it too when this task is cancelled
        return await asyncio.shield(held.opened)

    async def _open_shared(self, factory: Factory, stack: AsyncExitStack) -> Any:
        place = Place(overrides=self._overrides, fill={Settings: self._settings}, share=self._share)
        with at(place):
            await stack.enter_async_context(uncalled_for.resolved_dependencies(_nothing))
            return await opening(factory)

    def _note(self, factory: Factory, held: Held, opened: asyncio.Future[Any]) -> None:
        if opened.cancelled() or opened.exception() is not None:
            # The next task tries again
            self._shared.pop(factory, None)
        else:
            self._opened.append((factory, held))

    async def close(self) -> None:
        """Close what is shared, the last opened first. What fails is logged."""
        self._closed = True
        for held in self._shared.values():
            if not held.opened.done():
                held.cut_off()
        while self._opened:
            factory, held = self._opened.pop()
            try:
                async with asyncio.timeout(CLOSE_LIMIT):
                    await held.close()
            except TimeoutError:
                held.cut_off()
                log.error("%s did not close within %g s", name_of(factory), CLOSE_LIMIT)  # noqa: TRY400 - the traceback says nothing
            except Exception:
                log.exception("%s could not be closed", name_of(factory))
        self._shared.clear()


def _nothing() -> None:
    """Need nothing: what is opened by hand is closed with the dependencies of this."""


def plain_call(
    definition: TaskDefinition,
    context: TaskContext,
    overrides: Mapping[Factory, Factory],
    settings: Settings,
) -> Callable[..., Any]:
    """Return what to call instead of a task's function where it is called as a plain function.

    Inside of a running task the worker's shared dependencies are used; elsewhere what would be shared
    is made for the call.

    Args:
        definition: the task; it has dependencies.
        context: the context of the call.
        overrides: factory to the one that stands in for it.
        settings: the application's settings.
    """
    resources: Resources | None = context.resources
    if resources is not None and (definition.is_async or not _loop_runs_here()):
        return _within(context, resources.prepared(definition, context), definition)
    fill = {TaskContext: context, Settings: settings}
    if definition.is_async:
        call: Callable[..., Any] = functools.partial(
            _call, definition.function, Place(overrides=overrides, fill=fill)
        )
    else:
        refuse = functools.partial(_refuse, definition.name)
        place = Place(overrides=overrides, fill=fill, hold=refuse)
        call = functools.partial(_call_here, definition.function, place)
    return _within(context, call, definition)


def _within(
    context: TaskContext, call: Callable[..., Any], definition: TaskDefinition
) -> Callable[..., Any]:
    """Make a context the current one while something is called."""

    async def calling(**kwargs: Any) -> Any:
        with entered(context):
            return await call(**kwargs)

    def calling_here(**kwargs: Any) -> Any:
        with entered(context):
            return call(**kwargs)

    return calling if definition.is_async else calling_here


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _refuse(task: str, made: Any) -> Any:
    if asyncio.iscoroutine(made):
        made.close()
    raise StemError(
        f"{task} is a plain function and depends on something asynchronous, which cannot be opened"
        " where it is called.\n  Pass the value as an argument, by the dependency's name, or replace"
        " the dependency: with stem.override(…)"
    )


async def _call(function: Callable[..., Any], place: Place, /, **kwargs: Any) -> Any:
    """Call an async function with its dependencies."""
    return await _run(function, place, kwargs, is_async=True)


def _call_here(function: Callable[..., Any], place: Place, /, **kwargs: Any) -> Any:
    """Call a plain function with its dependencies, all in this thread.

    What is asynchronous is entered through the place, which waits for it: so the coroutine never does.
    """
    running = _run(function, place, kwargs, is_async=False)
    try:
        running.send(None)
    except StopIteration as stop:
        return stop.value
    running.close()
    raise StemError(
        f"a dependency of the plain function {name_of(function)} waits for an event loop; declare it"
        " with Depends, which opens it in the worker's"
    )


async def _run(
    function: Callable[..., Any], place: Place, kwargs: dict[str, Any], *, is_async: bool
) -> Any:
    """Open what a function depends on, call it, and close that on whatever it ends with."""
    with at(place):
        manager = uncalled_for.resolved_dependencies(function, kwargs)
        found = await manager.__aenter__()
        try:
            for value in found.values():
                if isinstance(value, uncalled_for.FailedDependency):
                    raise value.error
            returned = function(**{**found, **kwargs})
            if is_async:
                returned = await returned
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                await _close_cancelled(manager, error, function)
            else:
                await manager.__aexit__(type(error), error, error.__traceback__)
            raise  # also what a dependency would have swallowed: the task has no result
        await manager.__aexit__(None, None, None)
        return returned


async def _close_cancelled(
    manager: AbstractAsyncContextManager[Any], error: BaseException, function: Callable[..., Any]
) -> None:
    """Close what a cancelled run depended on: within a limit, and what fails hides nothing."""
    try:
        async with asyncio.timeout(CLOSE_LIMIT):
            await manager.__aexit__(type(error), error, error.__traceback__)
    except Exception as problem:  # noqa: BLE001 - logged; the cancellation goes on
        if not isinstance(problem, TimeoutError):
            log.warning("closing the dependencies of %s: %r", name_of(function), problem)
            return
        log.warning(
            "the dependencies of %s did not close within %g s", name_of(function), CLOSE_LIMIT
        )
