"""Splitting the stream: every frame goes to its taker, and the rest is unchanged."""

import pamqp.frame
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.heartbeat import Heartbeat

from stem_amqp.transport.amqp.frames import FrameCutter


class Taker:
    """A taker of the frames whose body starts with a given byte."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.taken = []

    def take(self, kind, frame):
        """Take a body frame if it is wanted."""
        if kind != 3 or frame[7:8] != self.wanted:
            return False
        self.taken.append(frame)
        return True


def body(number, value):
    """Return a body frame."""
    return pamqp.frame.marshal(ContentBody(value), number)


FRAMES = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([b"a", b"b"]), st.binary(max_size=30)),
    max_size=12,
)


@given(FRAMES, st.lists(st.integers(1, 50), max_size=30))
def test_the_stream_may_be_cut_anywhere(frames, sizes):
    """The result does not depend on how the bytes arrive."""
    stream = b"".join(body(number, head + rest) for number, head, rest in frames)
    takers = {1: Taker(b"a"), 2: Taker(b"b")}
    cutter, left, position = FrameCutter(takers), b"", 0
    for size in [*sizes, len(stream) + 1]:
        left += cutter.feed(stream[position : position + size])
        position += size
    for number, taker in takers.items():
        assert taker.taken == [
            body(number, head + rest)
            for at, head, rest in frames
            if at == number and head == taker.wanted
        ]
    assert left == b"".join(
        body(number, head + rest)
        for number, head, rest in frames
        if number not in takers or head != takers[number].wanted
    )


def test_what_is_no_amqp_is_left_alone():
    """aiormq reports a server of another protocol."""
    cutter = FrameCutter({})
    assert cutter.feed(b"HTTP/1.1 400 Bad Request\r\n") == b"HTTP/1.1 400 Bad Request\r\n"
    assert cutter.feed(b"\r\n") == b"\r\n"


def test_a_heartbeat_is_left_to_aiormq():
    """It belongs to no channel."""
    heartbeat = pamqp.frame.marshal(Heartbeat(), 0)
    cutter = FrameCutter({1: Taker(b"a")})
    assert cutter.feed(heartbeat + body(1, b"a") + heartbeat) == heartbeat * 2
