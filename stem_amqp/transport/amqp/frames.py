"""Cutting what the broker sends into AMQP frames; AMQP 0-9-1, section 4.2.3."""

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
_AROUND = HEAD + len(END)


class Taker(Protocol):
    """Who may want the frames of a channel."""

    def take(self, kind: int, frame: bytes) -> bool | bytes:
        """Take a frame, given its kind and all its bytes.

        Returns:
            True if it is taken; False if it is for somebody else, or what they get instead of it.
        """
        ...


class FrameCutter:
    """Cuts a stream of bytes into frames.

    Args:
        takers: who is offered the frames of which channel.
    """

    def __init__(self, takers: Mapping[int, Taker]) -> None:
        self._takers = takers
        self._rest = b""
        self._cutting = True

    def feed(self, data: bytes) -> bytes:
        """Cut what has come, and return what nobody took, in whole frames.

        Args:
            data: the next bytes of the stream, cut anywhere.
        """
        if not self._cutting:
            return data
        if self._rest:
            data = self._rest + data
        takers, size = self._takers, len(data)
        left: list[bytes] = []
        position = begin = 0
        while size - position >= HEAD:
            kind = data[position]
            if kind not in _KINDS:
                # no AMQP is spoken there; what it is, is for aiormq to say
                self._cutting = False
                position = size
                break
            end = position + _AROUND + int.from_bytes(data[position + 3 : position + HEAD], "big")
            if end > size:
                break
            taker = takers.get(data[position + 1] << 8 | data[position + 2])
            taken = taker is not None and taker.take(kind, data[position:end])
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
