"""The file: whole lines, one writer at a time, on the disk before anybody is told so."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stem_amqp.errors import BackendUnavailableError


class JournalFile:
    """A file of lines, of which every process reads the same in the same order.

    It is opened for each call: so the lock is each call's own, also within one process, and is gone with a
    process that dies.

    Args:
        path: the file; it is made at the first use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def changed_since(self, offset: int) -> bool:
        """Say, without the lock, whether there may be something to `read`."""
        try:
            return self._path.stat().st_size != offset
        except OSError:
            return True

    def read(self, offset: int) -> tuple[list[bytes], int]:
        """Return the lines after an offset, and the offset after them.

        Raises:
            BackendUnavailableError: the file cannot be read.
        """
        with self._locked(fcntl.LOCK_SH) as descriptor:
            return self._rest(descriptor, offset)

    def append(self, line: bytes, offset: int) -> tuple[list[bytes], int]:
        """Put a line on the disk, and return the lines after an offset, this one last.

        Raises:
            BackendUnavailableError: it is not known to be there.
        """
        with self._locked(fcntl.LOCK_EX) as descriptor:
            lines, end = self._rest(descriptor, offset)
            os.ftruncate(descriptor, end)  # what a crash has left of a line
            if not end:
                self._keep_name()
            try:
                _write(descriptor, line + b"\n")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
            return [*lines, line], end + len(line) + 1

    @contextmanager
    def _locked(self, lock: int) -> Iterator[int]:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                fcntl.flock(descriptor, lock)
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise BackendUnavailableError(f"the journal {self._path}: {error}") from error

    def _keep_name(self) -> None:
        """Put the name of a new file on the disk too."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _rest(self, descriptor: int, offset: int) -> tuple[list[bytes], int]:
        size = os.fstat(descriptor).st_size
        if size < offset:
            raise BackendUnavailableError(
                f"the journal {self._path} was removed or cut while it was in use:"
                " restart the processes that use it."
            )
        rest = b""
        while offset + len(rest) < size:
            rest += os.pread(descriptor, size - offset - len(rest), offset + len(rest))
        whole = rest[: rest.rfind(b"\n") + 1]
        return whole.split(b"\n")[:-1], offset + len(whole)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
