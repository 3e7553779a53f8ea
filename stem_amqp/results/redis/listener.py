"""The connection on which Redis publishes which tasks have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from redis.asyncio import Connection

HEARTBEAT = 5.0
"""Seconds without a message after which the connection is checked with a PING."""
SILENCE = 12.0
"""Seconds without any answer after which the connection counts as lost."""


class RedisListener:
    """Subscribes to the channels of tasks on one connection, until that is lost.

    Args:
        connection: the connection, connected.
        channel: what the channels are called; a task's id follows.
        on_subscribed: called with each task whose end is received from now on.
        on_ended: called with each task that has ended.
    """

    def __init__(
        self,
        connection: Connection,
        channel: str,
        *,
        on_subscribed: Callable[[str], None],
        on_ended: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._on_subscribed = on_subscribed
        self._on_ended = on_ended
        self._asked: set[str] = set()
        self._subscribed: set[str] = set()
        self._wanted: set[str] = set()
        # changes since the last command: iterating over all waiters each time would be slow
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()

    def want(self, task_ids: Iterable[str]) -> None:
        """Subscribe to the channels of tasks soon."""
        for task_id in task_ids:
            self._wanted.add(task_id)
            if task_id in self._subscribed:  # still subscribed, since it was wanted a moment ago
                self._on_subscribed(task_id)
            else:
                self._look_at(task_id)

    def forget(self, task_id: str) -> None:
        """Unsubscribe from the channel of a task soon."""
        self._wanted.discard(task_id)
        self._look_at(task_id)

    async def send(self) -> None:
        """Send the wanted subscriptions, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await self._wake.wait()
            except TimeoutError:
                await self._connection.send_command("PING")
                continue
            self._wake.clear()
            changed, self._changed = self._changed, {}
            await self._subscribe(changed)
            await self._unsubscribe(changed)

    async def read(self) -> None:
        """Read Redis' messages, until cancelled.

        Raises:
            TimeoutError: it says nothing any more.
        """
        start = len(self._channel.encode())
        while True:
            message = await self._connection.read_response(timeout=SILENCE)
            if message is None:
                raise TimeoutError("timeout: it did not answer")
            if not isinstance(message, list) or len(message) != 3:  # noqa: PLR2004 a PONG
                continue
            kind, channel, _ = message
            if kind == b"message":
                self._on_ended(channel[start:].decode())
            elif kind == b"subscribe":
                self._confirmed(channel[start:].decode())

    async def _subscribe(self, changed: Iterable[str]) -> None:
        new = [
            task_id
            for task_id in changed
            if task_id in self._wanted
            and task_id not in self._asked
            and task_id not in self._subscribed
        ]
        if new:
            self._asked.update(new)
            await self._connection.send_command("SUBSCRIBE", *(self._channel + one for one in new))

    async def _unsubscribe(self, changed: Iterable[str]) -> None:
        # Only confirmed ones: otherwise a confirmation could be mistaken for that of a later subscription.
        old = [
            task_id
            for task_id in changed
            if task_id in self._subscribed and task_id not in self._wanted
        ]
        if old:
            self._subscribed.difference_update(old)
            await self._connection.send_command(
                "UNSUBSCRIBE", *(self._channel + one for one in old)
            )

    def _confirmed(self, task_id: str) -> None:
        self._asked.discard(task_id)
        self._subscribed.add(task_id)
        if task_id in self._wanted:
            self._on_subscribed(task_id)
        else:
            self._look_at(task_id)

    def _look_at(self, task_id: str) -> None:
        self._changed[task_id] = None
        self._wake.set()
