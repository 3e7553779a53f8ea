"""Split the bytes that the broker sends into AMQP frames; AMQP 0-9-1, section 4.2.3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
"""Kinds of frames."""
_KINDS = frozenset({METHOD, HEADER, BODY, HEARTBEAT})
HEAD = 7
"""Bytes before a frame's payload: its kind, its channel and the payload's size."""
END = b"\xce"
"""The octet after the payload."""
_OVERHEAD = HEAD + len(END)


def method(kind: int, number: int) -> bytes:
    """Return the beginning of a method frame's payload.

    Args:
        kind: the class of the method.
        number: the method.
    """
    return kind.to_bytes(2, "big") + number.to_bytes(2, "big")


CHANNEL_OPEN, CHANNEL_CLOSE, CHANNEL_CLOSE_OK = method(20, 10), method(20, 40), method(20, 41)


def end_of(data: bytes, position: int) -> int:
    """Return the position after a frame.

    Args:
        data: bytes with at least the head of the frame.
        position: where the frame begins.
    """
    return position + _OVERHEAD + int.from_bytes(data[position + 3 : position + HEAD], "big")


class FrameReceiver(Protocol):
    """Receives the frames of a channel."""

    def take(self, kind: int, frame: bytes) -> bool | bytes:
        """Process a frame, given its kind and all its bytes.

        Returns:
            True if it is processed; False if it is for aiormq; or a frame for aiormq instead of it.
        """
        ...


class FrameCutter:
    """Splits a stream of bytes into frames.

    Args:
        receivers: the receiver of each channel's frames, by channel number.
    """

    def __init__(self, receivers: Mapping[int, FrameReceiver]) -> None:
        self._receivers = receivers
        self._rest = b""
        self._cutting = True

    def feed(self, data: bytes) -> bytes:
        """Split received bytes, and return the whole frames that no receiver processed.

        Args:
            data: the next bytes of the stream, split anywhere.
        """
        if not self._cutting:
            return data
        if self._rest:
            data = self._rest + data
        receivers, size = self._receivers, len(data)
        left: list[bytes] = []
        position = begin = 0
        while size - position >= HEAD:
            kind = data[position]
            if kind not in _KINDS:
                # this is not AMQP; aiormq reports the error
                self._cutting = False
                position = size
                break
            end = end_of(data, position)
            if end > size:
                break
            receiver = receivers.get(data[position + 1] << 8 | data[position + 2])
            taken = receiver is not None and receiver.take(kind, data[position:end])
            if taken:
                if begin < position:
                    left.append(data[begin:position])
                if taken is not True:
                    left.append(taken)
                begin = end
            position = end
        left.append(data[begin:position])
        self._rest = data[position:]
        return b"".join(left)
