"""Match names with the regular expressions of policies, within a time limit.

Some expressions, such as ``(a+)+$``, take exponential time. RabbitMQ aborts a match after its own limit,
and the policy then matches nothing. Python's engine has no limit and cannot be interrupted from another
thread, so potentially slow expressions are matched in a separate process with a time limit.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from functools import lru_cache

LONGEST = 1000
"""The longest pattern in characters."""
PATIENCE = 2.0
"""The limit of CPU seconds for one name; CPU time does not depend on the machine's load."""
_LONGEST_NAME = 255
"""The longest name on the broker in bytes."""
_FEW = 2
"""The most repeats of a pattern that is matched in this process: matching takes at most on the order of
a name's length to the third power."""
_PLAIN = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
"""An escaped character or a character set, which both match one character."""
_REPEAT = re.compile(r"(?<![(*+?}])[*+?{]")
_GROUP_REPEATED = re.compile(r"\)[*+{]")
_PROGRAM = """\
import json, re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGPROF, signal.SIG_DFL)
for line in sys.stdin:
    pattern, name, seconds = json.loads(line)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    found = re.search(pattern, name)
    signal.setitimer(signal.ITIMER_PROF, 0)
    sys.stdout.write("1\\n" if found else "0\\n")
    sys.stdout.flush()
"""


class SlowPatternError(ValueError):
    """A pattern takes too long for a name."""


def pattern_problem(pattern: str) -> str | None:
    """Return the problem with a pattern; None if it is valid.

    Args:
        pattern: the text.
    """
    if len(pattern) > LONGEST:
        return f"has {len(pattern)} characters, the limit is {LONGEST}"
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"is not a valid regular expression: {error}"
    return None


@lru_cache(maxsize=65536)
def found(pattern: str, name: str) -> bool:
    """Return whether a pattern matches a name.

    Args:
        pattern: a valid pattern, see `pattern_problem`.
        name: a name on the broker.

    Raises:
        SlowPatternError: the match takes longer than `PATIENCE`.
    """
    name = name[:_LONGEST_NAME]
    if _is_quick(pattern):
        return re.search(pattern, name) is not None
    return _matcher.found(pattern, name)


@lru_cache(maxsize=1024)
def _is_quick(pattern: str) -> bool:
    """Return whether a pattern has few repeats and repeats no group."""
    plain = _PLAIN.sub("x", pattern)
    return len(_REPEAT.findall(plain)) <= _FEW and not _GROUP_REPEATED.search(plain)


class _Matcher:
    """A process that matches patterns, started on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def found(self, pattern: str, name: str) -> bool:
        """Match in the process.

        Raises:
            SlowPatternError: the match takes too long; the process is killed.
        """
        with self._lock:
            process = self._started()
            assert process.stdin is not None  # noqa: S101 - for type checkers
            assert process.stdout is not None  # noqa: S101
            process.stdin.write(json.dumps([pattern, name, PATIENCE]).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()  # empty if the process ran into its time limit
            if not answer:
                self._end()
                raise SlowPatternError(
                    f"takes longer than {PATIENCE:g} s for the name {name[:60]}: nested or many repeats try"
                    " every way to split it"
                )
            return answer == b"1\n"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", "-W", "ignore", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._owner = os.getpid()
        return self._process

    def end(self) -> None:
        """Kill the process, if there is one."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return  # the process belongs to the parent of a fork
        process.kill()
        process.communicate()


_matcher = _Matcher()
atexit.register(_matcher.end)
