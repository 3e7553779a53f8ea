"""The benchmark's measurements: their order, processes, pauses, and the report of failures."""

import asyncio
import dataclasses
import sys
import threading
from contextlib import asynccontextmanager

import pytest
from bench import contenders, runner
from bench.cases import CASES
from bench.cases.base import Case
from bench.cases.drain import rate
from bench.contender import Contender, in_flight
from bench.marks import Marks
from bench.run import Run


class FakeContender(Contender):
    packages = ()
    loop = "none"
    durability = "none"
    settings = ()

    def __init__(self, name, blanks=None):
        self.name = name
        self.blanks = blanks or {}
        self.cleaned = []

    @asynccontextmanager
    async def producer(self, run):
        yield None

    def workers(self, run):
        return []

    async def clean(self, run):
        self.cleaned.append(run.name)


async def _never(bench):
    raise AssertionError("the measurement has a process of its own")


def plan(*contenders, rounds=2, case_rounds=None, timeout=30.0):
    case = Case(name="drain", title="Drain", size=100, measure=_never, rounds=case_rounds)
    return runner.Plan(
        url="amqp://nowhere",
        cases=[case],
        contenders=contenders,
        rounds=rounds,
        timeout=timeout,
    )


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurements; return the contenders in the order of their measurement."""
    order = []

    def answer(run, case, contender, timeout):
        order.append(contender.name)
        if contender.name == "broken":
            raise runner.MeasurementError("it broke")
        return {"rate": float(run.size)}

    monkeypatch.setattr(runner, "_in_process", answer)
    return order


def test_the_contenders_take_turns_and_another_begins_each_round(measured):
    runner.run(plan(FakeContender("a"), FakeContender("b")), lambda sample: None)

    assert measured == ["a", "b", "b", "a"]


class StuckContender(FakeContender):
    """A contender whose client waits for the broker in a way that cannot be cancelled."""

    def __init__(self, name, where):
        super().__init__(name)
        self.where = where
        self.free = threading.Event()

    async def prepare(self, run):
        if self.where == "prepare":
            self.free.wait(60)

    async def clean(self, run):
        if self.where == "clean":
            self.free.wait(60)


@pytest.mark.parametrize(
    ("where", "error"),
    [("prepare", "preparing was not done within 0.05 s; does the broker answer?"), ("clean", None)],
)
def test_a_frozen_client_does_not_stop_the_others(measured, where, error):
    """A broker without free file descriptors can block a declare for ever."""
    stuck = StuckContender("stuck", where)
    wanted = dataclasses.replace(plan(stuck, FakeContender("b"), rounds=1), side_timeout=0.05)
    samples = {one.contender: one for one in runner.run(wanted, lambda sample: None)}
    stuck.free.set()
    assert samples["stuck"].error == error
    assert samples["b"].values


def test_a_case_may_ask_for_fewer_rounds(measured):
    runner.run(plan(FakeContender("a"), rounds=5, case_rounds=3), lambda sample: None)

    assert measured == ["a"] * 3


def test_an_unsupported_case_of_a_contender_is_reported_once_and_not_measured(measured):
    blank = FakeContender("b", {"drain*": "it cannot"})

    samples = runner.run(plan(FakeContender("a"), blank), lambda sample: None)

    assert measured == ["a", "a"]
    assert [s.blank for s in samples if s.contender == "b"] == ["it cannot"]


def test_the_first_pattern_that_fits_decides_on_a_blank():
    contender = FakeContender("a", {"results-redis": None, "results-*": "no"})

    assert contender.blank("results-redis") is None
    assert contender.blank("results-rpc") == "no"
    assert contender.blank("drain") is None


def test_a_failure_is_a_sample_and_the_others_go_on(measured):
    told = []

    runner.run(plan(FakeContender("broken"), FakeContender("b"), rounds=1), told.append)

    assert [sample.error for sample in told] == ["it broke", None]
    assert told[1].values == {"rate": 100.0}


def test_every_measurement_has_names_of_its_own_which_are_cleaned_up(measured):
    broken = FakeContender("broken")

    runner.run(plan(broken), lambda sample: None)

    assert len(set(broken.cleaned)) == 2


def test_an_interrupted_measurement_is_cleaned_up_too(monkeypatch):
    def interrupt(run, case, contender, timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_in_process", interrupt)
    contender = FakeContender("a")

    with pytest.raises(KeyboardInterrupt):
        runner.run(plan(contender), lambda sample: None)

    assert len(contender.cleaned) == 1


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Replace the Python interpreter that measures with another program."""

    def put(source):
        path = tmp_path / "program"
        path.write_text(f"#!{sys.executable}\n{source}\n")
        path.chmod(0o755)
        monkeypatch.setattr(runner, "PYTHON", str(path))

    return put


def only(plan):
    (sample,) = runner.run(plan, lambda sample: None)
    return sample


def test_a_measurement_that_takes_too_long_is_ended(program):
    program("import time\ntime.sleep(600)")

    sample = only(plan(FakeContender("a"), rounds=1, timeout=0.2))

    assert sample.error == "not done within 0.2 s"


def test_what_a_measurement_prints_last_is_its_answer(program):
    program("""print('noise')\nprint('{"values": {"rate": 7.0}}')""")

    assert only(plan(FakeContender("a"), rounds=1)).values == {"rate": 7.0}


def test_a_measurement_may_find_that_it_is_not_supported(program):
    program("""print('{"unsupported": "no such backend"}')""")

    assert only(plan(FakeContender("a"), rounds=1)).blank == "no such backend"


def test_a_measurement_reports_its_error(program):
    program("""print('{"error": "WorkerFailedError: stuck"}')""")

    assert only(plan(FakeContender("a"), rounds=1)).error == "WorkerFailedError: stuck"


def test_a_measurement_that_crashes_reports_its_output(program):
    program("import sys\nsys.exit('out of luck')")

    error = only(plan(FakeContender("a"), rounds=1)).error

    assert error == "exit code 1\nout of luck\n"


def test_the_rate_counts_from_the_first_tenth_on():
    times = [0.0] * 10 + [1.0 + number / 100 for number in range(90)]

    assert rate(times) == pytest.approx(100.0)


def test_a_run_reaches_another_process_through_the_environment(monkeypatch):
    run = Run(url="amqp://b", name="bench-1", folder="/somewhere", size=5, task="wait")
    for name, value in run.environment().items():
        monkeypatch.setenv(name, value)

    assert Run.current() == run


def test_marks_are_seen_through_another_mapping(tmp_path):
    seen = Marks.create(str(tmp_path / "marks"), 4)
    written = Marks(str(tmp_path / "marks"))

    written.put(1)
    assert not seen.reached(2)
    written.put(0)

    assert seen.reached(2)
    assert not seen.reached(2, start=2)
    assert seen.filled() == 2
    seen.clear()
    assert written.times(4) == [0.0] * 4


async def test_many_are_sent_with_a_bounded_number_on_their_way():
    on_their_way, most, sent = 0, 0, []

    async def send(number):
        nonlocal on_their_way, most
        on_their_way += 1
        most = max(most, on_their_way)
        await asyncio.sleep(0)
        on_their_way -= 1
        sent.append(number)

    await in_flight(send, range(50), window=7)

    assert sorted(sent) == list(range(50))
    assert most == 7


def test_every_case_and_contender_is_documented(pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "benchmarks.md").read_text()
    named = {"results-*" if name.startswith("results-") else name for name in CASES}

    assert [name for name in named if f"`{name}`" not in page] == []
    assert [name for name in contenders.NAMES if name not in page.lower()] == []
