"""A forked child has the signal handlers from before those of the worker."""

import subprocess
import sys

import pytest

FORKS = """
import os, signal, sys, time
from stem_amqp.worker.running.fork import own_signals

signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
ends = []
with own_signals([signal.SIGHUP]) as are_set:
    signal.signal(signal.SIGHUP, lambda number, frame: print("the worker's handler", os.getpid()))
    are_set()
    for _ in range(20):
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(tell)
            os.read(ready, 1)
            os._exit(7)
        os.close(ready)
        os.kill(pid, signal.SIGHUP)
        os.close(tell)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(sorted(set(ends)))
"""


@pytest.mark.parametrize(("before", "ends"), [("SIG_DFL", "[-1]"), ("SIG_IGN", "[7]")])
def test_a_child_obeys_the_handler_from_before(before, ends):
    """One that nohup ignored is ignored in the child, too, whenever it comes."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS, before],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == ends
