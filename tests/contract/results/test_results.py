"""What every result backend does with states, progress and time."""

import itertools

import pytest

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.message import new_id
from stem_amqp.results.base import Progress
from stem_amqp.states import FINAL, TaskState, may_follow

QUEUED, RUNNING, RETRYING = TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING
SUCCEEDED, FAILED = TaskState.SUCCEEDED, TaskState.FAILED

PLACES = list(itertools.product((0, 1, 2), TaskState, (0, 1, 2)))
"""Replays, state and attempt of a task, as `may_follow` takes them."""


async def test_every_pair_of_states_is_guarded_as_may_follow_says(sides):
    """A change is accepted exactly if the pure function allows it, for every pair of places."""
    pairs = list(itertools.product(PLACES, PLACES))
    tasks = [new_id() for _ in pairs]

    def changes(which):
        return [
            sides.change(task_id, pair[which][1], replay=pair[which][0], attempt=pair[which][2])
            for task_id, pair in zip(tasks, pairs, strict=True)
        ]

    await store(sides, changes(0))
    if sides.stores:
        allowed = [may_follow(current, new) for current, new in pairs]
        assert await sides.worker.transition(changes(1)) == allowed
        assert any(allowed)
        assert not all(allowed)
    else:  # over rpc:// the producer guards: it keeps its last 10,000 tasks
        await sides.worker.transition(changes(1))
    await sides.arrived()
    for task_id, (current, new) in list(zip(tasks, pairs, strict=True)):
        record = await sides.producer.get(task_id)
        expected = new if may_follow(current, new) else current
        assert (record.replay, record.state, record.attempt) == expected, (current, new)


async def store(sides, changes):
    """Store changes of unknown tasks."""
    assert all(await sides.worker.transition(changes))


async def test_a_task_goes_from_queued_to_its_result(sides):
    """The record follows the task, and tells at its end what it returned."""
    task_id = await sides.queued(meta={"tenant": "acme"})
    queued = await sides.producer.get(task_id)
    assert (queued.state, queued.result, queued.progress) == (QUEUED, None, None)
    created = sides.clock.time()
    sides.clock.advance(5)
    common = {"meta": {"tenant": "acme"}, "worker": "w1"}
    await sides.worker.transition([sides.change(task_id, RUNNING, **common)])
    sides.clock.advance(5)
    await sides.worker.transition(
        [sides.change(task_id, SUCCEEDED, result=b'{"total": 3}', **common)]
    )
    record = await sides.seen(task_id)
    assert (record.task_id, record.task, record.queue) == (task_id, "shop.sync", "orders")
    assert (record.state, record.result) == (SUCCEEDED, b'{"total": 3}')
    assert (record.attempt, record.replay, record.worker) == (0, 0, "w1")
    assert record.meta == {"tenant": "acme"}
    assert (record.created_at, record.updated_at) == (created, created + 10)


async def test_a_failure_is_kept_with_its_reason_error_and_traceback(sides):
    """What a worker says of a failure arrives whole; what a later state leaves out is gone."""
    task_id = await sides.queued()
    at = sides.clock.time() + 30
    retrying = sides.change(task_id, RETRYING, error="ValueError: no", next_run=at)
    await sides.worker.transition([retrying])
    record = await sides.seen(task_id)
    assert (record.state, record.error, record.next_run) == (RETRYING, "ValueError: no", at)
    details = {
        "reason": "retries-exhausted",
        "error": "OSError: gone",
        "traceback": "line 1\nline 2",
    }
    await sides.worker.transition([sides.change(task_id, FAILED, attempt=1, **details)])
    record = await sides.seen(task_id)
    assert (record.reason, record.error, record.traceback) == tuple(details.values())
    assert (record.next_run, record.result, record.attempt) == (None, None, 1)


async def test_a_late_queued_or_running_never_overwrites_a_result(sides):
    """A fast task is not set back by the producer's own note or a delayed one of the worker."""
    task_id = new_id()
    await sides.worker.transition([sides.change(task_id, SUCCEEDED, result=b"7")])
    await sides.arrived()
    assert await sides.producer.transition([sides.change(task_id, QUEUED)]) == [False]
    late = await sides.worker.transition([sides.change(task_id, RUNNING)])
    assert late == ([False] if sides.stores else [True])
    record = await sides.seen(task_id)
    assert (record.state, record.result) == (SUCCEEDED, b"7")


async def test_a_replay_opens_a_failed_task_again_and_late_news_of_before_do_not(sides):
    """With a higher replay count a task runs again; changes of the earlier life are refused."""
    task_id = await sides.queued()
    await sides.worker.transition([sides.change(task_id, FAILED, attempt=3, error="E: 1")])
    await sides.worker.transition([sides.change(task_id, QUEUED, replay=1)])
    record = await sides.seen(task_id)
    assert (record.state, record.replay, record.attempt, record.error) == (QUEUED, 1, 0, None)
    await sides.worker.transition([sides.change(task_id, RUNNING, replay=0, attempt=4)])
    await sides.worker.transition([sides.change(task_id, FAILED, replay=0, attempt=4)])
    assert (await sides.seen(task_id)).state is QUEUED
    await sides.worker.transition([sides.change(task_id, SUCCEEDED, replay=1)])
    assert (await sides.seen(task_id)).state is SUCCEEDED


async def test_a_batch_of_a_thousand_is_stored_whole(sides):
    """A large batch is one call, and every task of it is there afterwards."""
    tasks = [new_id() for _ in range(1000)]
    changes = [
        sides.change(task_id, SUCCEEDED, result=str(number).encode())
        for number, task_id in enumerate(tasks)
    ]
    assert await sides.worker.transition(changes) == [True] * 1000
    await sides.arrived()
    results = [(await sides.producer.get(task_id)).result for task_id in tasks]
    assert results == [str(number).encode() for number in range(1000)]


async def test_several_changes_of_one_task_in_a_batch_keep_their_order(sides):
    """Each change of a batch is judged after those before it."""
    task_id = await sides.queued()
    states = [RUNNING, RETRYING, RUNNING, SUCCEEDED, RUNNING]
    attempts = [0, 0, 1, 1, 2]
    changes = [
        sides.change(task_id, state, attempt=attempt)
        for state, attempt in zip(states, attempts, strict=True)
    ]
    accepted = await sides.worker.transition(changes)
    assert accepted == [True, True, True, True, not sides.stores]
    record = await sides.seen(task_id)
    assert (record.state, record.attempt) == (SUCCEEDED, 1)


async def test_an_empty_batch_is_no_error(sides):
    """Nothing to store is stored at once."""
    assert await sides.worker.transition([]) == []
    await sides.worker.report_progress([])


async def test_progress_is_seen_on_the_other_side(sides):
    """What a task says of its progress can be asked for by its producer, and survives a retry."""
    task_id = await sides.queued()
    await sides.worker.transition([sides.change(task_id, RUNNING)])
    await sides.worker.report_progress([sides.progress(task_id, 0.2)])
    update = sides.progress(task_id, 0.5, message="halb übers Wasser", data={"rows": [1, 2]})
    await sides.worker.report_progress([update])
    assert (await sides.seen(task_id)).progress == update.progress
    await sides.worker.transition([sides.change(task_id, SUCCEEDED)])
    record = await sides.seen(task_id)
    assert (record.state, record.progress) == (SUCCEEDED, update.progress)


@pytest.mark.parametrize("state", sorted(FINAL))
async def test_progress_after_the_end_is_ignored(sides, state):
    """A late update changes nothing of a task that has ended, and makes no record of its own."""
    task_id, unknown = await sides.queued(), new_id()
    await sides.worker.transition([sides.change(task_id, state)])
    await sides.worker.report_progress([sides.progress(task_id, 0.9), sides.progress(unknown, 0.9)])
    record = await sides.seen(task_id)
    assert (record.state, record.progress) == (state, None)
    assert await sides.producer.get(unknown) is None


async def test_a_new_run_begins_without_the_progress_of_the_last_one(sides):
    """Half way in the first run is not half way in the second."""
    task_id = await sides.queued()
    await sides.worker.report_progress([sides.progress(task_id, 0.5)])
    await sides.worker.transition([sides.change(task_id, RETRYING)])
    assert (await sides.seen(task_id)).progress.fraction == 0.5
    await sides.worker.transition([sides.change(task_id, RUNNING, attempt=1)])
    assert (await sides.seen(task_id)).progress is None


async def test_progress_data_that_is_no_json_does_not_stop_the_others(sides):
    """One task's odd data is written as well as it goes; the rest of the batch is not lost."""
    odd, other, hopeless = await sides.queued(), await sides.queued(), await sides.queued()
    loop = []
    loop.append(loop)
    await sides.worker.report_progress(
        [
            sides.progress(odd, 0.1, data={1: object}, message="a lone \udce9"),
            sides.progress(hopeless, 0.3, data=loop),
            sides.progress(other, 0.2),
        ]
    )
    assert (await sides.seen(other)).progress == Progress(fraction=0.2, at=sides.clock.time())
    assert (await sides.producer.get(odd)).progress.fraction == 0.1
    assert (await sides.producer.get(hopeless)).progress.fraction == 0.3


async def test_large_and_non_ascii_values_arrive_unchanged(sides):
    """Result bytes come back as they were, whatever their size, their alphabet and their digits."""
    large = b'"' + b"x" * 1_000_000 + b'"'
    exact = '{"größe": 1180591620717411303424, "π":3.14000,  "雪":"☃"}'.encode()
    first, second, third = await sides.queued(), await sides.queued(), await sides.queued()
    meta = {"kunde": "Änne 🙂"}
    await sides.worker.transition(
        [
            sides.change(first, SUCCEEDED, result=large),
            sides.change(second, SUCCEEDED, result=exact, meta=meta),
            sides.change(third, FAILED, error="OSError: 'caf\udce9.txt'", traceback="zeile «1»\0"),
        ]
    )
    assert (await sides.seen(first)).result == large
    record = await sides.producer.get(second)
    assert (record.result, record.meta) == (exact, meta)
    record = await sides.producer.get(third)
    assert record.error in {"OSError: 'caf\\udce9.txt'", "OSError: 'caf\udce9.txt'"}
    assert record.traceback == "zeile «1»\0"


async def test_a_record_is_forgotten_after_its_ttl(sides):
    """A TTL counts from the last change; after it a task is unknown, and can be known anew."""
    task_id = await sides.queued(ttl=100)
    sides.clock.advance(99)
    await sides.worker.transition([sides.change(task_id, SUCCEEDED, ttl=100)])
    await sides.arrived()
    sides.clock.advance(99)
    assert (await sides.producer.get(task_id)).state is SUCCEEDED
    sides.clock.advance(1)
    assert await sides.producer.get(task_id) is None
    await sides.worker.report_progress([sides.progress(task_id, 0.5)])
    assert await sides.seen(task_id) is None
    await sides.worker.transition([sides.change(task_id, RUNNING, ttl=100)])
    record = await sides.seen(task_id)
    assert (record.state, record.created_at) == (RUNNING, sides.clock.time())


async def test_a_change_after_the_ttl_begins_a_new_record(sides):
    """What has expired guards nothing and leaves nothing, although it may still lie in the store."""
    succeeded, progressed = await sides.queued(ttl=10), await sides.queued(ttl=10)
    await sides.worker.transition([sides.change(succeeded, SUCCEEDED, ttl=10)])
    await sides.worker.report_progress([sides.progress(progressed, 0.5, ttl=10)])
    assert (await sides.seen(progressed)).progress is not None
    sides.clock.advance(11)
    await sides.worker.transition(
        [sides.change(succeeded, QUEUED), sides.change(progressed, RETRYING)]
    )
    record = await sides.seen(succeeded)
    assert (record.state, record.created_at) == (QUEUED, sides.clock.time())
    assert (await sides.producer.get(progressed)).progress is None


async def test_purge_removes_what_has_expired_and_nothing_else(sides):
    """Purging counts what it removed, and keeps what is still within its TTL."""
    short = [await sides.queued(ttl=10) for _ in range(3)]
    long = await sides.queued(ttl=1000)
    sides.clock.advance(11)
    assert await sides.producer.purge_expired() == 3
    assert await sides.producer.purge_expired() == 0
    assert [await sides.producer.get(task_id) for task_id in short] == [None] * 3
    assert (await sides.producer.get(long)).state is QUEUED


async def test_an_unrelated_process_sees_what_is_stored_and_over_rpc_nothing(sides):
    """A store answers everybody; rpc:// tells a result to its producer alone."""
    task_id = await sides.queued()
    await sides.worker.transition([sides.change(task_id, SUCCEEDED)])
    await sides.arrived()
    for stranger in (sides.worker, await sides.another()):
        record = await stranger.get(task_id)
        if sides.stores:
            assert record.state is SUCCEEDED
        else:
            assert record is None
    assert sides.producer.keeps_states is sides.stores
    assert sides.producer.needs_reply is not sides.stores


async def test_what_nobody_wants_a_reply_to_is_accepted(sides):
    """Without a reply address a store keeps the change all the same, and rpc:// forgets it."""
    task_id = new_id()
    change = sides.change(task_id, SUCCEEDED, reply_to=None)
    assert await sides.worker.transition([change]) == [True]
    record = await sides.seen(task_id)
    assert (record is not None) is sides.stores


async def test_ping_answers_and_a_closed_backend_says_so(sides):
    """An open backend answers; closed, it names itself instead of hanging or failing oddly."""
    await sides.worker.ping()
    await sides.worker.close()
    await sides.worker.close()
    for call in (
        sides.worker.ping(),
        sides.worker.get("x"),
        sides.worker.wait("x", 5),
        sides.worker.transition([sides.change("x", QUEUED)]),
    ):
        with pytest.raises(BackendUnavailableError):
            await call
    assert await sides.queued()
