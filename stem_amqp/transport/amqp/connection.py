"""A supervised connection: when it ends, it is opened again at one of the URLs."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from aio_pika.abc import AbstractChannel
from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from stem_amqp.cancellation import end
from stem_amqp.errors import BrokerError, BrokerRefusedError, BrokerUnavailableError
from stem_amqp.tls import TlsSource
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.failures import ALARM, LOST, reason
from stem_amqp.transport.amqp.link import Link, close_plain_channel
from stem_amqp.transport.amqp.single_flight import SingleFlight
from stem_amqp.transport.amqp.urls import BrokerUrl
from stem_amqp.transport.base import BrokerInfo, ConnectionChange
from stem_amqp.transport.features import supported
from stem_amqp.transport.publication import FRAME_MAX

logger = logging.getLogger("stem_amqp.transport")

C = TypeVar("C")

BACK_OFF = wait_random_exponential(multiplier=0.2, max=5, min=0.1)
"""Seconds between attempts; random, so that workers do not all reconnect to a broker at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialer:
    """How to connect.

    Args:
        urls: the brokers, in the order in which they are tried.
        name: the connections' name in the management UI, followed by their role.
        namespace: their namespace in the management UI.
        timeout: seconds for one attempt at one URL.
        ssl_context: for ``amqps`` URLs; None uses the system's authorities.
        server_name: the name to verify in the certificate; None uses the host.
    """

    urls: tuple[BrokerUrl, ...]
    name: str
    timeout: float
    ssl_context: TlsSource | None = field(default=None, repr=False)
    server_name: str | None = None
    namespace: str = ""

    async def dial(self, role: str) -> Link:
        """Try each URL once and return the first connection.

        Args:
            role: ``consuming`` or ``publishing``.

        Raises:
            BrokerRefusedError: no connection; a broker refuses the credentials or the virtual host.
            BrokerUnavailableError: no connection.
        """
        errors: list[BrokerError] = []
        context = self.ssl_context() if callable(self.ssl_context) else self.ssl_context
        for url in self.urls:
            try:
                return await Link.open(
                    url,
                    properties=self._properties(role),
                    timeout=self.timeout,
                    ssl_context=context,
                    server_name=self.server_name,
                )
            except BrokerError as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        refused = any(isinstance(error, BrokerRefusedError) for error in errors)
        kind = BrokerRefusedError if refused else BrokerUnavailableError
        raise kind(
            "no broker accepted a connection:\n" + "\n".join(f"- {error}" for error in errors)
        )

    def _properties(self, role: str) -> dict[str, str]:
        """Return the client properties, which the management UI shows."""
        return {
            "connection_name": f"{self.name} {role}",
            "product": "stem-amqp",
            "version": own_version(),
            "platform": f"Python {platform.python_version()}",
            "information": f"aio-pika {version('aio-pika')}, aiormq {version('aiormq')}",
            "role": role,
            "namespace": self.namespace,
        }


def own_version() -> str:
    """Return the installed version; a source tree without installation has none."""
    try:
        return version("stem-amqp")
    except PackageNotFoundError:
        return "unknown"


class SupervisedConnection:
    """A supervised connection.

    Args:
        dialer: how to connect.
        role: ``consuming`` or ``publishing``.
        on_change: called when it is lost and when it is restored.
    """

    def __init__(
        self, dialer: Dialer, role: str, on_change: Callable[[ConnectionChange], None]
    ) -> None:
        self.role = role
        self.timeout = dialer.timeout
        self._dialer = dialer
        self._on_change = on_change
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._closed = False
        self._trouble = "it was never opened: call connect() first"
        self._supervisor: asyncio.Task[None] | None = None
        self._opening = SingleFlight(self._open, name=f"stem-amqp open {role}")

    @property
    def opened(self) -> bool:
        """Whether it was opened and is supervised."""
        return self._supervisor is not None and not self._closed

    @property
    def up(self) -> bool:
        """Whether it is connected."""
        return self._up.is_set()

    @property
    def trouble(self) -> str:
        """Why it is not connected."""
        return self._trouble

    @property
    def frame_max(self) -> int:
        """The negotiated size of a frame in bytes; the default if not connected."""
        return FRAME_MAX if self._link is None else self._link.frame_max

    @property
    def congested(self) -> bool:
        """Whether the write buffer is full because the broker reads too slowly."""
        return self._link is not None and self._link.congested

    async def drained(self) -> None:
        """Wait until the write buffer has room.

        Raises:
            ConnectionError: the connection has ended.
        """
        if self._link is not None:
            await self._link.drained()

    async def blocked(self) -> bool:
        """Return whether the broker blocks publishers because of an alarm."""
        return self._link is not None and await self._link.blocked()

    async def open(self) -> BrokerInfo:
        """Connect on the first call, and return the broker's information.

        Raises:
            BrokerUnavailableError: none of the URLs answers, or the transport is closed.
            BrokerRefusedError: the broker refuses the credentials or the virtual host.
        """
        if self._closed:
            raise BrokerUnavailableError("the transport is closed")
        if self._link is None:
            await self._opening()
        assert self._link is not None  # noqa: S101 `_open` sets it or raises
        return self._link.info

    async def ready(self) -> Link:
        """Wait for the connection without a limit.

        Raises:
            BrokerUnavailableError: the transport is closed, or was never connected.
        """
        while True:
            if not self.opened:
                raise BrokerUnavailableError(
                    "the transport is closed" if self._closed else f"no connection: {self._trouble}"
                )
            await self._up.wait()
            if self._link is not None and not self._link.closed:
                return self._link
            # it ended a moment ago, and the supervisor is about to notice
            await asyncio.sleep(0)

    async def channel(self, *, patience: float | None = None, confirms: bool = False) -> Channel:
        """Open a channel with a port when connected.

        Args:
            patience: seconds to wait for the connection; None waits without a limit.
            confirms: with publisher confirms, raising for returned messages.

        Raises:
            BrokerUnavailableError: no connection in time, the transport is closed, or the broker opens
                no channel.
        """
        return await self._opened(
            lambda link: link.channel(timeout=self.timeout, confirms=confirms), patience
        )

    @asynccontextmanager
    async def plain_channel(self) -> AsyncIterator[AbstractChannel]:
        """Open a channel of aio-pika for a block, for infrequent declarations and queries.

        Raises:
            BrokerUnavailableError: as for `channel`, within the connect timeout.
        """
        channel = await self._opened(
            lambda link: link.plain_channel(timeout=self.timeout), self.timeout
        )
        try:
            yield channel
        finally:
            await close_plain_channel(channel)

    async def _opened(self, open_on: Callable[[Link], Awaitable[C]], patience: float | None) -> C:
        deadline = asyncio.timeout(patience)
        try:
            async with deadline:
                while True:
                    link = await self.ready()
                    try:
                        return await open_on(link)
                    except LOST as error:
                        if link.closed:
                            continue
                        raise BrokerUnavailableError(
                            f"the broker opened no channel: {reason(error)}"
                        ) from error
        except TimeoutError:
            if not deadline.expired():
                raise
            if not self.up:
                problem = f"no connection to the broker within {patience:g} s: {self._trouble}"
            else:
                alarm = ALARM if await self.blocked() else ""
                problem = f"the broker opened no channel within {patience:g} s{alarm}"
            raise BrokerUnavailableError(problem) from None

    def abandon(self) -> None:
        """Abort it after its event loop was closed."""
        if self._link is not None:
            self._link.abandon()

    async def close(self) -> None:
        """Close permanently; a second call does nothing."""
        self._closed = True
        await self._opening.cancel()
        await end(self._supervisor)
        self._up.set()  # wake the waiters, which then see that it is closed
        if self._link is not None:
            await self._link.close()

    async def _open(self) -> None:
        link = await self._dialer.dial(self.role)
        self._use(link)
        logger.info("%s connection to %s, %s", self.role, link.url, link.info)
        if not supported(link.info):
            logger.warning("%s is older than the releases that stem-amqp is tested with", link.info)
        self._supervisor = asyncio.create_task(
            self._supervise(link), name=f"stem-amqp supervise {self.role}"
        )

    def _use(self, link: Link) -> None:
        self._link = link
        self._up.set()

    async def _supervise(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._trouble = await link.lost()
            self._up.clear()
            began = loop.time()
            logger.warning("%s connection to %s lost: %s", self.role, link.url, self._trouble)
            self._notify(ConnectionChange(restored=False, role=self.role, error=self._trouble))
            await link.close()
            link = await self._reconnect()
            self._use(link)
            downtime = loop.time() - began
            logger.info("%s connection restored to %s after %.1f s", self.role, link.url, downtime)
            self._notify(
                ConnectionChange(
                    restored=True, role=self.role, error=self._trouble, downtime=downtime
                )
            )

    async def _reconnect(self) -> Link:
        retrying = AsyncRetrying(wait=BACK_OFF, before_sleep=self._log_attempt)
        return await retrying(self._dialer.dial, self.role)

    def _log_attempt(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._trouble = str(error)
        logger.log(
            attempt_level(state.attempt_number),
            "%s connection still lost, attempt %d: %s",
            self.role,
            state.attempt_number,
            error,
        )

    def _notify(self, change: ConnectionChange) -> None:
        try:
            self._on_change(change)
        except Exception:
            logger.exception("on_connection_change failed")


def attempt_level(attempt: int) -> int:
    """Return the log level of a failed attempt: the first and then every tenth is a warning.

    Args:
        attempt: its number, from 1.
    """
    return logging.WARNING if attempt == 1 or attempt % 10 == 0 else logging.INFO
