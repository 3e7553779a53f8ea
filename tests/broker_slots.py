"""Slots that limit how many tests use the shared broker at a time, and the namespace kept in each.

Many RabbitMQ nodes run with a limit of 1,024 file descriptors, which suffices for about four
namespaces of tests: 3.10 needs three descriptors for each of their 75 queues, and a node without
free descriptors hangs. A slot is a locked file: within a process tests run one at a time, the locks
apply between processes. The file contains the spare namespace of the slot, if there is one, which
the next test of the slot uses; see `spare_namespaces`. A test that may declare other namespaces
first deletes it, so that a slot has no more queues than its test needs, and such tests have only
some of the slots. A broker that was started for the session may open enough files for all: there the
spare namespaces stay, and every test has each slot.
"""

import fcntl
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from spare_namespaces import delete_spare

from stem_amqp.errors import BrokerUnavailableError

SLOTS = 3
ROOMY = 2
"""The number of slots for tests that may declare several namespaces."""
POLL = 0.02
FOLDER = "STEM_TEST_BROKER_SLOTS"
"""The environment variable with the folder of the files; processes of pytest-xdist inherit it."""
AMPLE = "ample"
"""The name of a file in that folder, which exists if the broker may open files for all namespaces."""
FRUGAL = {"make_stem", "harness", "rabbitmq", "bench"}
"""Fixtures whose tests use the spare namespace, or declare only a few queues."""


def shares_broker(item):
    """Return whether a test may use the shared broker; unknown for a documentation block: True."""
    names = getattr(item, "fixturenames", None)
    return item.get_closest_marker("rabbitmq") is not None if names else True


def keeps_spare(item):
    """Return whether a test leaves room for a spare namespace.

    A documentation block does, until it asks for a broker.
    """
    names = getattr(item, "fixturenames", None)
    return not names or not FRUGAL.isdisjoint(names)


class Slot:
    """A file that is locked while a test uses the shared broker."""

    held = None
    """The slot that this process holds."""

    def __init__(self, path):
        self._path = path
        self._file = path.open("a+")

    def lock(self):
        """Lock the file, and return whether no other process had locked it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self):
        """Unlock the file."""
        self._file.close()

    @property
    def spare(self):
        """The URL of a broker and the spare namespace there; None if there is none."""
        text = self._path.read_text()
        return tuple(json.loads(text)) if text else None

    @spare.setter
    def spare(self, value):
        self._path.write_text("" if value is None else json.dumps(value))

    def take_spare(self, url):
        """Return the spare namespace on a broker, which belongs to the caller from now on; or None."""
        spare = self.spare
        if spare is None or spare[0] != url:
            return None
        self.spare = None
        return spare[1]

    def make_room(self):
        """Delete the spare namespace if the broker has not enough files for it and for another namespace."""
        if not self._path.with_name(AMPLE).exists():
            self.delete_spare()

    def delete_spare(self):
        """Delete the spare namespace."""
        spare, self.spare = self.spare, None
        if spare is not None:
            delete_spare(*spare)


@contextmanager
def broker_slot(*, keeps):
    """Hold one of the slots during the block.

    Args:
        keeps: whether the test leaves room for a spare namespace; it gets a slot that has one, if there is
            a choice.
    """
    folder = Path(os.environ[FOLDER])
    slots = [Slot(folder / f"{number}.lock") for number in range(SLOTS)]
    try:
        few = not keeps and not (folder / AMPLE).exists()
        Slot.held = _first_free(slots[:ROOMY] if few else slots[::-1], keeps)
        if not keeps:
            Slot.held.make_room()
        yield
    finally:
        Slot.held = None
        for slot in slots:
            slot.close()


def _first_free(slots, keeps):
    while True:
        for slot in sorted(slots, key=lambda slot: (slot.spare is None) == keeps):
            if slot.lock():
                return slot
        time.sleep(POLL)


def open_slots():
    """Create the folder of the slots, for this process and those that it starts."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="stem-amqp-slots-")


def close_slots(*, except_on=None):
    """Delete the spare namespaces and the folder, once no test runs any more.

    Args:
        except_on: the URL of a broker that ends now, and its namespaces with it.
    """
    name = os.environ.pop(FOLDER, None)
    if name is None:  # the configuration has failed
        return
    folder = Path(name)
    for path in folder.glob("*.lock"):
        slot = Slot(path)
        if slot.spare is not None and slot.spare[0] != except_on:
            # Gone if the process that had started it is, such as a private one of a process
            with suppress(BrokerUnavailableError):
                slot.delete_spare()
        slot.close()
    shutil.rmtree(folder, ignore_errors=True)
