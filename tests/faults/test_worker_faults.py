"""Test workers and producers that are killed or stopped at every step of a task."""

import os
import random
import signal

import pytest

pytestmark = pytest.mark.timeout(300)  # uses private nodes: not marked as rabbitmq
DEATHS = 4
TASKS = 1000
CONCURRENCY = 10


@pytest.mark.parametrize("step", ["received", "started", "inside", "storing", "stored", "settled"])
def test_a_worker_killed_at_any_step_between_receive_and_ack_loses_nothing(
    make_crew, account, tmp_path, step
):
    """Four workers in turn are killed at the step, each after a random number of tasks."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(10_000))
    chance = random.Random(seed)
    print(f"FAULTS_SEED={seed} repeats it")
    backend_url = f"sqlite:///{tmp_path}/results.db"
    crew = make_crew(
        f"worker killed: {step}",
        backend_url=backend_url,
        STEM_QUARANTINE_AFTER="0",  # a child process for each of their tasks would take long
    )
    assert crew.produce(count=TASKS, rate=1000).wait(60) == 0
    for _ in range(DEATHS):
        passes = chance.randrange(2 * CONCURRENCY)
        worker = crew.work(CONCURRENCY, FAULTS_DIE_AT=step, FAULTS_PASSES=str(passes))
        assert worker.wait(60) == -signal.SIGKILL
    crew.work(CONCURRENCY)
    tally = account(crew.finish())
    assert crew.ledger.deaths() == [step] * DEATHS
    assert tally.finished + tally.dead == TASKS
    assert tally.repeated <= DEATHS * CONCURRENCY


def test_a_producer_killed_while_it_enqueues_loses_nothing_that_was_confirmed(make_crew, account):
    """Every task whose `enqueue` returned runs; a task without a confirm may run or not."""
    crew = make_crew("producer killed, five times")
    crew.work()
    for _ in range(5):
        producer = crew.produce(rate=2000)
        crew.ledger.progress("acknowledged", 200)
        crew.kill(producer)
    tally = account(crew.finish())
    assert tally.repeated == 0
    assert set(crew.ledger.read("finished")) <= set(crew.ledger.read("asked"))


def test_sigterm_under_load_neither_loses_nor_repeats_a_task(make_crew, account):
    """A rolling restart, which starts the next worker before it stops the last, affects no task."""
    crew = make_crew("worker: SIGTERM under load, three times", FAULTS_PAUSE="0.02")
    crew.under_load(rate=300)
    for _ in range(3):
        worker = crew.workers[-1]
        crew.work()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        crew.ledger.recovered()
    tally = account(crew.finish())
    assert tally.finished == tally.asked
    assert tally.repeated == 0
