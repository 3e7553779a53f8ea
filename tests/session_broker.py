"""One RabbitMQ for all processes of a test session.

With pytest-xdist each process would start a private broker, which takes six CPU seconds, and no
process could use the spare namespace of another one; see `broker_slots`. The process that starts the
others finds or starts one for all, with the management API, when the first of them asks.

A run with several processes starts one if it can, with its data in memory: a broker calls fsync for each
queue that is declared, which on a disk is a fifth of its CPU time and a third of the wait.
"""

import os
import resource
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Client, Listener
from pathlib import Path

from broker_slots import AMPLE
from faults.harness.node import fastest_folder

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.finder import FinderOptions, find_server
from stem_amqp.servers.rabbitmq.kind import RABBITMQ

SOCKET = "broker"
"""The name of the socket on which the first process answers."""
NEEDED_BY = "stem_broker"
"""The fixture of the tests that need a RabbitMQ."""
FILES = 8192
"""Open files with which a broker has room for every namespace of the tests of some processes."""


@contextmanager
def files_in_memory():
    """Make temporary files in memory during the block, if there is room; yield whether there is."""
    folder, before = fastest_folder(), tempfile.tempdir
    if folder is not None:
        tempfile.tempdir = str(folder)
    try:
        yield folder is not None
    finally:
        tempfile.tempdir = before


class SessionBroker:
    """Answers the processes of a session with the URL of their broker.

    Args:
        folder: a folder of the session.
        report: called with one line for each step that takes time, and for what was found.
        starts: whether to start a broker in memory, if one is installed and there is room.
    """

    def __init__(self, folder, report, *, starts=False):
        self._folder = Path(folder)
        self._path = str(self._folder / SOCKET)
        self._report = report
        self._starts = starts
        self._stack = ExitStack()
        self._server = None
        self._listener = Listener(self._path, "AF_UNIX", backlog=64)
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    @property
    def ends_with_session(self):
        """The URL of the broker that was started for this session; None if there is none."""
        if self._server is None or self._server.url in RABBITMQ.local_urls():
            return None
        return self._server.url

    def stop_answering(self):
        """Stop answering, while the folder exists."""
        with Client(self._path, "AF_UNIX") as connection:
            connection.send(False)
        self._thread.join()
        self._listener.close()

    def close(self):
        """End the broker that was started."""
        self._stack.close()

    def _answer(self):
        wanted = True
        while wanted:
            # a process that ends while it waits must not end the service for the others
            with suppress(OSError, EOFError), self._listener.accept() as connection:
                wanted = connection.recv()
                if wanted:
                    connection.send(self._find())

    def _find(self):
        if self._server is None:
            self._server = self._start() if self._starts else None
        if self._server is None:
            found = find_server(RABBITMQ, management=True, report=self._report)
            try:
                self._server = self._stack.enter_context(found)
            except BrokerUnavailableError:
                return None  # each process looks itself, and reports the reasons
        return self._server.url

    def _start(self):
        options = FinderOptions(install=False, management=True, report=self._report)
        with files_in_memory() as in_memory:
            if not in_memory:
                return None
            try:
                server = self._stack.enter_context(RABBITMQ.private(options))
            except BrokerUnavailableError:
                return None  # the finder reports the reason if nothing else works
        self._report(f"{RABBITMQ.name} {server.version}: {server.origin}")
        if (
            resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= FILES
        ):  # a private broker raises its limit
            (self._folder / AMPLE).touch()
        return server


def use_session_broker(folder, session):
    """Set the variable that names a broker, if tests of this process need one and none is named.

    Args:
        folder: the folder of the session.
        session: the tests that were collected.
    """
    needed = any(NEEDED_BY in getattr(item, "fixturenames", ()) for item in session.items)
    if not needed or RABBITMQ.url_variable in os.environ:
        return
    with Client(str(Path(folder) / SOCKET), "AF_UNIX") as connection:
        connection.send(True)
        url = connection.recv()
    if url is not None:
        os.environ[RABBITMQ.url_variable] = url
