"""Tests of the shop. Run them with pytest in this folder; they need no RabbitMQ.

`stem_memory` is a fixture of stem-amqp; pytest.ini names the application.
"""

from collections.abc import Iterator
from unittest import mock

import pytest

from examples.testing.shop import (
    ClosedError,
    bank,
    charge,
    check_out,
    receipts,
    send_receipt,
    take_by_phone,
)
from stem_amqp.testing import StemMemory


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Reset the bank after each test: open, and without payments."""
    yield
    bank.is_open = True
    bank.charged.clear()
    receipts.clear()


async def test_an_order_is_charged_and_reviewed(stem_memory: StemMemory) -> None:
    """Assert what was enqueued, without running it."""
    await check_out("o-1", 990)
    stem_memory.assert_enqueued(charge, "o-1", cents=990, meta={"channel": "web"})
    stem_memory.assert_enqueued("reviews.ask", order=mock.ANY, delay="7d")
    stem_memory.assert_nothing_else_enqueued()


async def test_a_charge_sends_a_receipt(stem_memory: StemMemory) -> None:
    """Run a task and the task that it enqueues."""
    handle = await charge.enqueue("o-1", 990)
    await stem_memory.run_due(raise_errors=True)
    assert await handle.result() == "charged o-1"
    assert receipts == ["o-1"]


def test_a_phone_order_is_charged(stem_memory: StemMemory) -> None:
    """Do the same in synchronous code."""
    take_by_phone("o-2", 500)
    stem_memory.run_due_blocking(raise_errors=True)
    assert bank.charged == {"o-2": 500}


async def test_a_closed_bank_is_asked_again_in_an_hour(stem_memory: StemMemory) -> None:
    """Test a retry without waiting for it."""
    bank.is_open = False
    await charge.enqueue("o-1", 990)
    (failed,) = await stem_memory.run_due()
    assert (failed.state, failed.delay) == ("retrying", 3600)
    assert isinstance(failed.exception, ClosedError)
    bank.is_open = True
    await stem_memory.advance("1h")
    assert bank.charged == {"o-1": 990}


async def test_a_bank_that_stays_closed_ends_in_the_dead_letter_queue(
    stem_memory: StemMemory,
) -> None:
    """Use up all retries; the message is then a dead letter."""
    bank.is_open = False
    await charge.enqueue("o-1", 990)
    await stem_memory.advance("3h")
    (letter,) = stem_memory.dead_letters()
    assert (letter.task, letter.reason) == ("payments.charge", "retries-exhausted")


async def test_a_worker_that_freezes_charges_no_customer_twice(stem_memory: StemMemory) -> None:
    """Freeze a worker after the payment and before the result is stored: the message is redelivered."""
    async with stem_memory.worker() as worker:
        worker.freeze_after_run(charge)
        await charge.enqueue("o-1", 990)
        await stem_memory.advance("5m")  # it misses its heartbeats
    assert len(stem_memory.enqueued(send_receipt)) == 2
    assert bank.charged == {"o-1": 990}
