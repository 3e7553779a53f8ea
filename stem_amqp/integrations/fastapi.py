"""FastAPI integration: lifespan, dependency, request ids, and a readiness endpoint."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, TypeAlias

from stem_amqp.app import Stem
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.health import DEFAULT_TIMEOUT, HealthReport, check_health
from stem_amqp.integrations.request_id import request_id
from stem_amqp.messages.message import new_id

try:
    from fastapi import Depends, FastAPI
    from fastapi.responses import JSONResponse
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.requests import HTTPConnection
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ModuleNotFoundError as error:
    raise ConfigurationError(
        "stem_amqp.integrations.fastapi needs FastAPI.\n  pip install 'stem-amqp[fastapi]'"
    ) from error

__all__ = ["RequestIds", "StemDependency", "lifespan", "readiness", "stem_of"]

OwnLifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any] | None]]
"""A user's lifespan, with or without a state."""
Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]
"""The type of the argument of ``FastAPI(lifespan=…)``."""

HEADER = "X-Request-ID"
_USABLE = re.compile(r"[!-~]{1,128}")
"""A request's id is copied to logs and messages, so only visible characters are accepted."""
_STATE = "stem_amqp"


def lifespan(stem: Stem, also: OwnLifespan | None = None) -> Lifespan:
    """Return a lifespan that opens and closes the connections: ``FastAPI(lifespan=lifespan(stem))``.

    Args:
        stem: the application of the tasks.
        also: your own lifespan. It is entered after the connections are open, and left before they
            are closed; the state that it yields is available as usual.

    Returns:
        The lifespan. Startup raises the errors of `Stem.connect` and of your own lifespan.
    """

    @asynccontextmanager
    async def combined(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(stem)
            setattr(app.state, _STATE, stem)
            state = await stack.enter_async_context(also(app)) if also is not None else None
            yield {_STATE: stem, **(state or {})}

    return combined


async def stem_of(connection: HTTPConnection) -> Stem:
    """Return the Stem of the application that serves a request or a websocket.

    Raises:
        StemError: the application was not started with `lifespan`.
    """
    # Mounted applications get the lifespan's state too, but some test clients do not pass it on
    app = connection.scope.get("app")
    found = connection.scope.get("state", {}).get(_STATE) or getattr(
        getattr(app, "state", None), _STATE, None
    )
    if not isinstance(found, Stem):
        raise StemError(
            "this application has no Stem: create it with FastAPI(lifespan=lifespan(stem)), from"
            " stem_amqp.integrations.fastapi.\n"
            "  In a test, run its lifespan: `with TestClient(app) as client:`"
        )
    return found


StemDependency = Annotated[Stem, Depends(stem_of)]
"""A parameter of an endpoint: ``async def create(stem: StemDependency) -> …``."""


class RequestIds:
    """ASGI middleware that gives each request an id: ``app.add_middleware(RequestIds)``.

    The id is the value of the header ``X-Request-ID``, if that is 1 to 128 visible ASCII characters,
    or a new one. The response has the same header. `CarryRequestId` adds the id to tasks, `TaskFilter`
    to log records.

    Args:
        app: the ASGI application.
        header: the name of the header.
        trust: whether to use an id that the request brings.
    """

    def __init__(self, app: ASGIApp, header: str = HEADER, *, trust: bool = True) -> None:
        self._app = app
        self._header = header
        self._trust = trust

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(self._header, "") if self._trust else ""
        own = given if _USABLE.fullmatch(given) else new_id()

        async def send_with_id(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.accept"}:
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[self._header] = own
            await send(message)

        token = request_id.set(own)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            request_id.reset(token)


class _Checking:
    """Health checks whose result is shared by concurrent requests."""

    def __init__(
        self, check: Callable[[], Coroutine[Any, Any, HealthReport]], every: float
    ) -> None:
        self._check = check
        self._every = every
        self._task: asyncio.Task[HealthReport] | None = None
        self._ended = -math.inf

    async def report(self) -> HealthReport:
        """Return the last report while it is valid, otherwise the next one."""
        loop = asyncio.get_running_loop()
        task = self._task
        # A task of another event loop, such as one of an earlier test, never finishes
        usable = task is not None and task.get_loop() is loop and not self._failed(task)
        if task is None or not usable or (task.done() and self._ended + self._every <= loop.time()):
            task = self._task = loop.create_task(self._check())
            task.add_done_callback(self._note)
        # A cancelled request must not cancel the checks that other requests wait for
        return await asyncio.shield(task)

    def _note(self, task: asyncio.Task[HealthReport]) -> None:
        self._ended = task.get_loop().time()

    @staticmethod
    def _failed(task: asyncio.Task[HealthReport]) -> bool:
        return task.done() and (task.cancelled() or task.exception() is not None)


def readiness(
    stem: Stem,
    *,
    require_consumers: Sequence[str] = (),
    timeout: float = DEFAULT_TIMEOUT,
    details: bool = False,
    every: float = 2.0,
) -> Callable[[], Any]:
    """Return an endpoint for readiness probes.

    ``app.add_api_route("/ready", readiness(stem))``. It runs the checks of ``stem-amqp health`` over a
    separate connection, and responds with 200 or 503 and
    ``{"healthy": …, "checks": {"broker": true, …}}``. The checks run one at a time and at most once
    per ``every`` seconds, whatever the number of requests; other requests get the last result.

    Args:
        stem: the application of the tasks.
        require_consumers: logical queues that must have a worker.
        timeout: seconds for all checks together.
        details: whether the response contains the findings: addresses, queue names. Do not expose
            them publicly.
        every: seconds for which a result is valid.
    """
    checking = _Checking(
        lambda: check_health(
            stem, require_consumers=require_consumers, timeout=timeout, waiting_fails=False
        ),
        every,
    )

    async def ready() -> JSONResponse:
        report = await checking.report()
        checks: dict[str, Any] = {
            check.name: {"ok": check.ok, "detail": check.detail} if details else check.ok
            for check in report.checks
        }
        return JSONResponse(
            {"healthy": report.healthy, "checks": checks},
            status_code=200 if report.healthy else 503,
        )

    return ready
