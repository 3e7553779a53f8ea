"""Runs the measurements: each in a process of its own, the contenders in turn, round by round."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.contender import PYTHON, Contender, UnsupportedError, inherited
from bench.run import Run
from bench.samples import Sample

if TYPE_CHECKING:
    from bench.cases.base import Case

_TAIL = 1500


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be measured.

    Args:
        url: the broker's.
        cases: in this order.
        contenders: the participants.
        rounds: how often; each case may ask for fewer.
        scale: what the sizes are multiplied with.
        timeout: seconds that one measurement may take.
        side_timeout: seconds that preparing it, and cleaning up after it, may take each.
    """

    url: str
    cases: Sequence[Case]
    contenders: Sequence[Contender]
    rounds: int
    scale: float = 1.0
    timeout: float = 1800.0
    side_timeout: float = 120.0


Report = Callable[[Sample], None]


def run(plan: Plan, report: Report) -> list[Sample]:
    """Measure everything.

    What is left out is reported once, in round 0. What goes wrong is a sample with its error, and the
    others go on. Ctrl-C ends it, with what the broker holds of the running measurement removed.

    Args:
        plan: what to do.
        report: called with each sample.
    """
    samples: list[Sample] = []
    for case in plan.cases:
        for number in range(min(plan.rounds, case.rounds or plan.rounds)):
            for contender in _turned(plan.contenders, number):
                sample = _sample(plan, case, contender, number)
                if sample is not None:
                    samples.append(sample)
                    report(sample)
    return samples


def _turned(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Let another one begin in each round, so that none always follows the same other one."""
    start = number % len(contenders)
    return [*contenders[start:], *contenders[:start]]


def _sample(plan: Plan, case: Case, contender: Contender, number: int) -> Sample | None:
    size = case.scaled(plan.scale)
    bare = Sample(case=case.name, contender=contender.name, round=number, size=size)
    if blank := contender.blank(case.name):
        return replace(bare, blank=blank) if number == 0 else None
    try:
        return replace(bare, values=_measure(plan, case, contender, size))
    except UnsupportedError as why:
        return replace(bare, blank=str(why))
    except MeasurementError as error:
        return replace(bare, error=str(error))


class MeasurementError(Exception):
    """A measurement gave no figure; the message says why."""


def _measure(plan: Plan, case: Case, contender: Contender, size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = Run(
            url=plan.url,
            name=f"bench-{uuid.uuid4().hex[:6]}",
            folder=folder,
            size=size,
            task=case.task,
            concurrency=case.concurrency,
            processes=case.processes,
            backend=case.backend,
        )
        try:
            _within(plan.side_timeout, "preparing", lambda: contender.prepare(made))
            return _in_process(made, case, contender, plan.timeout)
        finally:
            with contextlib.suppress(MeasurementError):  # what has gone wrong before counts
                _within(plan.side_timeout, "cleaning up", lambda: contender.clean(made))


def _within(seconds: float, what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do something that a contender's client may wait for without an end.

    A thread that hangs is left behind: a client that blocks cannot be cancelled.

    Raises:
        MeasurementError: it is not done in time.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            done.set_result(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            done.set_exception(error)

    threading.Thread(target=run, name=f"bench {what}", daemon=True).start()
    try:
        done.result(seconds)
    except FutureTimeoutError:
        raise MeasurementError(
            f"{what} was not done within {seconds:g} s; does the broker answer?"
        ) from None


def _in_process(run: Run, case: Case, contender: Contender, timeout: float) -> dict[str, float]:
    """Run `bench.measure`, in a session of its own so that all its workers can be ended with it.

    Raises:
        UnsupportedError: the contender cannot do it here.
        MeasurementError: it failed or took too long.
    """
    command = [PYTHON, "-m", "bench.measure", contender.name, case.name]
    with subprocess.Popen(
        command,
        env=inherited(run, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"not done within {timeout:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise MeasurementError(f"exit code {process.returncode}\n{errors[-_TAIL:]}")
    return _answer(json.loads(output.splitlines()[-1]))


def _answer(said: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that a measurement printed, or raise what it met instead."""
    if "unsupported" in said:
        raise UnsupportedError(said["unsupported"])
    if "error" in said:
        raise MeasurementError(said["error"])
    values: dict[str, float] = said["values"]
    return values
