"""The short way in and out of a channel, past the client library's queues and tasks.

aiormq reads and writes everything that opens, declares, consumes and closes. What comes by the
thousand, deliveries, confirms, settlements and publishes, is taken from the socket and given to it
directly here: aiormq has a task and several queues for each. It gets none of them, not even those
that come too late for anybody: they would fill a queue that nobody empties.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import pamqp.frame
from aiormq.channel import exception_by_code
from aiormq.exceptions import ChannelInvalidStateError
from pamqp import commands
from pamqp.commands import Basic

from stem_amqp.transport.amqp.content import (
    ACK,
    BASIC,
    DELIVER,
    NACK,
    RETURN,
    Content,
    Properties,
    bare_header,
    read_confirm,
    read_deliver,
    read_header,
)
from stem_amqp.transport.amqp.frames import BODY, HEAD, HEADER, METHOD

_CHANNEL, _CLOSE = 20, 40
_CUT_SHORT = "connection cut off"


def _method(kind: int, method: int) -> bytes:
    return kind.to_bytes(2, "big") + method.to_bytes(2, "big")


_DELIVER = _method(BASIC, DELIVER)
_RETURN = _method(BASIC, RETURN)
_ACK = _method(BASIC, ACK)
_NACK = _method(BASIC, NACK)
_CHANNEL_CLOSE = _method(_CHANNEL, _CLOSE)

OnDelivery = Callable[[Content], None]
OnReturn = Callable[[Basic.Return, Properties], None]
OnConfirm = Callable[[int, bool, bool], None]
"""Given the tag, whether it is for all before it too, and whether the message was taken."""

F = TypeVar("F")


class Line(Protocol):
    """The socket, as a port uses it."""

    def send(self, data: bytes) -> None:
        """Write whole frames, together with what else is written in this turn of the loop."""
        ...


class Port:
    """The short way in and out of one channel.

    Args:
        number: the channel's number.
        line: the socket.
    """

    def __init__(self, number: int, line: Line) -> None:
        self.number = number
        self.error: BaseException | None = None
        self.on_delivery: OnDelivery | None = None
        self.on_return: OnReturn | None = None
        self.on_confirm: OnConfirm | None = None
        self.on_end: Callable[[BaseException], None] | None = None
        self.properties = Properties()
        """Those of the message that aiormq collects, which came with the last content header."""
        self._line = line
        self._content: Content | None = None
        self._returned: Basic.Return | None = None
        self._missing = 0
        self._parts: list[bytes] = []

    @property
    def ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.error is not None

    def send(self, data: bytes) -> None:
        """Write whole frames of this channel.

        Args:
            data: the frames.

        Raises:
            ChannelInvalidStateError: the channel has ended.
        """
        if self.error is not None:
            raise ChannelInvalidStateError(f"channel {self.number} has ended")
        self._line.send(data)

    def end(self, error: BaseException) -> None:
        """Send nothing any more, and drop what the broker sends late.

        Args:
            error: why.
        """
        if self.error is not None:
            return
        self.error = error
        on_end = self.on_end
        self.on_delivery = self.on_return = self.on_confirm = self.on_end = None
        if on_end is not None:
            on_end(error)

    def take(self, kind: int, frame: bytes) -> bool | bytes:
        """Take a frame, if it belongs to what is taken here.

        Properties are always read here: aiormq would end the connection for those that somebody
        else wrote badly.

        Args:
            kind: what kind of frame it is.
            frame: all its bytes.

        Returns:
            True if it is taken; False if it is aiormq's, or the frame that aiormq gets for it.
        """
        if kind == METHOD:
            return self._take_method(frame)
        content = self._content
        if content is None:
            if kind != HEADER:
                return False
            _, self.properties = read_header(frame)
            return bare_header(frame)
        if kind == HEADER:
            self._missing, content.properties = read_header(frame)
        elif kind == BODY:
            part = frame[HEAD:-1]
            self._missing -= len(part)
            self._parts.append(part)
        else:
            return False
        if self._missing <= 0:
            self._complete(content)
        return True

    def _take_method(self, frame: bytes) -> bool:
        method = frame[HEAD : HEAD + 4]
        if method == _DELIVER:
            self._content = read_deliver(frame)
        elif method in (_ACK, _NACK):
            if self.on_confirm is not None:
                tag, multiple = read_confirm(frame)
                self.on_confirm(tag, multiple, method == _ACK)
        elif method == _RETURN:
            self._returned = returned = _decoded(frame, Basic.Return)
            self._content = Content(0, False, returned.exchange or "", returned.routing_key or "")
        else:
            if method == _CHANNEL_CLOSE:
                # noted before aiormq answers it: from the answer on, the channel is not open
                self.end(exception_by_code(_decoded(frame, commands.Channel.Close)))
            return False
        return True

    def _complete(self, content: Content) -> None:
        parts = self._parts
        content.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts, self._content = [], None
        returned, self._returned = self._returned, None
        if returned is not None:
            if self.on_return is not None:
                self.on_return(returned, content.properties)
        elif self.on_delivery is not None:
            self.on_delivery(content)


def lost(error: BaseException | None) -> ConnectionError:
    """Return what a port ends with when its connection does.

    Args:
        error: what the connection ended with; None for a plain end.
    """
    problem = ConnectionResetError(_CUT_SHORT if error is None else str(error) or _CUT_SHORT)
    problem.__cause__ = error
    return problem


def _decoded(frame: bytes, kind: type[F]) -> F:
    _, _, decoded = pamqp.frame.unmarshal(frame)
    if not isinstance(decoded, kind):
        raise TypeError(f"a {kind.__name__} frame was expected, not {decoded!r}")
    return decoded
