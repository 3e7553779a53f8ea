"""How many tests use the shared broker at a time, and when they delete a spare namespace."""

from contextlib import ExitStack, closing

import pytest
from broker_slots import AMPLE, FOLDER, ROOMY, SLOTS, Slot, broker_slot

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.keeping import free_ports


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the folder of slots that no other test uses."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr(Slot, "held", None)
    return tmp_path


@pytest.fixture
def spare(folder):
    """Return a spare namespace of the first slot, on a broker that does not run."""
    spare = (f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/", "t-1")
    slot = Slot(folder / "0.lock")
    slot.spare = spare
    slot.close()
    return spare


@pytest.fixture
def lock(folder):
    """Yield a function that locks slots, as other processes do, and unlock them afterwards."""
    with ExitStack() as stack:

        def lock(*numbers):
            for number in numbers:
                slot = stack.enter_context(closing(Slot(folder / f"{number}.lock")))
                assert slot.lock()

        yield lock


def test_a_test_of_several_namespaces_deletes_the_spare_one(folder, lock, spare):
    """Many brokers have not enough open files for both."""
    lock(*range(1, ROOMY))
    with pytest.raises(BrokerUnavailableError), broker_slot(keeps=False):
        pytest.fail("the test began beside the spare namespace")
    with closing(Slot(folder / "0.lock")) as slot:
        assert slot.spare is None


def test_the_spare_namespace_stays_on_a_broker_with_enough_files(folder, lock, spare):
    """Its delay queues need not be declared again."""
    (folder / AMPLE).touch()
    lock(*range(1, SLOTS))
    with broker_slot(keeps=False):
        assert Slot.held.spare == spare


def test_every_slot_is_for_every_test_on_a_broker_with_enough_files(folder, lock):
    """Otherwise a process waits for a slot that it does not need."""
    (folder / AMPLE).touch()
    lock(*range(ROOMY))
    with broker_slot(keeps=False):
        assert Slot.held is not None
