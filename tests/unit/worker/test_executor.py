"""Tests of the executor: from the bytes of one delivery to its outcome, without a broker."""

import asyncio

import pytest
from support import eventually
from worker_fakes import NOW, QUEUE, Rig, body, job, seal

from stem_amqp import Limit
from stem_amqp.clock import timestamp
from stem_amqp.errors import (
    BackendUnavailableError,
    NotEncryptedError,
    ReplayedMessageError,
    SignatureError,
)
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, REPEATED, SINCE
from stem_amqp.outcome import (
    Dead,
    Failure,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.states import Reason, TaskState
from stem_amqp.task_control import Reject, Retry, Snooze
from stem_amqp.worker.gates.due import EARLY_TOLERANCE
from stem_amqp.worker.gates.rate import MAX_HELD
from stem_amqp.worker.running.run import LATER
from stem_amqp.worker.running.threads import ThreadUnavailableError

NATIVE = f"queues: {{{QUEUE}: {{native_retry: {{min: 3s, max: 1m}}}}}}"


async def nothing():
    """Return at once."""


def never():
    """Fail the test: this task must not run."""
    pytest.fail("the task ran")


def fails(error):
    """Return a task that raises an exception."""

    async def task():
        raise error

    return task


class Admits:
    """An admission whose answer the test sets."""

    def __init__(self, answer):
        self.seal = seal()
        self.answer = answer
        self.ends = []

    async def admits(self, job, message):
        """Return or raise the answer."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def ended(self, job, *, done):
        """Record an end."""
        self.ends.append(done)


# Outcomes of runs


async def test_a_task_that_returns_has_succeeded_with_its_value_as_json():
    """The outcome has the value, and the run was announced and is marked as started."""
    rig = Rig()
    rig.task(lambda a, b: a + b, name="add")
    one = job(body("add", args={"a": 1, "b": 2}))
    outcome = await rig.executor.execute(one)
    assert isinstance(outcome, Succeeded)
    assert outcome.result == b"3"
    assert outcome.duration >= 0
    assert rig.watcher.begun == [one]
    assert one.started
    assert rig.executor.failures == rig.executor.refused == 0


async def test_an_async_task_runs_in_the_event_loop():
    """The function runs in the asyncio task of the execution."""

    async def work(ctx_free: str):
        await asyncio.sleep(0)
        return [ctx_free, asyncio.current_task() is task]

    task = asyncio.current_task()
    outcome = await Rig().run(work, body(args={"ctx_free": "x"}))
    assert isinstance(outcome, Succeeded)
    assert outcome.result == b'["x",true]'


async def test_a_task_that_raises_is_retried_after_the_delay_of_its_policy():
    """The failure has the exception's type, message and traceback."""
    outcome = await Rig().run(
        fails(ValueError("no")), task={"retry": {"base": 5, "jitter": 0}}, headers={ATTEMPT: 2}
    )
    assert isinstance(outcome, Retried)
    assert outcome.failure.error == "ValueError: no"
    assert "raise error" in outcome.failure.traceback
    assert outcome.delay == 5 * 2**2
    assert not outcome.native


@pytest.mark.parametrize(
    ("call", "task", "delay"),
    [({"retry": {"base": 7, "jitter": 0}}, 5, 7), ({}, 5, 5), ({}, None, 3)],
)
async def test_the_retry_policy_is_that_of_the_call_then_of_the_task_then_of_the_queue(
    call, task, delay
):
    """The policy of the call overrides that of the task, which overrides that of the queue."""
    queue = f"queues: {{{QUEUE}: {{retry: {{backoff: {{base: 3s, jitter: 0}}}}}}}}"
    own = {} if task is None else {"retry": {"base": task, "jitter": 0}}
    outcome = await Rig(queue).run(fails(ValueError()), body(options=call), task=own)
    assert isinstance(outcome, Retried)
    assert outcome.delay == delay


@pytest.mark.parametrize(
    ("call", "task", "last"), [({"max_retries": 1}, 2, 1), ({}, 2, 2), ({}, None, 4)]
)
async def test_a_task_is_dead_after_the_retries_of_its_call_its_task_or_its_queue(call, task, last):
    """The number of the call overrides that of the task, which overrides that of the queue."""
    for attempt, ends in ((last - 1, False), (last, True)):
        outcome = await Rig(f"queues: {{{QUEUE}: {{retry: {{max_retries: 4}}}}}}").run(
            fails(ValueError()),
            body(options=call),
            task={} if task is None else {"max_retries": task},
            headers={ATTEMPT: attempt},
        )
        assert isinstance(outcome, Dead if ends else Retried)
        assert not ends or outcome.reason is Reason.RETRIES_EXHAUSTED


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Retry("9s"), Retried(failure=Failure(error=""), delay=9.0)),
        (Snooze("1m", "closed"), Snoozed(delay=60.0, reason="closed")),
        (
            Reject("spam"),
            Dead(
                reason=Reason.REJECTED,
                failure=Failure(error="stem_amqp.task_control.Reject: spam"),
                expected=True,
            ),
        ),
    ],
)
async def test_a_task_steers_its_own_message(error, expected):
    """`Retry`, `Snooze` and `Reject` determine the outcome."""
    outcome = await Rig().run(fails(error))
    if isinstance(outcome, Retried):
        assert (outcome.delay, outcome.native) == (expected.delay, False)
    else:
        assert outcome == expected


async def test_a_result_that_json_cannot_carry_is_a_dead_letter():
    """The task is not retried, since another run would fail in the same way."""
    outcome = await Rig().run(lambda: {object()})
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.UNSERIALIZABLE_RESULT


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("own")])
async def test_what_a_task_raises_beside_exceptions_is_a_failure_too(error):
    """A `SystemExit` or `CancelledError` that the task itself raises is retried."""
    outcome = await Rig().run(fails(error))
    assert isinstance(outcome, Retried)
    assert type(error).__name__ in outcome.failure.error


async def test_stop_iteration_of_a_plain_function_is_shown_as_itself():
    """The failure shows `StopIteration`, although another exception carries it."""

    def work():
        raise StopIteration("mine")

    outcome = await Rig().run(work)
    assert isinstance(outcome, Retried)
    assert outcome.failure.error == "StopIteration: mine"


async def test_a_run_beyond_its_time_limit_is_retried():
    """A run that exceeds the time limit of its call is cancelled and retried."""

    async def work():
        await asyncio.Event().wait()

    outcome = await Rig().run(work, body(options={"time_limit": 0.01}))
    assert isinstance(outcome, Retried)
    assert "time limit of 0.01 s" in outcome.failure.error


async def test_a_task_for_which_the_system_has_no_thread_comes_later():
    """The task has not run, so it is postponed and its attempt stays the same."""
    rig = Rig()

    async def run(function, *, soft_limit):
        raise ThreadUnavailableError("can't start new thread")

    rig.threads.run = run
    assert await rig.run(never) == Postponed(delay=LATER)


# Messages that cannot be read


@pytest.mark.parametrize(
    "content", [b"", b"no json", b"[]", b'{"v": 99}', body(options={"max_retries": "many"})]
)
async def test_a_body_that_is_no_message_is_undecodable(content):
    """The outcome is a dead letter with an error, and does not count as a worker failure."""
    rig = Rig()
    outcome = await rig.run(never, content)
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.UNDECODABLE
    assert outcome.failure.error
    assert rig.watcher.begun == []
    assert rig.executor.failures == 0


async def test_a_message_beyond_the_limits_is_undecodable():
    """The body is not decoded."""
    one = job(body(meta={"text": "x" * 2000}))
    outcome = await Rig(incoming_body_size=1024, max_body_size=1024).executor.execute(one)
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.UNDECODABLE
    assert one.message is None


async def test_an_encrypted_body_without_keys_names_the_key():
    """The error says that the body is encrypted."""
    headers = {"stem-encryption": "v1;c1;aes-256-gcm"}
    outcome = await Rig().run(never, b"\x00\x01", headers=headers)
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.UNDECODABLE
    assert "encrypted" in outcome.failure.error


async def test_an_unsigned_message_is_refused_with_keys():
    """The job is untrusted and has no message, and it is counted as refused."""
    rig = Rig(seal=seal())
    rig.task(never)
    one = job(body())
    outcome = await rig.executor.execute(one)
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.SIGNATURE_INVALID
    assert one.untrusted
    assert one.message is None
    assert rig.executor.refused == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ReplayedMessageError("a copy"), Reason.REPLAYED),
        (NotEncryptedError("plain"), Reason.NOT_ENCRYPTED),
        (SignatureError("forged"), Reason.SIGNATURE_INVALID),
    ],
)
async def test_a_publish_that_is_not_admitted_is_refused_with_its_reason(error, reason):
    """The job has no message, so nothing is stored about its task."""
    rig = Rig(admission=Admits(error))
    rig.task(never)
    one = job()
    assert await rig.executor.execute(one) == Dead(reason=reason, failure=Failure(error=str(error)))
    assert one.untrusted
    assert one.message is None
    assert rig.executor.refused == 1


async def test_a_publish_that_has_run_before_is_not_run_again():
    """The outcome is `Repeated` without a state, since no state is looked up."""
    assert await Rig(admission=Admits(answer=False)).run(never) == Repeated()


async def test_a_publish_that_is_admitted_runs():
    """The task runs, and the job records that it is unsigned."""
    rig = Rig(admission=Admits(answer=True))
    rig.task(nothing)
    one = job()
    assert isinstance(await rig.executor.execute(one), Succeeded)
    assert one.unsigned
    assert one.message is not None


@pytest.mark.parametrize(
    ("outcome", "settled", "done"),
    [
        (Succeeded(result=b"1", duration=0.0), True, True),
        (Succeeded(result=b"1", duration=0.0), False, False),
        (Returned(), True, False),
        (Retried(failure=Failure(error="no"), delay=1.0, native=True), True, False),
        (Retried(failure=Failure(error="no"), delay=1.0), True, True),
    ],
)
async def test_a_publish_counts_as_done_once_its_message_is_not_delivered_again(
    outcome, settled, done
):
    """A publish is not done if its message is requeued or not settled, and comes again."""
    admission = Admits(answer=True)
    rig = Rig(admission=admission)
    one = job()
    one.outcome = outcome
    await rig.executor.ended(one, settled=settled)
    assert admission.ends == [done]
    assert rig.watcher.ends == [settled]


# Gates


async def test_an_unregistered_task_is_a_dead_letter_if_it_does_not_wait():
    """The error has the name of the unknown task."""
    outcome = await Rig(unknown_task_wait=0).run(never, body("other"))
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.UNKNOWN_TASK
    assert "'other'" in outcome.failure.error


async def test_a_revoked_task_does_not_run():
    """A revocation takes precedence over an unknown task and over the expiry."""
    rig = Rig()
    rig.watcher.revocations["t1"] = "ordered twice"
    content = body("other", expires=timestamp(NOW - 60))
    assert await rig.run(never, content) == Revoked(reason="ordered twice")


@pytest.mark.parametrize(("offset", "runs"), [(-60, False), (0, False), (60, True)])
async def test_a_task_that_has_expired_does_not_run(offset, runs):
    """A task may start before its expiry time, and not at that time."""
    outcome = await Rig().run(nothing, body(expires=timestamp(NOW + offset)))
    assert isinstance(outcome, Succeeded if runs else Dead)
    assert runs or (outcome.reason, outcome.expected) == (Reason.EXPIRED, True)


@pytest.mark.parametrize(
    ("early", "runs"), [(-5, True), (EARLY_TOLERANCE, True), (EARLY_TOLERANCE + 4, False)]
)
async def test_a_task_that_comes_too_early_waits_for_the_rest(early, runs):
    """A task that is early by more than the tolerance is postponed until it is due."""
    outcome = await Rig().run(nothing, headers={NOT_BEFORE: timestamp(NOW + early)})
    if runs:
        assert isinstance(outcome, Succeeded)
    else:
        assert outcome == Postponed(delay=early)


async def test_times_that_cannot_be_read_stop_no_task(caplog):
    """Times that are not valid are ignored and logged, and the task runs."""
    outcome = await Rig().run(nothing, body(expires="soon"), headers={NOT_BEFORE: "later"})
    assert isinstance(outcome, Succeeded)
    assert sum("ignored" in line for line in caplog.messages) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"redelivered": True},
        {"headers": {ATTEMPT: 1}},
        {"headers": {REPEATED: 1}},
        {"headers": {SINCE: timestamp(NOW)}},
        {"nonce": "n"},
    ],
)
async def test_a_possibly_duplicate_message_is_looked_up(fields):
    """If another delivery of the message was processed, the task does not run."""
    rig = Rig()
    rig.watcher.earlier = TaskState.SUCCEEDED
    assert await rig.run(never, **fields) == Repeated(state=TaskState.SUCCEEDED)


async def test_a_possibly_duplicate_message_runs_if_it_has_not_run():
    """If no other delivery was processed, the task runs after one look-up."""
    rig = Rig()
    assert isinstance(await rig.run(nothing, redelivered=True), Succeeded)
    assert len(rig.watcher.asked) == 1


async def test_a_first_delivery_is_not_looked_up():
    """A first delivery without signs of a copy causes no look-up."""
    rig = Rig()
    await rig.run(nothing)
    assert rig.watcher.asked == []


async def test_arguments_that_do_not_fit_are_a_dead_letter():
    """The outcome is a dead letter, and its error names the argument."""

    def work(count: int):
        never()

    outcome = await Rig().run(work, body(args={"count": "many"}))
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.INVALID_ARGUMENTS
    assert "count" in outcome.failure.error


async def test_a_rate_limit_holds_a_start_in_the_worker():
    """A short wait for a rate limit happens in the worker."""
    rig, starts = Rig(), []

    async def work():
        starts.append(asyncio.get_running_loop().time())

    rig.task(work, rate_limit=Limit("10/s", per="worker"))
    for _ in range(2):
        assert isinstance(await rig.executor.execute(job()), Succeeded)
    assert starts[1] - starts[0] >= 0.09


async def test_a_rate_limit_leaves_a_long_wait_to_the_broker():
    """A job with a long wait is postponed, and does not use up a start."""
    rig, count = Rig(), []
    rig.task(lambda: count.append(1), rate_limit=Limit("1/m", per="worker"))
    outcomes = [await rig.executor.execute(job()) for _ in range(3)]
    assert isinstance(outcomes[0], Succeeded)
    for outcome in outcomes[1:]:
        assert isinstance(outcome, Postponed)
        assert MAX_HELD < outcome.delay <= 60
    assert len(count) == 1


# Queues that retry by themselves


@pytest.mark.parametrize(
    ("error", "call", "native"),
    [
        (ValueError("no"), {}, True),
        (Retry(), {}, True),
        (Retry("9s"), {}, False),
        (ValueError("no"), {"retry": {"base": 5, "jitter": 0}}, False),
    ],
)
async def test_a_native_queue_keeps_a_failed_task_unless_a_wait_was_asked_for(error, call, native):
    """The retry is native, with the queue's delay, unless `Retry` or the call sets a delay."""
    outcome = await Rig(NATIVE).run(
        fails(error),
        body(options=call),
        native=True,
        redelivered=True,
        headers={"x-delivery-count": 2},
    )
    assert isinstance(outcome, Retried)
    assert outcome.native is native
    if native:
        assert outcome.delay == 9.0


async def test_a_snooze_on_a_native_queue_is_no_failure():
    """A snooze is never native, since RabbitMQ would count it as a failure."""
    outcome = await Rig(NATIVE).run(fails(Snooze("5s")), native=True)
    assert outcome == Snoozed(delay=5.0, reason="")


# Age


@pytest.mark.parametrize("error", [ValueError("no"), Snooze("1s"), Retry("1s")])
async def test_a_task_that_is_too_old_does_not_run_again(error):
    """The outcome is a dead letter with the reason `TOO_OLD`, and its error names `max_age`."""
    content = body(enqueued_at=timestamp(NOW - 100))
    outcome = await Rig(max_age=100.0).run(fails(error), content)
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.TOO_OLD
    assert "max_age" in outcome.failure.error


class Child:
    """Runs that a child process carries out: they return its outcome."""

    def __init__(self, outcome):
        self.outcome = outcome

    async def run(self, job):
        """Return the outcome."""
        return self.outcome


@pytest.mark.parametrize(
    "outcome", [Retried(failure=Failure(error="no"), delay=1.0), Snoozed(delay=1.0, reason="")]
)
async def test_a_task_that_is_too_old_does_not_run_again_though_its_child_asks_for_it(outcome):
    """The maximum age also applies to outcomes that a child process returns."""
    for max_age, kind in ((100.0, Dead), (101.0, type(outcome))):
        rig = Rig(max_age=max_age)
        rig.executor._runs = Child(outcome)
        content = body(enqueued_at=timestamp(NOW - 100))
        assert isinstance(await rig.run(nothing, content), kind)


async def test_a_task_that_is_too_old_may_succeed():
    """The maximum age only applies to tasks that would run again."""
    content = body(enqueued_at=timestamp(NOW - 100))
    assert isinstance(await Rig(max_age=100.0).run(nothing, content), Succeeded)


@pytest.mark.parametrize(
    ("call", "queue", "limit"), [({"max_age": 10}, "20s", 10), ({}, "20s", 20), ({}, None, 30)]
)
async def test_the_greatest_age_is_that_of_the_call_then_of_the_queue_then_of_the_worker(
    call, queue, limit
):
    """The age of the call overrides that of the queue, which overrides that of the settings."""
    text = "" if queue is None else f"queues: {{{QUEUE}: {{retry: {{max_age: {queue}}}}}}}"
    for age, kind in ((limit - 1, Retried), (limit, Dead)):
        content = body(enqueued_at=timestamp(NOW - age), options=call)
        assert isinstance(await Rig(text, max_age=30.0).run(fails(ValueError()), content), kind)


# Runs outside of the worker's process


class Elsewhere:
    """A quarantine that runs nothing, and whose `explained` the test sets."""

    def __init__(self, *, explained=False):
        self.is_explained = explained
        self.jobs = []

    def explained(self, job, max_retries):
        """Return the answer."""
        return self.is_explained

    async def run(self, job, limit, on_progress):
        """Record a job."""
        self.jobs.append((job, limit))
        return Returned()


async def test_a_suspect_runs_in_quarantine_with_its_time_limit():
    """The quarantine gets the time limit, and the run is announced."""
    quarantine = Elsewhere()
    rig = Rig(runs={"quarantine": quarantine})
    outcome = await rig.run(never, body(options={"time_limit": 7}), suspect=True)
    assert outcome == Returned()
    assert [limit for _, limit in quarantine.jobs] == [7]
    assert len(rig.watcher.begun) == 1


@pytest.mark.parametrize(("suspect", "explained"), [(False, False), (True, True)])
async def test_others_run_here(suspect, explained):
    """Jobs that are not suspect, or whose deliveries were all retries, run in this process."""
    rig = Rig(runs={"quarantine": Elsewhere(explained=explained)})
    assert isinstance(await rig.run(nothing, suspect=suspect), Succeeded)


# Cancellation, and failures of the worker


async def cancelled(rig, one, interruption=None):
    """Cancel the execution of a job once its task runs, and return its outcome."""
    task = asyncio.create_task(rig.executor.execute(one))
    await eventually(lambda: one.started)
    await asyncio.sleep(0)
    one.interruption = interruption
    task.cancel()
    outcome = await task
    assert task.cancelling() == 0
    return outcome


@pytest.mark.parametrize(
    ("interruption", "expected"),
    [(None, Returned()), (Returned(), Returned()), (Revoked(reason="x"), Revoked(reason="x"))],
)
async def test_a_cancelled_run_has_the_outcome_that_was_set_for_it(interruption, expected):
    """A cancelled job has the outcome that was set; without one, its message is requeued."""

    async def work():
        await asyncio.Event().wait()

    rig = Rig()
    rig.task(work)
    assert await cancelled(rig, job(), interruption) == expected


@pytest.mark.parametrize("where", ["a look", "an announcement"])
async def test_a_failure_of_the_worker_is_a_dead_letter_of_its_own_kind(where, caplog):
    """The failure is counted and logged, and the task is not retried."""
    rig = Rig()
    error = BackendUnavailableError("gone")

    async def processed_state(job):
        raise error

    if where == "a look":
        rig.watcher.processed_state = processed_state
    else:
        rig.watcher.error = error
    outcome = await rig.run(never, redelivered=True)
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.WORKER_FAILED
    assert "gone" in outcome.failure.error
    assert rig.executor.failures == 1
    assert "the worker itself failed" in caplog.text
