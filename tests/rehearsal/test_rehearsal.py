"""Four faults of a running application, and each tool that has to show them."""

import re
from datetime import datetime

import pytest
from support import until

from rehearsal.stage import SLOTS, WORKERS, prometheus, stage

pytestmark = [pytest.mark.timeout(450), pytest.mark.releases]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Yield the running application with all tools, for all tests of this file."""
    prometheus()
    with stage(tmp_path_factory.mktemp("rehearsal")) as shop:
        yield shop


def duration(span):
    """Return the duration of a span in seconds."""
    start, end = (datetime.fromisoformat(span[key]) for key in ("start_time", "end_time"))
    return (end - start).total_seconds()


def test_a_slow_dependency(shop):
    """All slots of the queue are in use, other tasks wait too long, and the runs fail in the end."""
    slots = WORKERS * SLOTS
    with shop.fault("slow-bank"):
        charges = shop.enqueue("payments.charge", 2 * slots)
        shop.until('stem_running_tasks{queue="payments"}', lambda value: value == slots)
        shop.until_alert("StemQueueLate", queue="payments")
        code, out, _ = shop.command("running", "shop:stem", "--task", "payments.*")
        assert (code, out.count("payments.charge")) == (0, slots)
        code, out, _ = shop.command("queues", "shop:stem")
        assert code == 0
        assert re.search(rf"payments {slots} {slots} {WORKERS} ", out), out
    dead = 'stem_dead_lettered_total{task="payments.charge"}'
    shop.until(dead, lambda value: value == slots)
    shop.until('stem_run_seconds_sum{task="payments.charge"}', lambda value: value > slots)
    events = until(
        lambda: len(found := shop.sentry_events("payments.charge")) == slots and found, "Sentry"
    )
    ids = {event["tags"]["stem.task_id"] for event in events}
    assert ids < set(charges)
    assert {event["exception"]["values"][-1]["type"] for event in events} == {"TimeoutError"}
    (run,) = shop.until_runs(ids.pop(), 1)
    assert duration(run) > 1
    assert run["attributes"]["error.type"] == "TimeoutError"


def test_a_failing_task(shop):
    """Retries and dead letters are counted; one event, one trace and one story for each task."""
    events = shop.follow_events()
    until(events, "the first event")
    retried = 'stem_retried_total{task="orders.fail",exception="ConnectionError"}'
    shop.enqueue("orders.fail")
    shop.until(retried, lambda value: value > 0)
    failed = shop.enqueue("orders.fail", 50)
    shop.until_alert("StemRetryStorm", task="orders.fail")
    shop.until_alert("StemDeadLettersGrow", queue="orders")
    dead = 'stem_dead_lettered_total{task="orders.fail",reason="retries-exhausted"}'
    shop.until(dead, lambda value: value >= len(failed))
    shop.until('stem_dead_messages{queue="orders"}', lambda value: value >= len(failed))

    def story():
        return [event["event"] for event in events() if event.get("id") == failed[0]]

    until(lambda: "dead-lettered" in story(), "the event of the dead letter")
    assert story().count("retried") == 2

    runs = shop.until_runs(failed[0], 3)
    assert [run["attributes"]["stem.task.outcome"] for run in runs] == [
        "retried",
        "retried",
        "dead",
    ]
    assert [run["status"]["status_code"] for run in runs] == ["UNSET", "UNSET", "ERROR"]
    assert len({span["context"]["trace_id"] for span in runs}) == 1

    sent = [
        event
        for event in shop.sentry_events("orders.fail")
        if event["tags"]["stem.task_id"] == failed[0]
    ]
    (event,) = sent
    assert [one["category"] for one in event["breadcrumbs"]["values"]].count("stem.retry") == 2
    code, out, _ = shop.command("dlq", "show", "orders", failed[0], "--app", "shop:stem")
    assert (code, "the ERP does not answer" in out) == (0, True), out


def test_a_blocked_event_loop(shop):
    """The alert, the probe and the list of workers name it; the list also the task and the line."""
    with shop.fault("long-computation"):
        (blocking,) = shop.enqueue("orders.price")
        shop.until("max(stem_event_loop_lag_seconds)", lambda value: value > 1)
        shop.until_alert("StemWorkerLoopBlocked")
        code, out, err = shop.command("workers", "shop:stem", "--stacks", "--wait", "20s")
        assert (code, "3 workers" in err) == (0, True)
        assert f"by orders.price {blocking}" in out
        assert "time.sleep(0.02)" in out
        until(lambda: shop.probe("livez")[0] == 503, "the probe")
        assert "the event loop has been blocked" in shop.probe("livez")[1]
    until(lambda: shop.probe("livez")[0] == 200, "the event loop")
    (event,) = until(lambda: shop.sentry_events("orders.price"), "the event of Sentry")
    assert event["tags"]["stem.task_id"] == blocking
    (run,) = shop.until_runs(blocking, 1)
    assert duration(run) > 5
    assert "is blocked" in shop.log()


def test_a_full_memory(shop):
    """Health and the exporter name the alarm; a publish in a task fails, and is in its trace."""
    failures = 'stem_publish_failures_total{task="orders.sync"}'
    before = shop.value(failures)
    (follow,) = shop.enqueue("orders.follow")
    until(lambda: "orders.follow" in shop.command("running", "shop:stem")[1], "the run")
    shop.node.memory_alarm(on=True)
    try:
        with shop.fault("full-memory"):
            shop.until('stem_broker_alarm{resource="memory"}', lambda value: value == 1)
            shop.until_alert("StemBrokerAlarm", resource="memory")
            code, out, _ = shop.command("health", "shop:stem")
            assert code == 1
            assert "memory" in out
            shop.until(failures, lambda value: value > before)
            assert shop.probe("livez") == (200, "ok\n"), "a restart would not help"
    finally:
        shop.node.memory_alarm(on=False)
    (event,) = until(lambda: shop.sentry_events("orders.follow"), "the event of Sentry")
    assert event["exception"]["values"][-1]["type"] == "PublishTimeoutError"
    (run,) = shop.until_runs(follow, 1)
    (send,) = shop.children(run)
    assert send["name"] == "send orders"
    assert send["status"]["status_code"] == "ERROR"
    assert send["attributes"]["error.type"].endswith("PublishTimeoutError")
    synced = shop.value('stem_succeeded_total{task="orders.sync"}')
    shop.until('stem_succeeded_total{task="orders.sync"}', lambda value: value > synced)
