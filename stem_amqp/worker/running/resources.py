"""Calls a task's function with its dependencies, and holds those that a worker's tasks share."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import uncalled_for

from stem_amqp.context.batch import BatchContext
from stem_amqp.context.context import TaskContext, entered
from stem_amqp.errors import StemError
from stem_amqp.event_loop import running_loop
from stem_amqp.settings import Settings
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.dependencies import Factory, Scope, in_scope, name_of, opening
from stem_amqp.worker.running.held import CLOSE_LIMIT, Held, HeldElsewhere

log = logging.getLogger("stem_amqp.worker")


class Resources:
    """The dependencies of tasks in one worker, or in one of its child processes.

    Args:
        overrides: the replacements of factories; looked up whenever one is opened.
        settings: the application's settings, which factories may use.
    """

    def __init__(self, overrides: Mapping[Factory, Factory], settings: Settings) -> None:
        self.loop: asyncio.AbstractEventLoop
        """The worker's event loop; `Runs` sets it."""
        self._overrides = overrides
        self._settings = settings
        self._context = contextvars.copy_context()
        self._shared: dict[Factory, Held] = {}
        self._opened: list[tuple[Factory, Held]] = []
        self._closed = False

    def prepared(
        self, definition: TaskDefinition, context: TaskContext | BatchContext
    ) -> Callable[..., Any]:
        """Return a function to call instead of a task's function; it is async if that one is.

        Args:
            definition: the task; it has dependencies.
            context: the context of its run.
        """
        fill = {type(context): context, Settings: self._settings}
        if definition.is_async:
            scope = Scope(overrides=self._overrides, fill=fill, share=self._share)
            return functools.partial(_call, definition.function, scope)
        scope = Scope(
            overrides=self._overrides, fill=fill, share=self._share_in_loop, hold=self._hold_in_loop
        )
        return functools.partial(_call_in_thread, definition.function, scope)

    def _share_in_loop(self, factory: Factory) -> Any:
        return asyncio.run_coroutine_threadsafe(self._share(factory), self.loop).result()

    def _hold_in_loop(self, made: Any) -> HeldElsewhere:
        return HeldElsewhere(self.loop, made, self._context.copy())

    async def _share(self, factory: Factory) -> Any:
        """Return the value of a worker-scoped factory; the first call opens it."""
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
        # Shielded: if this task is cancelled, others may still wait for it
        return await asyncio.shield(held.opened)

    async def _open_shared(self, factory: Factory, stack: AsyncExitStack) -> Any:
        scope = Scope(overrides=self._overrides, fill={Settings: self._settings}, share=self._share)
        with in_scope(scope):
            await stack.enter_async_context(uncalled_for.resolved_dependencies(_nothing))
            return await opening(factory)

    def _note(self, factory: Factory, held: Held, opened: asyncio.Future[Any]) -> None:
        if opened.cancelled() or opened.exception() is not None:
            # The next task opens it again
            self._shared.pop(factory, None)
        else:
            self._opened.append((factory, held))

    async def close(self) -> None:
        """Close the shared dependencies, the last opened first. Errors are logged."""
        self._closed = True
        for held in self._shared.values():
            if not held.opened.done():
                held.cancel()
        while self._opened:
            factory, held = self._opened.pop()
            try:
                async with asyncio.timeout(CLOSE_LIMIT):
                    await held.close()
            except TimeoutError:
                held.cancel()
                log.error("%s did not close within %g s", name_of(factory), CLOSE_LIMIT)  # noqa: TRY400 - the traceback says nothing
            except Exception:
                log.exception("%s could not be closed", name_of(factory))
        self._shared.clear()


def _nothing() -> None:
    """Do nothing: shared dependencies are closed as dependencies of this function."""


def plain_call(
    definition: TaskDefinition,
    context: TaskContext,
    overrides: Mapping[Factory, Factory],
    settings: Settings,
) -> Callable[..., Any]:
    """Return a function to call instead of a task's function when the task is called directly.

    Inside of a running task it uses the worker's shared dependencies; elsewhere it opens them for
    the call.

    Args:
        definition: the task; it has dependencies.
        context: the context of the call.
        overrides: the replacements of factories.
        settings: the application's settings.
    """
    resources: Resources | None = context.resources
    if resources is not None and (definition.is_async or running_loop() is None):
        return _within(context, resources.prepared(definition, context), definition)
    fill = {TaskContext: context, Settings: settings}
    if definition.is_async:
        call: Callable[..., Any] = functools.partial(
            _call, definition.function, Scope(overrides=overrides, fill=fill)
        )
    else:
        refuse = functools.partial(_refuse, definition.name)
        scope = Scope(overrides=overrides, fill=fill, hold=refuse)
        call = functools.partial(_call_in_thread, definition.function, scope)
    return _within(context, call, definition)


def plain_batch_call(
    definition: TaskDefinition,
    context: BatchContext,
    overrides: Mapping[Factory, Factory],
    settings: Settings,
) -> Callable[..., Any]:
    """Return a function to call instead of a batch task's function when the task is called directly.

    Args:
        definition: the task.
        context: the context of the call.
        overrides: the replacements of factories.
        settings: the application's settings.
    """
    if not definition.dependencies:
        return definition.function
    fill: dict[type, Any] = {BatchContext: context, Settings: settings}
    if definition.is_async:
        return functools.partial(_call, definition.function, Scope(overrides=overrides, fill=fill))
    refuse = functools.partial(_refuse, definition.name)
    scope = Scope(overrides=overrides, fill=fill, hold=refuse)
    return functools.partial(_call_in_thread, definition.function, scope)


def _within(
    context: TaskContext, call: Callable[..., Any], definition: TaskDefinition
) -> Callable[..., Any]:
    """Return a function that makes a context the current one for a call."""

    async def calling(**kwargs: Any) -> Any:
        with entered(context):
            return await call(**kwargs)

    def calling_here(**kwargs: Any) -> Any:
        with entered(context):
            return call(**kwargs)

    return calling if definition.is_async else calling_here


def _refuse(task: str, made: Any) -> Any:
    if asyncio.iscoroutine(made):
        made.close()
    raise StemError(
        f"{task} is a plain function and depends on something asynchronous, which cannot be opened"
        " where it is called.\n  Pass the value as an argument, by the dependency's name, or replace"
        " the dependency: with stem.override(…)"
    )


async def _call(function: Callable[..., Any], scope: Scope, /, **kwargs: Any) -> Any:
    """Call an async function with its dependencies."""
    return await _run(function, scope, kwargs, is_async=True)


def _call_in_thread(function: Callable[..., Any], scope: Scope, /, **kwargs: Any) -> Any:
    """Call a plain function with its dependencies, all in this thread.

    The scope opens asynchronous dependencies and waits for them: so this coroutine never waits.
    """
    running = _run(function, scope, kwargs, is_async=False)
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
    function: Callable[..., Any], scope: Scope, kwargs: dict[str, Any], *, is_async: bool
) -> Any:
    """Open a function's dependencies, call it, and close them, also if it raises."""
    with in_scope(scope):
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
            raise  # also if a dependency suppressed it: there is no result
        await manager.__aexit__(None, None, None)
        return returned


async def _close_cancelled(
    manager: AbstractAsyncContextManager[Any], error: BaseException, function: Callable[..., Any]
) -> None:
    """Close the dependencies of a cancelled run within `CLOSE_LIMIT`, and only log errors."""
    try:
        async with asyncio.timeout(CLOSE_LIMIT):
            await manager.__aexit__(type(error), error, error.__traceback__)
    except Exception as problem:  # noqa: BLE001 - logged; the cancellation continues
        if not isinstance(problem, TimeoutError):
            log.warning("closing the dependencies of %s: %r", name_of(function), problem)
            return
        log.warning(
            "the dependencies of %s did not close within %g s", name_of(function), CLOSE_LIMIT
        )
