"""Unknown tasks wait for a worker that knows them, and become dead letters when the wait has passed."""

import logging

import pytest
from worker_fakes import NOW, QUEUE, FakeDelivery, Rig, body, job, make_blueprint

from stem_amqp.clock import parse_timestamp, timestamp
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, SINCE, UNKNOWN_SINCE
from stem_amqp.observability import Exporter
from stem_amqp.outcome import Dead, Failure, Postponed, Retried, Revoked
from stem_amqp.states import Reason
from stem_amqp.topology.delay_router import DelayRouter
from stem_amqp.topology.names import Names
from stem_amqp.worker.follow_up.again import later, retry_of
from stem_amqp.worker.follow_up.republish import dead_letter, fitted, replay
from stem_amqp.worker.gates.unknown import (
    JITTER,
    LOG_PERIOD,
    LONGEST_DELAY,
    SHORTEST_DELAY,
    _Lines,
)


def known():
    """Return at once."""


def unknown_for(seconds, **headers):
    """Return the headers of a message whose task was unknown for the first time before some seconds."""
    return {UNKNOWN_SINCE: timestamp(NOW - seconds), **headers}


async def outcome_of(rig, headers=None, **fields):
    """Return the outcome of a message of a task that the worker does not know."""
    return await rig.run(known, body("shop.fresh", **fields), headers=headers)


async def test_an_unknown_task_waits_for_ten_minutes_by_default():
    """At first for about a second; no attempt is spent, and the task is not looked up."""
    rig = Rig()
    outcome = await outcome_of(rig)
    assert isinstance(outcome, Postponed)
    assert (1 - JITTER) * SHORTEST_DELAY - 0.01 <= outcome.delay <= SHORTEST_DELAY
    assert isinstance(await outcome_of(Rig(), unknown_for(599)), Postponed)
    assert isinstance(await outcome_of(Rig(), unknown_for(600)), Dead)
    assert rig.watcher.begun == rig.watcher.asked == []


async def test_the_delays_double_up_to_half_a_minute_and_end_with_the_wait():
    """Each is as long as the time since the first delivery; the last one ends when the wait does."""
    for waited, most in [(0.5, 1), (2, 2), (7, 7), (29, 29), (31, LONGEST_DELAY), (400, 30)]:
        outcome = await outcome_of(Rig(), unknown_for(waited))
        assert (1 - JITTER) * most - 0.5 <= outcome.delay <= most
    assert (await outcome_of(Rig(), unknown_for(599))).delay == pytest.approx(1, abs=0.3)
    assert (await outcome_of(Rig(), unknown_for(595))).delay == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("", 40),
        (f"queues: {{{QUEUE}: {{unknown_task: {{wait: 2m}}}}}}", 120),
        ("defaults: {unknown_task: {wait: 2m}}", 120),
        (f"queues: {{{QUEUE}: {{unknown_task: {{wait: 0}}}}}}", 0),
        (
            f"defaults: {{unknown_task: {{wait: 2m}}}}\nqueues: {{{QUEUE}: {{unknown_task: null}}}}",
            40,
        ),
    ],
)
async def test_a_queue_sets_its_own_wait(text, wait):
    """The topology file takes precedence over the setting."""
    if wait:
        last = await outcome_of(Rig(text, unknown_task_wait="40s"), unknown_for(wait - 1))
        assert isinstance(last, Postponed)
    outcome = await outcome_of(Rig(text, unknown_task_wait="40s"), unknown_for(wait))
    assert isinstance(outcome, Dead)


async def test_the_dead_letter_says_how_long_it_waited_and_what_the_worker_knows():
    """With the name that is most like it; a wait of 0 is named, too."""
    rig = Rig()
    for number in range(15):
        rig.task(known, name=f"shop.task{number:02}")
    rig.task(known, name="shop.fresher")
    outcome = await outcome_of(rig, unknown_for(660))
    assert outcome == Dead(
        reason=Reason.UNKNOWN_TASK,
        failure=Failure(
            error="this worker has no task 'shop.fresh', and it waited 11 min for a worker that has it;"
            f" its tasks: shop.fresher, {', '.join(f'shop.task{number:02}' for number in range(9))}"
            " and 7 more; did you mean shop.fresher?"
        ),
    )
    at_once = await outcome_of(Rig(unknown_task_wait=0))
    assert at_once.failure.error == "this worker has no task 'shop.fresh'; its tasks: work"


@pytest.mark.parametrize("header", ["soon", 7, None, "2027-01-15T07:59:59", b"x", ["a"]])
async def test_a_malformed_time_counts_as_the_first_delivery(header):
    """Any client may have written it."""
    outcome = await outcome_of(Rig(), {UNKNOWN_SINCE: header})
    assert isinstance(outcome, Postponed)


async def test_a_clock_that_is_ahead_does_not_end_the_wait():
    """The worker that wrote the time may be ahead: the wait then counts from here."""
    outcome = await outcome_of(Rig(), unknown_for(-50))
    assert isinstance(outcome, Postponed)
    assert outcome.delay <= SHORTEST_DELAY


async def test_a_revoked_expired_or_early_message_is_that_first():
    """None of them needs the task."""
    rig = Rig()
    rig.watcher.revocations["t1"] = "ordered twice"
    assert await outcome_of(rig) == Revoked(reason="ordered twice")
    expired = await outcome_of(Rig(), expires=timestamp(NOW - 1))
    assert expired.reason is Reason.EXPIRED
    assert await outcome_of(Rig(), {NOT_BEFORE: timestamp(NOW + 50)}) == Postponed(delay=50.0)


def names():
    return Names("stem")


async def again(headers, content=None, *, knows=False):
    """Return the headers of a message that a worker postpones, whether it knows the task or not."""
    rig, one = Rig(), job(body("shop.fresh") if content is None else content, headers=headers)
    if knows:
        rig.task(known, name="shop.fresh", rate_limit="1/h")
        await rig.executor.execute(job(body("shop.fresh")))
    outcome = await rig.executor.execute(one)
    assert isinstance(outcome, Postponed)
    router = DelayRouter(names(), make_blueprint().topology)
    return later(FakeDelivery(headers=headers), router, one, outcome.delay, NOW).headers


async def test_the_wait_counts_from_the_first_delivery():
    """The header is written once and carried along."""
    assert (await again({}))[UNKNOWN_SINCE] == timestamp(NOW)
    assert (await again(unknown_for(70)))[UNKNOWN_SINCE] == timestamp(NOW - 70)
    assert (await again({UNKNOWN_SINCE: "soon"}))[UNKNOWN_SINCE] == timestamp(NOW)
    assert ATTEMPT not in await again({})


async def test_the_wait_does_not_begin_before_a_delayed_task_is_due():
    """A long delay comes to a worker in parts, and some worker may know the task by its end."""
    early = {NOT_BEFORE: timestamp(NOW + 50)}
    assert UNKNOWN_SINCE not in await again(early)
    assert (await again(unknown_for(70, **early)))[UNKNOWN_SINCE] == timestamp(NOW - 70)


async def test_a_worker_that_knows_the_task_ends_the_wait():
    """A retry, a snooze, a dead letter and a replay begin anew."""
    headers = unknown_for(70, **{SINCE: timestamp(NOW - 100)})
    assert UNKNOWN_SINCE not in await again(headers, knows=True)
    delivery = FakeDelivery(headers=headers)
    router = DelayRouter(names(), make_blueprint().topology)
    failed = Retried(failure=Failure(error="x"), delay=1.0)
    assert (
        UNKNOWN_SINCE not in retry_of(delivery, router, job(headers=headers), failed, NOW).headers
    )
    dead = Dead(reason=Reason.UNKNOWN_TASK, failure=Failure(error="x"))
    letter = dead_letter(delivery, names(), QUEUE, dead, attempt=0, now=NOW, worker="w")
    assert UNKNOWN_SINCE not in letter.headers
    former = FakeDelivery(headers=headers)  # a letter that another program wrote
    assert UNKNOWN_SINCE not in replay(former, names(), QUEUE, now=NOW).headers


def test_the_time_stays_when_the_headers_do_not_fit():
    """Other clients' headers are dropped first: without it the wait would never end."""
    kept = fitted({UNKNOWN_SINCE: timestamp(NOW), "x-large": "x" * 5000}, 300)
    assert parse_timestamp(kept[UNKNOWN_SINCE]) == NOW
    assert "x-large" not in kept


async def test_one_line_is_logged_in_a_period(caplog):
    """It names the task, the number of messages, the wait and the settings; the others are counted."""
    rig = Rig()
    for number in range(50):
        await rig.executor.execute(job(body("shop.fresh", id=f"t{number}")))
    lines = [record for record in caplog.records if "shop.fresh" in record.getMessage()]
    assert [line.levelno for line in lines] == [logging.WARNING]
    assert "went back, to wait up to 10 min" in lines[0].getMessage()


def test_a_line_has_the_count_since_the_line_before():
    """Names of their own are bounded: the others share one line."""
    now = [0.0]
    lines = _Lines(lambda: now[0])
    assert [lines.count("a") for _ in range(4)] == [1, 0, 0, 0]
    now[0] = LOG_PERIOD
    assert [lines.count("a"), lines.count("a"), lines.count("b")] == [4, 0, 1]
    written = sum(bool(lines.count(f"name-{number}")) for number in range(500))
    assert written == 99  # 98 names of their own, and one line for all others


async def test_each_delivery_is_reported_with_the_time_so_far():
    """An exporter sees how long a message has waited so far."""

    class Waits(Exporter):
        def __init__(self):
            self.reports = []

        def unknown_task(self, delivered, waited):
            self.reports.append((delivered.queue, delivered.message.task, waited))

    rig, exporter = Rig(), Waits()
    rig.executor._telemetry.add(exporter)
    await outcome_of(rig)
    await rig.executor.execute(job(body("shop.fresh"), headers=unknown_for(7)))
    assert exporter.reports == [(QUEUE, "shop.fresh", 0), (QUEUE, "shop.fresh", 7)]
