"""Keeps a worker's directives current: reads them before it consumes, and again from time to time."""

from __future__ import annotations

import asyncio
import logging
import random

from stem_amqp.clock import Clock
from stem_amqp.directives.issue import Desk
from stem_amqp.directives.model import Directive
from stem_amqp.directives.state import Directives
from stem_amqp.directives.store import Store
from stem_amqp.errors import DecodeError, StemError
from stem_amqp.observability import Telemetry
from stem_amqp.worker.steering.labels import label

log = logging.getLogger("stem_amqp.worker")

START = 5.0
"""Seconds that a worker waits for its directives before it consumes without them."""
INTERVAL = 60.0
"""Seconds between two reads, on average; changes arrive as commands, so this finds those that were missed."""
AGAIN = 5.0
"""Seconds between two attempts while a store does not answer."""
SOON = 1.0
"""The most seconds after a restored connection until the next read, at random for each worker."""


class DirectiveKeeper:
    """Reads the stored directives.

    Args:
        desk: reads and verifies them.
        directives: what the worker obeys.
        clock: the time of day.
        telemetry: receives the stored directives that are ignored for lack of a valid signature.
    """

    def __init__(
        self, desk: Desk, directives: Directives, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._telemetry = telemetry
        self._desk = desk
        self._directives = directives
        self._clock = clock
        self._wanted = asyncio.Event()
        self._failing: dict[str, str] = {}
        self._strangers: set[str] = set()

    async def start(self) -> None:
        """Read the directives before the worker consumes; without an answer, log it and go on."""
        try:
            async with asyncio.timeout(START):
                await self.read()
        except TimeoutError:
            self._begun_without()

    async def run(self) -> None:
        """Read again from time to time, and after each interruption, until cancelled."""
        while True:
            expiry = self._directives.expire()
            wait = AGAIN if self._failing else INTERVAL * random.uniform(0.5, 1.5)
            if expiry is not None:
                wait = min(wait, max(0.01, expiry - self._clock.time()))
            due = asyncio.get_running_loop().time() + wait
            try:
                async with asyncio.timeout(wait):
                    await self._wanted.wait()
                await asyncio.sleep(random.uniform(0, SOON))
            except TimeoutError:
                if expiry is not None and expiry <= self._clock.time():
                    continue
            if self._wanted.is_set() or asyncio.get_running_loop().time() >= due:
                self._wanted.clear()
                await self.read()

    def want(self) -> None:
        """Read again soon: commands may have been missed."""
        self._wanted.set()

    async def read(self) -> None:
        """Read all stores, and obey what they hold; log a store that cannot be read."""
        found: list[Directive] = []
        self._failing.pop("", None)
        for store in self._desk.stores:
            try:
                found += (await store.read()).directives
            except (StemError, OSError) as error:
                self._failed(store, error)
            else:
                if self._failing.pop(store.name, None) is not None:
                    log.info("the directives can be read from %s again", store.name)
        self._report_refused(self._desk.trust.take_refused())
        self._directives.learn(found)

    def heard(self, directive: Directive) -> None:
        """Obey a directive that was sent to the workers.

        Args:
            directive: the directive, verified.
        """
        known = {store.name for store in self._desk.stores}
        if directive.store and directive.store not in known | self._strangers:
            self._strangers.add(directive.store)
            log.error(
                "a directive of %s is stored in %s, which this worker does not read: it obeys it now, and"
                " not after a restart\n  Give all processes of the namespace the same STEM_BACKEND_URL",
                directive.by or "an operator",
                directive.store,
            )
        self._directives.learn([directive])

    def _report_refused(self, refused: list[Directive]) -> None:
        if not refused:
            return
        log.warning("%d stored directives without a valid signature are ignored", len(refused))
        for report in self._telemetry.commanded:
            for directive in refused:
                report(label(directive), "signature")

    def _begun_without(self) -> None:
        log.error(
            "the directives could not be read within %g s: this worker begins without revocations,"
            " pauses and limits that were set before; it tries again",
            START,
        )
        self._failing[""] = "it does not answer"

    def _failed(self, store: Store, error: Exception) -> None:
        text = str(error)
        if self._failing.get(store.name) != text:
            # the first time and when it changes; while it lasts, silently
            level = logging.ERROR if isinstance(error, DecodeError) else logging.WARNING
            log.log(level, "the directives cannot be read from %s: %s", store.name, text)
        self._failing[store.name] = text
