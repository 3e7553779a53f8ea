"""The process that forks: it imports stem-amqp once, and starts a program for each request.

    python server.py SOCKET

A request is a JSON document with the words, the folder and the environment of a program; with it come four
descriptors: the three streams, and a pipe into which the server writes how the program has ended.
The server ends when the other end of the socket is closed, and its programs get another parent then.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import random
import runpy
import selectors
import signal
import socket
import sys
from pathlib import Path

IMPORTED = (
    "stem_amqp.cli.root",
    "stem_amqp.cli.worker",
    "stem_amqp.health.examination",
    "stem_amqp.results.rpc",
    "stem_amqp.results.sqlite",
    "stem_amqp.transport.amqp.transport",
    "stem_amqp.worker.runner",
)
"""What workers import, without the libraries of optional integrations."""
REQUEST = 1 << 20


def serve(requests):
    """Start a program for each request.

    Args:
        requests: the socket.
    """
    reports = {}
    awake, wake = socket.socketpair()
    for one in (awake, wake):
        one.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(awake, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if awake in ready:
                with contextlib.suppress(BlockingIOError):
                    awake.recv(4096)
                reap(reports)
            if requests in ready:
                text, files, *_ = socket.recv_fds(requests, REQUEST, 4)
                if not text:
                    return None  # the tests have ended
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    become(requests, awake, wake, *reports.values(), files[3])
                    return prepare(json.loads(text), files[:3])
                reports[pid] = files.pop()
                for one in files:
                    os.close(one)
                requests.send(str(pid).encode())


def reap(reports):
    """Report the end of each program that has ended."""
    while reports:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        report = reports.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # the test does not wait for it
            os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(report)


def become(*files):
    """Close what belongs to the server, and restore how signals are handled."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for one in files:
        os.close(one) if isinstance(one, int) else one.close()


def prepare(request, streams):
    """Give this process what the request wants, and return the function that runs the program."""
    if request["session"]:
        os.setsid()
    os.chdir(request["folder"])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), encoding="utf-8")  # noqa: SIM115
    sys.stdout, sys.stderr = written(1, "strict"), written(2, "backslashreplace")
    random.seed()
    path = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    first, *words = request["words"]
    module = words.pop(0) if first == "-m" else None
    folder = request["folder"] if module else str(Path(first).absolute().parent)
    sys.path[:] = [folder, *path, *(one for one in sys.path[1:] if one not in path)]
    sys.argv[:] = [module or first, *words]
    importlib.invalidate_caches()
    if module:
        return lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)
    return lambda: runpy.run_path(first, run_name="__main__")


def written(number, errors):
    """Return a stream on a descriptor, like that of an interpreter's start."""
    buffered = open(number, "wb", closefd=False)  # noqa: SIM115
    line_buffering = number == 2 or os.isatty(number)
    return io.TextIOWrapper(buffered, "utf-8", errors, line_buffering=line_buffering)


if __name__ == "__main__":
    connection = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTED:
        importlib.import_module(name)
    with contextlib.suppress(ImportError):  # it is hidden where workers run on the loop of asyncio
        importlib.import_module("uvloop")
    gc.collect()
    gc.freeze()  # so that the memory of forks stays shared
    run = serve(connection)
    if run is not None:
        run()
