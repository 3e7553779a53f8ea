"""Detect entities that were deleted on the broker, name them, and declare them again if allowed.

An operator, a script or another tool may delete an exchange, a queue or a binding at any time. An
unroutable message reveals it at once; a worker also checks the topology periodically.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from typing_extensions import override

from stem_amqp.errors import BrokerError, StemError, UnroutableError
from stem_amqp.provision.route import Route, route_of
from stem_amqp.provision.versions import current_entities
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.transport.base import Redeclare, Transport
from stem_amqp.transport.publication import Publication
from stem_amqp.transport.restorer import Restorer

log = logging.getLogger("stem_amqp.provision")

PAUSE = 5.0
"""Seconds without another declaration after one that failed or did not help."""
REBIND_TIME = 60.0
"""Seconds for which a redeclared exchange is expected to have no bindings yet."""
MAX_CHECKS = 10
"""Maximum checks for missing entities within a second: each needs a channel."""
_NAMED = 6
"""Maximum number of missing entities that a message names."""


class TopologyRestorer(Restorer):
    """Finds missing entities of a topology, and declares the topology again if allowed.

    Args:
        transport: the transport.
        entities: returns the entities that must be on the broker.
        redeclare: declares them; None if this process must not declare anything.
        watched: whether `check` does anything.
    """

    def __init__(
        self,
        transport: Transport,
        entities: Callable[[], Entities],
        redeclare: Redeclare | None,
        *,
        watched: bool = True,
    ) -> None:
        self._watched = watched
        self._logged: tuple[str, ...] = ()
        self._transport = transport
        self._entities = entities
        self._redeclare = redeclare
        self._one_at_a_time = asyncio.Lock()
        self._trouble = ""
        self._declared: tuple[str, ...] = ()
        self._declared_at = self._paused_until = float("-inf")
        self._checked_at: deque[float] = deque([float("-inf")] * MAX_CHECKS, maxlen=MAX_CHECKS)

    @override
    async def restore(self, publication: Publication, error: UnroutableError) -> None:
        """Declare the topology again, if it has a queue for an unroutable message.

        One declaration serves all concurrent calls.

        Args:
            publication: the message.
            error: the broker's answer.

        Raises:
            UnroutableError: the topology has no queue for the message, this process must not
                declare anything, or the declaration fails or failed a moment ago. The error names
                the missing entities.
        """
        asked = time.monotonic()
        route = route_of(self._entities(), publication)
        if route is None:
            raise error
        async with self._one_at_a_time:
            if self._declared_at >= asked:
                return
            problem = await self._problem(route, error)
            if self._redeclare is None:
                problem.add_remedy("Declare it: stem-amqp topology apply")
                raise problem from error
            if time.monotonic() < self._paused_until:
                problem.add_remedy(
                    f"It was declared again a moment ago without success: {self._trouble}"
                )
                raise problem from error
            await self._declare(self._redeclare, problem)

    @override
    def unroutable_after_restore(
        self, publication: Publication, error: UnroutableError
    ) -> UnroutableError:
        route = route_of(self._entities(), publication)
        if route is None:
            return error
        if not route.queues:
            # Consumers that bind their own queue to it, such as workers to the control exchange, follow soon
            recent = time.monotonic() - self._declared_at < REBIND_TIME
            missing = self._declared if recent and publication.exchange in self._declared else ()
            return UnroutableError(str(error), missing=missing)
        self._pause("the message is still unroutable")
        problem = UnroutableError(_somewhere(route), missing=_names(route))
        problem.add_remedy("Declaring the topology again did not help")
        return problem

    @override
    async def check(self) -> None:
        """Check whether all entities exist, and declare the missing ones if allowed.

        Bindings cannot be queried: they are declared each time.

        Raises:
            StemError: the check or the declaration failed.
        """
        if not self._watched:
            return
        entities = await current_entities(self._transport, self._entities())
        missing = await self._transport.missing(entities)
        self._log(missing)
        if self._redeclare is None:
            return
        if missing:
            await self._redeclare()
        else:
            await self._transport.declare(Entities(bindings=entities.bindings))

    def _log(self, missing: list[Exchange | Queue]) -> None:
        """Log missing entities; without `redeclare` only when they change."""
        before, self._logged = self._logged, tuple(one.name for one in missing)
        if not missing or (self._redeclare is None and self._logged == before):
            return
        next_step = (
            "Declare it: stem-amqp topology apply"
            if self._redeclare is None
            else "declaring the topology again"
        )
        log.warning("%s on the broker: %s", _named(missing), next_step)

    async def _problem(self, route: Route, error: UnroutableError) -> UnroutableError:
        """Return an error that names the reason; raise the given one if no declaration would help."""
        missing = await self._missing(route)
        if missing:
            names = tuple(one.name for one in missing)
            return UnroutableError(f"{_named(missing)} on the broker", missing=names)
        if not route.queues:
            raise error
        text = _unbound(route) if missing is not None else _somewhere(route)
        return UnroutableError(text, missing=_names(route))

    async def _missing(self, route: Route) -> list[Exchange | Queue] | None:
        """Return the missing entities of a route; None if not known."""
        now = time.monotonic()
        if now - self._checked_at[0] < 1.0:
            return None
        self._checked_at.append(now)
        try:
            return await self._transport.missing(route.entities)
        except BrokerError as trouble:
            log.debug("cannot check which entities are missing: %s", trouble)
            return None

    def _pause(self, trouble: str) -> None:
        self._trouble = trouble
        self._paused_until = time.monotonic() + PAUSE

    async def _declare(self, redeclare: Redeclare, problem: UnroutableError) -> None:
        log.warning("%s: declaring the topology again", problem)
        try:
            await redeclare()
        except StemError as trouble:
            self._pause(str(trouble))
            problem.add_remedy(f"Declaring it again failed: {trouble}")
            raise problem from trouble
        self._declared_at, self._declared = time.monotonic(), problem.missing


def _named(missing: list[Exchange | Queue]) -> str:
    names = [
        f"{'exchange' if isinstance(one, Exchange) else 'queue'} {one.name!r}" for one in missing
    ]
    rest = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'} not"


def _unbound(route: Route) -> str:
    last = next(one for one in reversed(route.bindings) if not one.to_exchange)
    return (
        f"exchange {last.source!r} is not bound to queue {last.destination!r} with key {last.key!r}"
        " on the broker"
    )


def _somewhere(route: Route) -> str:
    first, last = route.exchanges[0].name, " and ".join(repr(one) for one in _names(route))
    return f"something between exchange {first!r} and queue {last} is not on the broker"


def _names(route: Route) -> tuple[str, ...]:
    return tuple(queue.name for queue in route.queues)
