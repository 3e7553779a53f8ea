"""Open closed standard streams: a shell's ``<&-``, some supervisors and containers close them."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_standard_streams() -> None:
    """Open the null device on each of the descriptors 0 to 2 that is closed.

    Otherwise the next file or socket gets that number and is written to as standard error, closed as
    standard input, or lost in a child process. Call it at the start of a program.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one, since all below it are open
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
