"""The standard streams: replace characters that they cannot encode, handle closed pipes and full disks."""

from __future__ import annotations

import codecs
import errno
import os
import select
import sys
from pathlib import Path

_HANDLER = "stem-amqp"
_PLAIN = {
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{BALLOT X}": "x",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{BULLET}": "*",
    "\N{RIGHTWARDS ARROW}": "->",
}
"""ASCII replacements of the characters in our own texts, for terminals and locales without them."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
"""Errors of a write to a target without space."""


def prepare() -> None:
    """Let standard output and error accept any text, whatever their encoding.

    A character that they cannot encode is replaced by an ASCII character, or by an escape.
    """
    codecs.register_error(_HANDLER, _replaced)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_HANDLER)


def is_unicode(stream: object) -> bool:
    """Return whether a stream can encode every character."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False


def reader_is_gone() -> bool:
    """Return whether the reader of standard output or error has exited, as after ``| head``."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    # rich replaces a broken pipe with the null device
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    return gone or os.path.samestat(os.fstat(1), Path(os.devnull).stat())


def is_full(error: OSError) -> bool:
    """Return whether a write failed because its target has no space, such as a full disk."""
    return error.errno in _FULL


def give_up() -> None:
    """Discard buffered output, which would fail again when the interpreter exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(null, stream.fileno())
    os.close(null)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    text = "".join(
        _PLAIN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in part
    )
    return text, error.end
