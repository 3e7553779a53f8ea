"""Test one small measurement: stem-amqp drains a queue in the processes that `make bench` uses."""

import os

import pytest
from bench import broker, contenders, runner
from bench.cases import CASES


@pytest.fixture
def plan(stem_broker_url, monkeypatch, pytestconfig):
    """Return a plan that measures stem-amqp's drain once, at its smallest size."""
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
        timeout=150,
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
    """Return whether the exchange of a namespace, through which every task goes, still exists."""
    return runner.asyncio.run(broker.has_exchange(url, f"{namespace}.tasks"))
