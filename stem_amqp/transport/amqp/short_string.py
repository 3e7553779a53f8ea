"""Encode and decode AMQP short strings: a byte with the length and up to 255 bytes of UTF-8."""

from __future__ import annotations

LONGEST_SHORT = 255
"""The longest short string in bytes."""


def read_short(frame: bytes, position: int) -> tuple[str, int]:
    """Read a short string, and return it with the position after it.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        LookupError: the frame ends before its length.
    """
    begin = position + 1
    end = begin + frame[position]
    return frame[begin:end].decode(), end


def write_short(name: str, value: str) -> bytes:
    """Write a short string.

    Args:
        name: the property's name, for the error.
        value: the text.

    Raises:
        ValueError: it has more than 255 bytes.
    """
    data = value.encode()
    if len(data) > LONGEST_SHORT:
        raise ValueError(f"the {name} has {len(data)} bytes, AMQP allows {LONGEST_SHORT}")
    return bytes((len(data),)) + data
