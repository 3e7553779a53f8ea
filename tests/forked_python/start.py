"""A program that the server of this process has started."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

LOCK = threading.RLock()
SERVER = Path(__file__).with_name("server.py")


class Server:
    """The server of this process."""

    def __init__(self):
        self._owner = self._socket = self._pid = None

    def started_pid(self):
        """Return its process id; it is started if it is not there yet."""
        with LOCK:
            if self._owner != os.getpid():  # a forked process has its own
                self._begin()
            return self._pid

    def start(self, request, files):
        """Start a program, and return its process id."""
        self.started_pid()
        with LOCK:
            socket.send_fds(self._socket, [json.dumps(request).encode()], files)
            return int(self._socket.recv(64))

    def _begin(self):
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, SERVER, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=kept
            )
        process.returncode = 0  # it ends with this process, and no one waits for it
        self._owner, self._pid = os.getpid(), process.pid


SERVER_PROCESS = Server()


class Forked:
    """A running program, with the methods of `subprocess.Popen` that tests use.

    Args:
        args: its words.
        pid: its process id.
        report: a pipe from which its exit code can be read once it has ended.
    """

    def __init__(self, args, pid, report):
        self.args, self.pid, self.returncode = args, pid, None
        self._report = report

    def poll(self):
        """Return the exit code, negative for a signal; None while it runs."""
        return self._ended(0)

    def wait(self, timeout=None):
        """Wait for its end, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number):
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self):
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self):
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout):
        with LOCK:
            if self.returncode is None and select.select([self._report], [], [], timeout)[0]:
                self.returncode = int(os.read(self._report, 16))
                os.close(self._report)
            return self.returncode


def start_python(*words, cwd, env=None, stdout=None, stderr=None, start_new_session=False):
    """Start a Python program: ``start_python("-m", "stem_amqp", "worker", "shop:stem", cwd=folder)``.

    Args:
        *words: ``-m`` and a module, or the file of a script; then its arguments.
        cwd: its folder, from which it imports.
        env: its environment; None: that of this process.
        stdout: an open file, or `subprocess.DEVNULL`; None: that of this process.
        stderr: likewise.
        start_new_session: whether it leads a new session.
    """
    words = [os.fspath(word) for word in words]
    sys.audit("subprocess.Popen", sys.executable, words, cwd, env)
    request = {
        "words": words,
        "folder": os.fspath(Path(cwd).absolute()),
        "environment": dict(os.environ if env is None else env),
        "session": start_new_session,
    }
    with ExitStack() as stack:
        streams = [subprocess.DEVNULL, stdout, stderr]
        files = [_descriptor(stack, number, one) for number, one in enumerate(streams)]
        report, their_report = os.pipe()
        stack.callback(os.close, their_report)
        pid = SERVER_PROCESS.start(request, [*files, their_report])
    return Forked([sys.executable, *words], pid, report)


def parent_of_programs():
    """Return the process id of the parent of all programs, for ``--parent``."""
    return SERVER_PROCESS.started_pid()


def _descriptor(stack, number, stream):
    if stream is None:
        return number
    if stream != subprocess.DEVNULL:
        return stream.fileno()
    found = os.open(os.devnull, os.O_RDWR)
    stack.callback(os.close, found)
    return found
