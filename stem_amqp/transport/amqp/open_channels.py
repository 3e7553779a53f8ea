"""Which channels of a connection are open at the broker, as far as the client's frames decide it."""

from __future__ import annotations

from collections.abc import Callable

from stem_amqp.transport.amqp.frames import (
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    HEAD,
    METHOD,
    end_of,
)


class OpenChannels:
    """Drops the frames of channels that are not open.

    For a frame on a channel that is not open the broker closes the whole connection, with the error
    "expected 'channel.open'". aiormq writes such frames: it closes a channel again if a call is cancelled
    just after the broker closed it, and it replies to the cancellation of a consumer on a channel that it
    has already closed.

    Args:
        on_close: called with the number of each channel that the client closes.
    """

    def __init__(self, on_close: Callable[[int], None]) -> None:
        self._on_close = on_close
        self._numbers: set[int] = set()

    def closed(self, number: int) -> None:
        """Record that the broker has closed a channel and the reply is written.

        Args:
            number: the channel's number.
        """
        self._numbers.discard(number)

    def admitted(self, data: bytes) -> bytes:
        """Return the frames that may be written, and record the channels that they open and close.

        Args:
            data: whole frames of aiormq, or the protocol header.
        """
        if data[:1] != bytes([METHOD]):
            return data
        frames: list[bytes] = []
        position = 0
        while position < len(data):
            end = end_of(data, position)
            frame, position = data[position:end], end
            if self._admits(frame):
                frames.append(frame)
        return b"".join(frames)

    def _admits(self, frame: bytes) -> bool:
        number = int.from_bytes(frame[1:3], "big")
        if not number:
            return True
        name = frame[HEAD : HEAD + 4] if frame[0] == METHOD else b""
        if name == CHANNEL_OPEN:
            self._numbers.add(number)
            return True
        # the reply to the broker's close is already written
        if number not in self._numbers or name == CHANNEL_CLOSE_OK:
            return False
        if name == CHANNEL_CLOSE:
            self._numbers.discard(number)
            self._on_close(number)
        return True
