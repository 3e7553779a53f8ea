"""Probes say whether a worker's event loop runs, and whether it consumes."""

import asyncio
import os
import threading
import time
import uuid

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.observability.probes import (
    BLOCKED_AFTER,
    Probe,
    SharedState,
    State,
    pages_of,
    write_state,
)
from stem_amqp.observability.probes import shared as files


def statuses(probed):
    """Return the status of each page."""
    return {path: page("").status for path, page in pages_of(probed).items()}


def body(probed, path):
    return pages_of(probed)[path]("").body.decode()


async def test_a_worker_is_alive_before_it_consumes_and_ready_while_it_does():
    place = f"memory://{uuid.uuid4().hex}"
    probe = Probe()
    stem = Stem(broker_url=place, backend_url=place, exporters=[probe])

    @stem.task("work", queue="orders")
    async def work():
        pass

    probe.start()
    assert statuses(probe) == {"/livez": 200, "/readyz": 503, "/startupz": 503}
    assert body(probe, "/readyz") == "it does not consume yet\n"
    async with stem:
        async with stem.worker().running():
            assert statuses(probe) == {"/livez": 200, "/readyz": 200, "/startupz": 200}
            assert body(probe, "/livez") == "ok\n"
        assert statuses(probe) == {"/livez": 200, "/readyz": 503, "/startupz": 200}
        assert body(probe, "/readyz") == "queue orders is not consumed\n"
    probe.stop()


async def test_a_blocked_event_loop_is_not_alive(monkeypatch):
    monkeypatch.setattr("stem_amqp.observability.probes.state.BLOCKED_AFTER", 0.2)
    probe = Probe()
    probe.start()
    found = []

    def look():
        deadline = time.monotonic() + 60
        while not found and time.monotonic() < deadline:
            if probe.not_alive:
                found.append((pages_of(probe)["/livez"]("").status, probe.not_alive[0]))
            time.sleep(0.01)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()  # blocks the event loop
    assert found[0][0] == 503
    assert "the event loop has been blocked for" in found[0][1]
    await eventually(lambda: not probe.not_alive)
    probe.stop()


async def test_states_of_several_processes_are_joined(tmp_path):
    paths, pids = [tmp_path / "w1.json", tmp_path / "w2.json"], [os.getpid(), os.getpid()]
    both = SharedState(paths, lambda: pids)
    assert statuses(both) == {"/livez": 200, "/readyz": 503, "/startupz": 503}
    good = State(consuming={"q": True}, started=True)
    with write_state(paths[0], lambda: good):
        await eventually(paths[0].exists)
        assert body(both, "/readyz") == "worker 2: it does not run yet\n"
        with write_state(paths[1], lambda: State(blocked=60.0, consuming={"q": False})):
            await eventually(paths[1].exists)
            assert body(both, "/livez") == "worker 2: the event loop has been blocked for 60 s\n"
            assert "worker 2: queue q is not consumed\n" in body(both, "/readyz")
            assert "worker 1" not in body(both, "/readyz")


async def test_a_process_that_was_replaced_is_alive_and_not_ready(tmp_path):
    path = tmp_path / "w1.json"
    with write_state(path, lambda: State(blocked=60.0, consuming={"q": True}, started=True)):
        await eventually(path.exists)
    assert statuses(SharedState([path], lambda: [os.getpid()]))["/livez"] == 503
    assert statuses(SharedState([path], lambda: [1])) == {
        "/livez": 200,
        "/readyz": 503,
        "/startupz": 503,
    }


async def test_a_process_that_is_stopped_for_good_does_not_count(tmp_path):
    """A command has stopped it: the others decide."""
    paths = [tmp_path / "w1.json", tmp_path / "w2.json"]
    with write_state(paths[0], lambda: State(consuming={"q": True}, started=True)):
        await eventually(paths[0].exists)
        both = SharedState(paths, lambda: [os.getpid(), None])
        assert statuses(both) == {"/livez": 200, "/readyz": 200, "/startupz": 200}


async def test_a_process_whose_threads_hang_is_not_alive(tmp_path, monkeypatch):
    path = tmp_path / "w1.json"
    with write_state(path, lambda: State(consuming={"q": True}, started=True)):
        await eventually(path.exists)
    now = time.monotonic()
    monkeypatch.setattr(files.time, "monotonic", lambda: now + BLOCKED_AFTER + 10)
    assert statuses(SharedState([path], lambda: [os.getpid()]))["/livez"] == 503


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff" * 50, b'{"pid": 1}'])
def test_a_file_that_cannot_be_read_is_no_state(tmp_path, content):
    path = tmp_path / "w1.json"
    path.write_bytes(content)
    assert SharedState([path], lambda: [os.getpid()]).not_alive == []


async def test_a_folder_that_is_gone_does_not_stop_the_process(tmp_path):
    asked = []

    def state():
        asked.append(1)
        return State()

    with write_state(tmp_path / "gone" / "w1.json", state):
        await eventually(lambda: len(asked) > 1)
    await asyncio.sleep(0)


def test_a_paused_queue_is_no_fault():
    """A queue that is paused on purpose need not be consumed; another one must be."""
    consuming = {"orders": False, "emails": True}
    assert State(consuming=consuming, started=True, paused=frozenset({"orders"})).not_ready == []
    assert State(consuming=consuming, started=True, paused=frozenset({"emails"})).not_ready == [
        "queue orders is not consumed"
    ]
