"""Send and receive the frequent frames of a channel directly, without aiormq's queues and tasks.

aiormq handles opening, declaring, consuming and closing. Deliveries, confirms, settlements and publishes
are frequent, and aiormq uses a task and several queues for each; a port reads them from the socket and
writes them to it directly. aiormq receives none of these frames, not even late ones: they would fill a
queue that nothing reads.
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
    DELIVER,
    NACK,
    RETURN,
    Content,
    read_confirm,
    read_deliver,
)
from stem_amqp.transport.amqp.frames import BODY, CHANNEL_CLOSE, HEAD, HEADER, METHOD, method
from stem_amqp.transport.amqp.properties import BASIC, Properties, bare_header, read_header

_ABORTED = "connection aborted"


_DELIVER = method(BASIC, DELIVER)
_RETURN = method(BASIC, RETURN)
_ACK = method(BASIC, ACK)
_NACK = method(BASIC, NACK)

OnDelivery = Callable[[Content], None]
OnReturn = Callable[[Basic.Return, Properties], None]
OnConfirm = Callable[[int, bool, bool], None]
"""Called with the tag, ``multiple``, and whether the broker accepted the message."""

F = TypeVar("F")


class Line(Protocol):
    """The part of a socket that a port uses."""

    def send(self, data: bytes) -> None:
        """Write whole frames, batched with other writes of this turn of the event loop."""
        ...

    def confirm_close(self, number: int) -> None:
        """Reply to the broker's close of a channel."""
        ...


class Port:
    """Sends and receives the frequent frames of one channel.

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
        """The properties of the message that aiormq is assembling, from the last content header."""
        self._line = line
        self._content: Content | None = None
        self._returned: Basic.Return | None = None
        self._missing = 0
        self._parts: list[bytes] = []

    @property
    def ended(self) -> bool:
        """Whether the channel has ended, so that nothing can be sent."""
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
        """End the port: nothing is sent any more, and late frames are dropped.

        Args:
            error: the reason.
        """
        if self.error is not None:
            return
        self.error = error
        on_end = self.on_end
        self.on_delivery = self.on_return = self.on_confirm = self.on_end = None
        if on_end is not None:
            on_end(error)

    def take(self, kind: int, frame: bytes) -> bool | bytes:
        """Process a frame if it is one of the frequent frames.

        Properties are always read here: aiormq would close the connection for malformed ones.

        Args:
            kind: the kind of the frame.
            frame: all its bytes.

        Returns:
            True if it is processed; False if it is for aiormq; or a frame for aiormq instead of it.
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
        name = frame[HEAD : HEAD + 4]
        if name == _DELIVER:
            self._content = read_deliver(frame)
        elif name in (_ACK, _NACK):
            if self.on_confirm is not None:
                tag, multiple = read_confirm(frame)
                self.on_confirm(tag, multiple, name == _ACK)
        elif name == _RETURN:
            self._returned = returned = _decoded(frame, Basic.Return)
            self._content = Content(0, False, returned.exchange or "", returned.routing_key or "")
        else:
            if name == CHANNEL_CLOSE:
                # what was sent before is written before the reply; aiormq learns of it later
                self._line.confirm_close(self.number)
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
    """Return the error with which a port ends when its connection ends.

    Args:
        error: the error of the connection; None for a normal end.
    """
    problem = ConnectionResetError(_ABORTED if error is None else str(error) or _ABORTED)
    problem.__cause__ = error
    return problem


def _decoded(frame: bytes, kind: type[F]) -> F:
    _, _, decoded = pamqp.frame.unmarshal(frame)
    if not isinstance(decoded, kind):
        raise TypeError(f"a {kind.__name__} frame was expected, not {decoded!r}")
    return decoded
