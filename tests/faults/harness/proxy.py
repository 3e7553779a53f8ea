"""A TCP proxy that cuts, refuses, delays and half-opens connections; it runs in its own thread."""

import asyncio
import threading
from contextlib import contextmanager, suppress

from support import free_port

UP, DOWN = "up", "down"
"""The directions: `UP` from the client to the server, `DOWN` from the server to the client."""
CHUNK = 65536
OPEN_OK = bytes.fromhex("01 0000 00000005 000a 0029 00 ce")
"""The frame ``connection.open-ok``, which ends the handshake of AMQP 0-9-1."""


class _Pair:
    """One connection through the proxy."""

    def __init__(self, proxy, writers):
        self._proxy = proxy
        self._writers = writers
        self.mute = set()
        self.ready = False
        self.ended = asyncio.Event()

    def abort(self):
        """Abort the connections to the client and to the server."""
        for writer in self._writers.values():
            writer.transport.abort()

    async def pump(self, reader, direction):
        """Forward data in one direction, with the proxy's delay; discard it if the pair is mute."""
        writer = self._writers[direction]
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                self.ready = self.ready or (direction == DOWN and OPEN_OK in data)
                if self._proxy.delay:
                    await asyncio.sleep(self._proxy.delay)
                if direction not in self.mute:
                    writer.write(data)
                    await writer.drain()
        if direction not in self.mute:
            self.abort()


class Proxy:
    """A proxy between a server on 127.0.0.1 and its clients.

    Args:
        target: the server's port.
    """

    def __init__(self, target):
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._pairs, self._tasks = set(), set()
        self._server = None
        self.delay = 0.0
        """Seconds by which each chunk of data is delayed."""
        self.port = free_port()

    @property
    def open(self):
        """The number of open connections."""
        return len(self._pairs)

    @property
    def ready(self):
        """The number of AMQP connections that are open now: their handshake is over."""
        return sum(pair.ready for pair in tuple(self._pairs))

    def start(self):
        """Listen, on the same port as before after a `refuse`."""
        if not self._thread.is_alive():
            self._thread.start()
        self._do(self._listen())

    def refuse(self):
        """Stop listening, and abort every connection."""
        self._do(self._close())

    def cut(self):
        """Abort every connection; new ones are accepted."""
        self._do(self._cut())

    def half_open(self, *directions):
        """Forward nothing on the open connections, not even a close; new connections work.

        Args:
            *directions: `UP` or `DOWN`; default: both.
        """
        self._do(self._mute(directions or (UP, DOWN)))

    def stop(self):
        """Close the proxy with its connections, and end its thread."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _listen(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self):
        self._server.close()
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self):
        pairs = tuple(self._pairs)
        for pair in pairs:
            pair.abort()
            pair.mute.clear()
        for pair in pairs:
            await pair.ended.wait()

    async def _mute(self, directions):
        for pair in self._pairs:
            pair.mute.update(directions)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        pair = None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            pair = _Pair(self, {UP: back, DOWN: writer})
            self._pairs.add(pair)
            await asyncio.gather(pair.pump(reader, UP), pair.pump(there, DOWN))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            if pair is None:
                writer.transport.abort()
            else:
                pair.abort()
                self._pairs.discard(pair)
                pair.ended.set()
            self._tasks.discard(task)


@contextmanager
def proxy_to(port):
    """Start a proxy to a port of 127.0.0.1, and stop it at the end of the block."""
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
