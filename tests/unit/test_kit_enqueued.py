"""The testing kit: the record of enqueued calls, and the messages of failed assertions."""

import asyncio
from datetime import timedelta
from unittest import mock

import pytest
from kit_shop import ORDER, TOMORROW, Shop

from stem_amqp import ConfigurationError, Retry, StemError
from stem_amqp.errors import PublishRefusedError


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def stem_app(shop):
    return shop.stem


async def test_what_code_enqueues_is_recorded(shop, stem_memory):
    """Calls are recorded by task; the code knows nothing of the test, and no broker is needed."""
    handle = await shop.checkout(5)
    await shop.stem.enqueue("elsewhere.sync", {"n": 1}, delay="1h")
    paid, synced = stem_memory.enqueued()
    assert (paid.task, paid.id, paid.queue) == ("shop.pay", handle.id, "default")
    assert (paid.args, paid.meta) == ({"order": ORDER, "amount": 5}, {"tenant": "a"})
    assert paid.packed["order"] == str(ORDER)
    assert (paid.delay, paid.eta, paid.parent) == (0, None, None)
    assert (synced.delay, synced.eta.timestamp()) == (3600, stem_memory.clock.time() + 3600)
    assert stem_memory.enqueued(shop.pay) == stem_memory.enqueued("shop.pay") == [paid]
    assert shop.done == []


async def test_an_assertion_names_only_what_matters(shop, stem_memory):
    """Arguments match by position and name, typed or as JSON, with matchers, and with options."""
    await shop.checkout(5)
    await shop.pay.options(delay="90m", priority=3).enqueue(ORDER, at=TOMORROW)
    await shop.mail.options(eta=TOMORROW).enqueue("hello", queue="inbox")
    found = stem_memory.assert_enqueued(shop.pay, ORDER, amount=5, meta={"tenant": "a"})
    assert found.args["amount"] == 5
    stem_memory.assert_enqueued(shop.pay, str(ORDER), times=2)
    stem_memory.assert_enqueued("shop.pay", mock.ANY, amount=pytest.approx(5.1, abs=0.2))
    for delay in ("90m", 5400, timedelta(minutes=90), pytest.approx(5400)):
        stem_memory.assert_enqueued(shop.pay, at=TOMORROW, delay=delay, priority=3, times=1)
    stem_memory.assert_enqueued(shop.mail, "hello", queue="mails", eta=TOMORROW)
    stem_memory.assert_enqueued(shop.mail, args={"queue": "inbox"})
    stem_memory.assert_not_enqueued(shop.mail, "hello", args={"queue": "outbox"})
    stem_memory.assert_not_enqueued(shop.pay, delay="91m")
    stem_memory.assert_not_enqueued(shop.ship)


async def test_a_failing_assertion_shows_what_was_enqueued_and_what_differs(shop, stem_memory):
    """The closest call comes first, and other tasks are named."""
    await shop.pay.enqueue(ORDER, amount=9)
    await shop.checkout(5)
    await shop.mail.enqueue("hello")
    with pytest.raises(AssertionError) as caught:
        stem_memory.assert_enqueued(
            shop.pay, amount=6, at=TOMORROW, meta={"tenant": "a"}, delay="1h", queue="fast"
        )
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("expected: shop.pay(amount=6, at=datetime.datetime(")
    assert lines[0].endswith("to queue fast, due in 1 h, meta {'tenant': 'a'}")
    closest = lines[3:8]
    assert closest == [
        f"  - shop.pay(order={ORDER!r}, amount=5) to queue default, meta {{'tenant': 'a'}}",
        "      amount: expected 6, got 5",
        f"      at: expected {TOMORROW!r}, it was left out",
        "      queue: expected 'fast', got 'default'",
        "      delay: expected 1 h, got none",
    ]
    assert "amount=9" in lines[8]
    assert lines[-2:] == ["Enqueued besides:", "  - shop.mail(text='hello') to queue mails"]
    await shop.checkout()
    with pytest.raises(AssertionError, match=r"(?s)twice: shop.pay\(…\).*but it was 3 times"):
        stem_memory.assert_enqueued(shop.pay, times=2)
    with pytest.raises(AssertionError, match=r"Enqueued instead:\n  - shop.pay"):
        stem_memory.assert_enqueued(shop.ship)


async def test_nothing_and_nothing_else(shop, stem_memory):
    """Calls that an earlier assertion matched are accounted for."""
    stem_memory.assert_not_enqueued()
    with pytest.raises(AssertionError, match="Nothing at all was enqueued"):
        stem_memory.assert_enqueued(shop.pay)
    await shop.checkout()
    with pytest.raises(AssertionError, match=r"expected nothing\nbut .*\n  - shop.pay"):
        stem_memory.assert_not_enqueued()
    with pytest.raises(AssertionError, match=r"expected not: shop.pay\(amount=1\)\n"):
        stem_memory.assert_not_enqueued(shop.pay, amount=1)
    await shop.mail.enqueue("hello")
    stem_memory.assert_enqueued(shop.pay)
    with pytest.raises(
        AssertionError, match=r"too:\n  - shop.mail\(text='hello'\) to queue mails$"
    ):
        stem_memory.assert_nothing_else_enqueued()
    stem_memory.assert_enqueued(shop.mail)
    stem_memory.assert_nothing_else_enqueued()
    stem_memory.clear()
    stem_memory.assert_not_enqueued()


async def test_what_can_never_match_is_a_mistake_of_the_test(shop, stem_memory):
    """It would make an assertion of absence always true."""
    with pytest.raises(ConfigurationError, match="no argument 'amuont'; did you mean amount"):
        stem_memory.assert_not_enqueued(shop.pay, amuont=5)
    with pytest.raises(ConfigurationError, match="takes 2 arguments, not 3"):
        stem_memory.assert_not_enqueued(shop.mail, 1, 2, 3)
    with pytest.raises(ConfigurationError, match="elsewhere is not registered here"):
        stem_memory.assert_not_enqueued("elsewhere", 1)
    with pytest.raises(ConfigurationError, match="is not a task"):
        stem_memory.assert_enqueued(shop.pay.options(delay=1))
    with pytest.raises(ConfigurationError, match="assert_not_enqueued"):
        stem_memory.assert_enqueued(shop.pay, times=0)


async def test_only_what_the_broker_took_is_recorded(shop, stem_memory):
    """A duplicate of a unique task and a refused call are not recorded."""
    first = await shop.ship.enqueue(1)
    assert (await shop.ship.enqueue(1)).id == first.id
    stem_memory.assert_enqueued(shop.ship, times=1)
    await stem_memory.advance("1h", working=False)
    assert (await shop.ship.enqueue(1)).id != first.id
    stem_memory.assert_enqueued(shop.ship, times=2)
    stem_memory.broker.refuse_publishes(PublishRefusedError("full"))
    with pytest.raises(PublishRefusedError):
        await shop.checkout()
    stem_memory.assert_not_enqueued(shop.pay)


async def test_what_a_task_enqueues_is_recorded_with_its_parent(shop, stem_memory):
    """The record has the metadata that it inherits."""
    handle = await shop.checkout()
    await stem_memory.run_due()
    mail = stem_memory.assert_enqueued(shop.mail, "receipt", meta={"tenant": "a"})
    assert mail.parent == handle.id


def test_synchronous_code_is_recorded_too(shop, stem_memory):
    """This holds for the shared producer, another producer, calls in bulk, and `stem.run`."""
    shop.pay.enqueue_blocking(ORDER)
    with shop.stem.blocking() as producer:
        producer.enqueue("shop.mail", {"text": "hello"})
        producer.enqueue_many(shop.ship.prepare(n) for n in range(3))
    with shop.stem:
        shop.stem.run(shop.mail.enqueue("again"))
    stem_memory.assert_enqueued(shop.pay, ORDER)
    stem_memory.assert_enqueued(shop.ship, times=3)
    stem_memory.assert_enqueued(shop.mail, times=2)


async def test_tasks_defined_in_the_test_have_their_queues(stem_memory):
    """The topology gets the queue when the task is defined."""

    @stem_memory.app.task("late", queue="late")
    async def late() -> None:
        raise Retry

    await late.enqueue()
    stem_memory.assert_enqueued(late, queue="late")


async def test_the_application_is_as_before_afterwards(shop):
    """Settings, clock and connections are restored; only one block in memory is open at a time."""
    from stem_amqp.testing import in_memory

    before = shop.stem.settings
    with in_memory(shop.stem) as memory:
        assert shop.stem.settings.broker_url != before.broker_url
        async with shop.stem:  # an application's own start-up does this
            await shop.checkout()
        assert len(memory.enqueued()) == 1
        with pytest.raises(StemError, match="in memory already"), in_memory(shop.stem):
            pass
    assert shop.stem.settings is before
    assert shop.stem.blueprint.clock is None
    with pytest.raises(StemError, match="not connected"):
        await shop.checkout()
    with in_memory(shop.stem) as memory:
        memory.assert_not_enqueued()


async def test_a_thread_of_an_async_test_enqueues_in_its_event_loop(shop, stem_memory):
    """This holds before and after the first call in the event loop."""
    await asyncio.to_thread(shop.mail.enqueue_blocking, "first")
    await shop.checkout()
    await asyncio.to_thread(shop.mail.enqueue_blocking, "last")
    assert len(await stem_memory.run_due()) == 4
