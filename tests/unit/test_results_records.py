"""The effect of a change on a record, and the store in memory with its limit."""

import itertools
from dataclasses import replace

import pytest

from stem_amqp.errors import DecodeError
from stem_amqp.results.base import Progress, ProgressUpdate, TaskRecord, Transition
from stem_amqp.results.records import changed, encode_progress, writable
from stem_amqp.results.rpc.wire import PROGRESS, TRANSITION, decode, encode
from stem_amqp.results.store import RecordStore
from stem_amqp.states import TaskState, may_follow

PLACES = list(itertools.product((0, 1, 2), TaskState, (0, 1, 2)))


def change(state=TaskState.RUNNING, **values):
    """Return a change of the task t1."""
    defaults = {"task_id": "t1", "task": "shop.sync", "queue": "orders", "at": 100.0}
    return Transition(**(defaults | values), state=state)


def test_a_record_changes_exactly_when_may_follow_allows_it():
    """Only the pure function `may_follow` decides."""
    for current, new in itertools.product(PLACES, PLACES):
        before = changed(None, change(current[1], replay=current[0], attempt=current[2]))
        after = changed(before, change(new[1], replay=new[0], attempt=new[2]))
        assert (after is not None) is may_follow(current, new)


def test_a_change_replaces_everything_but_the_beginning_and_the_progress():
    """Omitted fields become empty; the start time and the progress are kept."""
    first = changed(None, change(at=1.0, worker="w1", error="E", next_run=9.0, meta={"a": 1}))
    first = replace(first, progress=Progress(fraction=0.5))
    second = changed(first, change(TaskState.SUCCEEDED, at=2.0, result=b"1"))
    assert second == TaskRecord(
        task_id="t1",
        task="shop.sync",
        queue="orders",
        state=TaskState.SUCCEEDED,
        attempt=0,
        replay=0,
        created_at=1.0,
        updated_at=2.0,
        result=b"1",
        progress=Progress(fraction=0.5),
    )


def test_only_lone_surrogates_of_a_text_are_changed():
    """All other texts that UTF-8 can encode are kept."""
    assert writable(None) is None
    assert writable("größe ☃ \0") == "größe ☃ \0"
    assert writable("caf\udce9") == "caf\\udce9"


def test_progress_that_cannot_be_json_is_written_as_well_as_it_goes():
    """Unknown values become their repr; an impossible value is left out, and nothing is raised."""
    odd = {"data": {1: {2}}, "fraction": 0.5}
    assert encode_progress(odd) == b'{"data":{"1":"{2}"},"fraction":0.5}'
    circle = []
    circle.append(circle)
    assert encode_progress({"data": circle, "fraction": 0.5}) == b'{"data":null,"fraction":0.5}'


class TestRecordStore:
    def test_the_record_that_was_not_used_for_longest_makes_room(self):
        """Reading or changing a record keeps it; dropped records are reported."""
        dropped = []
        store = RecordStore(limit=3, on_dropped=dropped.append)
        for task_id in ("a", "b", "c"):
            store.apply(change(task_id=task_id), now=0.0)
        store.get("a", 0.0)
        store.apply(change(TaskState.SUCCEEDED, task_id="b"), now=0.0)
        store.apply(change(task_id="d"), now=0.0)
        assert [record.task_id for record in dropped] == ["c"]
        assert [task_id for task_id in "abcd" if store.get(task_id, 0.0)] == ["a", "b", "d"]

    def test_expired_records_are_removed_while_others_are_written(self):
        """A store without purges does not grow without limit."""
        store = RecordStore()
        for number in range(5):
            store.apply(change(task_id=str(number), ttl=10.0), now=0.0)
        store.apply(change(task_id="new", ttl=10.0), now=1000.0)
        assert len(store) == 1

    def test_listeners_are_notified_of_accepted_ends_only(self):
        """A change that is not final or is refused wakes no waiter."""
        store, ended = RecordStore(), []
        store.listeners["test"] = ended.append
        for state in (TaskState.RUNNING, TaskState.FAILED, TaskState.SUCCEEDED):
            store.apply(change(state), now=0.0)
        assert [record.state for record in ended] == [TaskState.FAILED]


class TestWire:
    @pytest.mark.parametrize("result", [None, b"null", b'{"a": [1.10, 99999999999999999999]}'])
    def test_a_transition_arrives_as_it_was_sent(self, result):
        """Every field arrives, the result byte for byte; the address is not sent."""
        sent = change(
            TaskState.SUCCEEDED,
            attempt=2,
            replay=1,
            worker="w1",
            result=result,
            reason="why",
            error="ValueError: ☃",
            traceback='File "x"\n',
            next_run=5.5,
            meta={"tenant": "ä"},
            ttl=12.5,
            reply_to="stem.reply.1",
        )
        assert decode(TRANSITION, encode(sent)) == replace(sent, reply_to=None)

    def test_progress_arrives_as_it_was_sent(self):
        """Fraction, message, data and time arrive."""
        progress = Progress(fraction=0.5, message="half ☃", data={"n": [1]}, at=3.5)
        sent = ProgressUpdate(task_id="t1", progress=progress, ttl=9.0, reply_to="x")
        assert decode(PROGRESS, encode(sent)) == replace(sent, reply_to=None)

    def test_fields_that_this_version_does_not_know_are_ignored(self):
        """A newer worker may send more fields."""
        body = encode(change(TaskState.SUCCEEDED, result=b"[1]"))
        assert decode(TRANSITION, b'{"news":{},' + body[1:]).result == b"[1]"
        body = encode(ProgressUpdate(task_id="t1", progress=Progress(fraction=0.5)))
        assert decode(PROGRESS, b'{"news":{},' + body[1:]).progress.fraction == 0.5

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            (TRANSITION, b"{"),
            (TRANSITION, b"[]"),
            (TRANSITION, b"{}"),
            (TRANSITION, b'{"v": 2}'),
            (TRANSITION, encode(change()).replace(b"running", b"walking")),
            (TRANSITION, encode(change()).replace(b"100.0", b"[]")),
            (PROGRESS, b'{"v": 1, "id": "t1"}'),
            ("orders.sync", encode(change())),
            (None, encode(change())),
        ],
    )
    def test_what_is_no_reply_is_said_to_be_none(self, kind, body):
        """An unreadable body raises an error that has the bytes."""
        with pytest.raises(DecodeError) as caught:
            decode(kind, body)
        assert caught.value.body == body
