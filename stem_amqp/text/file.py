"""Read the text files that users specify as UTF-8, with a reason if that is not possible."""

from __future__ import annotations

import codecs
import os
import select
import stat
import time
from pathlib import Path

LARGEST = 64 * 1024 * 1024
"""The largest file that is read, in bytes; no hand-written file is larger."""
PIPE_PATIENCE = 10.0
"""Seconds to wait for the writer of a named pipe, such as ``<(command)`` of a shell."""
_CHUNK = 1 << 16
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Byte order marks that some editors and shells write. UTF-32 comes first: its mark begins with UTF-16's."""


class UnreadableFileError(Exception):
    """A file cannot be read as text; the message is the reason, without the path."""


def read_text(path: str | Path) -> str:
    """Read a text file as UTF-8, with or without a byte order mark.

    Args:
        path: a file, or a named pipe.

    Raises:
        UnreadableFileError: it is missing, not a file, not permitted, too large, not UTF-8, or a pipe
            without a writer.
    """
    try:
        content = _read(path)
    except OSError as error:
        raise UnreadableFileError(error.strerror or str(error)) from None
    except ValueError:  # a NUL character, or bytes that are not text
        raise UnreadableFileError("the path is not valid") from None
    return _decoded(content)


def check_regular(path: str | Path) -> None:
    """Check that a path can be opened and is not a directory, pipe or device.

    Args:
        path: the file that a library will open; it would block for ever on a pipe.

    Raises:
        UnreadableFileError: it is not a regular file, or cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableFileError(error.strerror or str(error)) from None
    except ValueError:
        raise UnreadableFileError("the path is not valid") from None
    try:
        mode = os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise UnreadableFileError("Is a directory")
    if not stat.S_ISREG(mode):
        raise UnreadableFileError("it is a pipe or a device, not a file")


def _read(path: str | Path) -> bytes:
    # Without O_NONBLOCK, opening a pipe blocks until it has a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise UnreadableFileError("it is a device, not a file")
        return _drain(descriptor, pipe=stat.S_ISFIFO(mode))
    finally:
        os.close(descriptor)


def _drain(descriptor: int, *, pipe: bool) -> bytes:
    content = bytearray()
    end = time.monotonic() + PIPE_PATIENCE
    while True:
        if pipe and not _readable(descriptor, end):
            raise UnreadableFileError(f"no data arrived in this pipe within {PIPE_PATIENCE:g} s")
        chunk = os.read(descriptor, _CHUNK)
        content += chunk
        if not chunk:
            return bytes(content)
        if len(content) > LARGEST:
            raise UnreadableFileError(f"it has more than {LARGEST >> 20} MiB")


def _readable(descriptor: int, end: float) -> bool:
    """Wait until a pipe has data or its writer has closed it; return False after the timeout."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    left = max(0.0, end - time.monotonic())
    return bool(poll.poll(left * 1000))


def _decoded(content: bytes) -> str:
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            raise UnreadableFileError(f"it is written in {encoding}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError(
            f"it is not UTF-8: {error.reason} in line {line}; save it as UTF-8"
        ) from None
