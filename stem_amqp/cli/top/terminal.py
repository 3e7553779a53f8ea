"""The terminal: the alternate screen and single keys, both restored on every exit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from stem_amqp.cli.output import console
from stem_amqp.cli.streams import is_unicode
from stem_amqp.cli.top.keys import names
from stem_amqp.cli.top.layout import Size
from stem_amqp.errors import ConfigurationError

_DUMB = frozenset({"dumb", "unknown"})
_READ = 1024
_KEPT = 20
"""The most lines of standard error that are printed after the end."""
_ERROR = 2


class Screen:
    """The alternate screen, on rich's live display.

    Args:
        live: the display.
        out: its console.
    """

    def __init__(self, live: Live, out: Console) -> None:
        self._live = live
        self._out = out

    @property
    def size(self) -> Size:
        """The size of the terminal now."""
        width, height = self._out.size
        return Size(width, height, is_unicode(sys.stdout))

    def draw(self, lines: list[Text]) -> None:
        """Show a frame."""
        self._live.update(Group(*lines), refresh=True)


def require_terminal() -> None:
    """Refuse to start without a terminal.

    Raises:
        ConfigurationError: standard input or output is not a terminal, or it cannot place the cursor.
    """
    problem = ""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        problem = "standard input or output is not a terminal"
    elif os.environ.get("TERM", "") in _DUMB:
        problem = f"this terminal (TERM={os.environ['TERM']}) cannot place the cursor"
    if problem:
        raise ConfigurationError(
            f"top draws on a terminal, and {problem}\n"
            "  Print one frame as text with --once; or, for programs: stem-amqp queues --json."
        )


@contextmanager
def screen(on_key: Callable[[str], None], on_resize: Callable[[], None]) -> Iterator[Screen]:
    """Show the alternate screen during the block, and pass keys to a function in the event loop.

    SIGINT and SIGTERM arrive as the key ``ctrl-c``. What other code writes to standard error meanwhile is
    printed at the end.

    Args:
        on_key: gets the name of each key.
        on_resize: called when the size of the terminal has changed.
    """
    loop, out = asyncio.get_running_loop(), console()
    live = Live(
        console=out,
        screen=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    stopping = (signal.SIGINT, signal.SIGTERM)
    with _errors_kept(), _single_keys():
        loop.add_reader(sys.stdin.fileno(), _read, on_key)
        loop.add_signal_handler(signal.SIGWINCH, on_resize)
        for number in stopping:
            loop.add_signal_handler(number, on_key, "ctrl-c")
        try:
            with live:
                yield Screen(live, out)
        finally:
            loop.remove_reader(sys.stdin.fileno())
            for number in (*stopping, signal.SIGWINCH):
                loop.remove_signal_handler(number)


def _read(on_key: Callable[[str], None]) -> None:
    try:
        data = os.read(sys.stdin.fileno(), _READ)
    except OSError:  # the terminal was closed
        data = b""
    for name in names(data) if data else ("ctrl-c",):
        on_key(name)


@contextmanager
def _single_keys() -> Iterator[None]:
    """Get each key at once and without echo; Ctrl-Z, which would leave the screen as it is, does nothing."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        changed = termios.tcgetattr(descriptor)
        disabled = os.fpathconf(descriptor, "PC_VDISABLE").to_bytes(1, "little")
        changed[6][termios.VSUSP] = disabled
        termios.tcsetattr(descriptor, termios.TCSADRAIN, changed)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _errors_kept() -> Iterator[None]:
    """Keep what is written to standard error, if that is the terminal, and print its end after the block."""
    if not os.isatty(_ERROR):
        yield
        return
    sys.stderr.flush()
    before = os.dup(_ERROR)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), _ERROR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, _ERROR)
            os.close(before)
            kept.seek(0)
            for line in kept.readlines()[-_KEPT:]:
                os.write(_ERROR, line)
