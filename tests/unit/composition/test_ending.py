"""Test how the handle of a group waits, in the testing kit."""

import pytest

from stem_amqp import Stem, StemError, TaskFailedError, group
from stem_amqp.composition import ending
from stem_amqp.testing import in_memory

stem = Stem()


@stem.task("double")
async def double(number: int) -> int:
    return 2 * number


@stem.task("fail", max_retries=0)
async def fail(number: int) -> int:
    raise ValueError(str(number))


async def test_a_group_that_no_worker_runs_is_an_error_in_tests(monkeypatch):
    """A test would wait for ever otherwise."""
    monkeypatch.setattr(ending, "SHORTEST", 1.5)
    monkeypatch.setattr(ending, "QUIET_AFTER", 0.0)
    with in_memory(stem):
        handle = await double.map([1, 2]).enqueue()
        with pytest.raises(StemError, match="no worker runs"):
            await handle.result()


async def test_a_group_that_has_ended_is_read_without_a_worker():
    """Also where its last member has failed."""
    with in_memory(stem) as memory:
        done = await double.map([1, 2]).enqueue()
        failed = await group(double.s(1), fail.s(2)).enqueue()
        await memory.run_due()
        assert await done.result() == [2, 4]
        values = [one async for one in failed.results(wait=False)]
        assert values[0] == 2
        assert (values[1]["index"], values[1]["state"]) == (1, "failed")
        with pytest.raises(TaskFailedError, match="ValueError: 2"):
            await failed.result()
        assert await failed.progress() == (2, 1, 2)
