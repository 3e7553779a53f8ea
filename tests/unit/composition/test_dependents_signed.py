"""With keys, what another program writes into the key of a task has no effect."""

import json
import uuid

import pytest
from worker_fakes import seal

from stem_amqp.clock import SystemClock
from stem_amqp.producer.linking.dependents import Dependents, Watch
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.states import TaskState

WATCH = Watch("t.0", "g", 3, 60.0)
KEY = "dependents:t.0"


@pytest.fixture
async def backend():
    """Return an open backend."""
    found = MemoryBackend(MemoryStore(), SystemClock(), uuid.uuid4().hex)
    await found.open()
    yield found
    await found.close()


@pytest.fixture
def reports():
    """Return the reports that were made."""
    return []


@pytest.fixture
def dependents(backend, reports):
    """Return what tells those that wait, with keys."""

    async def report(one):
        reports.append(one)

    return Dependents(backend, seal(), report)


async def write(backend, value):
    """Write the key as another program does; return what it had."""
    found = await backend.swap_key(KEY, "t.0", ttl=60, expected=b"?", value=b"?")
    text = json.dumps(value(json.loads(found.value))) if callable(value) else value
    await backend.swap_key(KEY, "t.0", ttl=60, expected=found.value, value=text.encode())


async def end(dependents):
    await dependents.ended("t.0", TaskState.SUCCEEDED, value=b'"real"', error=None)


async def test_an_end_and_a_wait_meet(dependents, reports):
    """In any order, and each may be repeated."""
    await dependents.open("t.0")
    await dependents.wait_for(WATCH)
    assert reports == []
    await end(dependents)
    await dependents.wait_for(WATCH)
    assert [(one.group_id, one.index, one.value) for one in reports] == [("g", 3, b'"real"')] * 2


async def test_a_forged_end_tells_nobody_and_is_replaced(dependents, backend, reports, caplog):
    await dependents.open("t.0")
    forged = {"state": "succeeded", "value": '"forged"', "error": None}
    await write(backend, lambda entry: entry | forged)
    await dependents.wait_for(WATCH)
    assert reports == []
    assert "a stored end of task t.0 is ignored: it is not signed" in caplog.text
    await end(dependents)
    assert [one.value for one in reports] == [b'"real"']


async def test_a_changed_result_tells_nobody(dependents, backend, reports, caplog):
    await dependents.open("t.0")
    await end(dependents)
    await write(backend, lambda entry: entry | {"value": entry["value"].replace("real", "changed")})
    await dependents.wait_for(WATCH)
    assert reports == []
    assert "a stored end of task t.0 is ignored" in caplog.text
    await end(dependents)
    assert [one.value for one in reports] == [b'"real"']


async def test_a_forged_wait_is_not_told(dependents, backend, reports, caplog):
    """It would count a member of any group as ended."""
    await dependents.open("t.0")
    await dependents.wait_for(WATCH)
    await write(
        backend,
        lambda entry: (
            entry | {"to": [*entry["to"], ["victim", 0, None], ["victim", 1, entry["to"][0][2]]]}
        ),
    )
    await end(dependents)
    assert [one.group_id for one in reports] == ["g"]
    assert caplog.text.count("a stored wait of task t.0 is ignored") == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"to": 7}', '{"to": [[]], "state": null}'])
async def test_what_cannot_be_read_is_replaced(dependents, backend, reports, caplog, text):
    """A worker does not fail on it."""
    await dependents.open("t.0")
    await write(backend, text)
    await end(dependents)
    await dependents.wait_for(WATCH)
    assert [one.value for one in reports] == [b'"real"']
    assert "the dependents of a task cannot be read" in caplog.text
