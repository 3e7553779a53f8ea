"""Stem in a FastAPI application: connections, the dependency, the request's id, and readiness."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, TypeAlias

from stem_amqp.app import Stem
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.health import DEFAULT_TIMEOUT, check_health
from stem_amqp.integrations.request_id import request_id
from stem_amqp.message import new_id

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
"""A lifespan of one's own, with a state or without."""
Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]
"""What ``FastAPI(lifespan=…)`` takes."""

HEADER = "X-Request-ID"
_USABLE = re.compile(r"[!-~]{1,128}")
"""An id from outside goes into logs and messages: visible characters, and not many."""
_STATE = "stem_amqp"


def lifespan(stem: Stem, also: OwnLifespan | None = None) -> Lifespan:
    """Make a lifespan that holds the connections: ``FastAPI(lifespan=lifespan(stem))``.

    Args:
        stem: the application of the tasks.
        also: a lifespan of your own. It is entered when the connections are open, and left before
            they are closed; the state that it yields is there as usual.

    Returns:
        The lifespan. Starting raises what `Stem.connect` raises, and what yours raises.
    """

    @asynccontextmanager
    async def whole(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(stem)
            setattr(app.state, _STATE, stem)
            state = await stack.enter_async_context(also(app)) if also is not None else None
            yield {_STATE: stem, **(state or {})}

    return whole


async def stem_of(connection: HTTPConnection) -> Stem:
    """Return the Stem of the application that serves a request or a websocket.

    Raises:
        StemError: the application was not started with `lifespan`.
    """
    # The state of the lifespan comes into mounted applications too, but not from each test client
    app = connection.scope.get("app")
    found = connection.scope.get("state", {}).get(_STATE) or getattr(
        getattr(app, "state", None), _STATE, None
    )
    if not isinstance(found, Stem):
        raise StemError(
            "this application has no Stem: make it with FastAPI(lifespan=lifespan(stem)), from"
            " stem_amqp.integrations.fastapi.\n"
            "  In a test, let its lifespan run: `with TestClient(app) as client:`"
        )
    return found


StemDependency = Annotated[Stem, Depends(stem_of)]
"""A parameter of an endpoint: ``async def create(stem: StemDependency) -> …``."""


class RequestIds:
    """ASGI middleware that gives each request an id: ``app.add_middleware(RequestIds)``.

    It is that of the header ``X-Request-ID``, if that is 1 to 128 visible ASCII characters, or a new
    one. The response carries it too. With `CarryRequestId` tasks get it, with `TaskFilter` log records.

    Args:
        app: the ASGI application.
        header: another header's name.
        trust: whether an id that came with the request is taken.
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


def readiness(
    stem: Stem,
    *,
    require_consumers: Sequence[str] = (),
    timeout: float = DEFAULT_TIMEOUT,
    details: bool = False,
) -> Callable[[], Any]:
    """Make an endpoint for readiness probes.

    ``app.add_api_route("/ready", readiness(stem))``. It makes the checks of ``stem-amqp health``, over a
    connection of their own, and answers 200 or 503 with ``{"healthy": …, "checks": {"broker": true, …}}``.

    Args:
        stem: the application of the tasks.
        require_consumers: logical queues that must have a worker.
        timeout: seconds for all checks together.
        details: whether the answer says what was found: addresses, names of queues. Not for the
            public.
    """

    async def ready() -> JSONResponse:
        report = await check_health(stem, require_consumers=require_consumers, timeout=timeout)
        checks: dict[str, Any] = {
            check.name: {"ok": check.ok, "detail": check.detail} if details else check.ok
            for check in report.checks
        }
        return JSONResponse(
            {"healthy": report.healthy, "checks": checks},
            status_code=200 if report.healthy else 503,
        )

    return ready
