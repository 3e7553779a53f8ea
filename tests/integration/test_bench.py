"""One tiny real measurement: stem-amqp drains a queue, in the processes that `make bench` uses."""

import os

import pytest
from bench import broker, contenders, runner
from bench.cases import CASES


@pytest.fixture
def plan(stem_broker_url, monkeypatch, pytestconfig):
    """Measure stem-amqp's drain once, at its smallest size."""
    folder = pytestconfig.rootpath / "tests" / "benchmarks"
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    )
    return runner.Plan(
        url=stem_broker_url,
        cases=[CASES["drain"]],
        contenders=[contenders.load("stem")],
        rounds=1,
        scale=0,
        timeout=50,
    )


def test_stem_drains_a_queue_and_leaves_nothing(plan, monkeypatch, stem_broker_url):
    used = []
    measure = runner._in_process

    def noting(run, *rest):
        used.append(run)
        return measure(run, *rest)

    monkeypatch.setattr(runner, "_in_process", noting)

    (sample,) = runner.run(plan, lambda sample: None)

    assert sample.error is None
    assert sample.size == CASES["drain"].floor
    assert sample.values["rate"] > 0
    (run,) = used
    assert not run_is_left(stem_broker_url, run.name)


def run_is_left(url, namespace):
    """Say whether the exchange that every task of a namespace goes through still exists."""
    return runner.asyncio.run(broker.has_exchange(url, f"{namespace}.tasks"))
