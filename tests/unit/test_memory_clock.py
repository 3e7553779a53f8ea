"""The in-memory broker with a clock that the test moves."""

import asyncio

import pytest

from stem_amqp.delay import LEVELS, binding_key, delivery_key, exact_units, route, ttl_ms
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport
from stem_amqp.transport.publication import Publication

NAMES = Names("stem")
START = 1_767_225_600.0


def delays(work):
    """Return the decimal delay topology for one work queue."""
    exchanges = [Exchange(name=NAMES.deliver, type="topic")]
    queues, bindings = [Queue(name=NAMES.work(work))], []
    for level in range(LEVELS):
        source, after = NAMES.delay_exchange(level), NAMES.after_delay(level)
        exchanges.append(Exchange(name=source, type="topic"))
        for digit in range(1, 10):
            name = NAMES.delay_queue(level, digit)
            arguments = {"x-message-ttl": ttl_ms(level, digit), "x-dead-letter-exchange": after}
            queues.append(Queue(name=name, arguments=arguments))
            key = binding_key(level, digit)
            bindings.append(Binding(source=source, destination=name, key=key))
        zero = binding_key(level, 0)
        bindings.append(Binding(source=source, destination=after, key=zero, to_exchange=True))
    key = delivery_key(work)
    bindings.append(Binding(source=NAMES.deliver, destination=NAMES.work(work), key=key))
    return Entities(exchanges=tuple(exchanges), queues=tuple(queues), bindings=tuple(bindings))


def delayed(seconds, queue="orders", body=b"{}"):
    """Return a publication that arrives after a number of seconds."""
    way = route(exact_units(seconds), queue)
    exchange = NAMES.delay_exchange(way.level)
    return Publication(exchange=exchange, routing_key=way.routing_key, body=body)


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return ManualClock(START)


@pytest.fixture
async def transport(clock):
    """Yield a transport to a broker with that clock."""
    transport = MemoryTransport(MemoryBroker(clock=clock))
    await transport.connect()
    await transport.declare(delays("orders"))
    yield transport
    await transport.close()


async def turns(count=10):
    """Run some iterations of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_hour_passes_at_once(clock, transport):
    """A delay of an hour takes one call, and does not end before the hour."""
    await transport.publish(delayed(3600))
    clock.advance(3599.9)
    assert transport.broker.messages("stem.orders") == []
    clock.advance(0.1)
    assert len(transport.broker.messages("stem.orders")) == 1


async def test_each_hop_has_its_own_due_time(clock, transport):
    """A message goes through all its delay queues in one call, each at its time."""
    await transport.publish(delayed(7654321.9))
    clock.advance(7654321.9)
    (message,) = transport.broker.messages("stem.orders")
    deaths = message.headers["x-death"]
    assert [death["queue"] for death in reversed(deaths)] == [
        f"stem.zz-delay.{seconds:07d}.0s"
        for seconds in (7_000_000, 600_000, 50_000, 4_000, 300, 20, 1)
    ] + ["stem.zz-delay.0000000.9s"]
    elapsed = [death["time"].timestamp() - START for death in reversed(deaths)]
    assert elapsed == [
        7_000_000, 7_600_000, 7_650_000, 7_654_000, 7_654_300, 7_654_320, 7_654_321, 7_654_321,
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.1, 4.1, 12.3, 99.9, 123456.7])
async def test_no_rounding_makes_a_delay_early_or_late(clock, transport, seconds):
    """The message is absent a microsecond before the end, and present at the end."""
    await transport.publish(delayed(seconds))
    clock.advance(seconds - 0.000001)
    assert transport.broker.messages("stem.orders") == []
    clock.advance(0.000001)
    assert len(transport.broker.messages("stem.orders")) == 1


async def test_what_falls_due_happens_in_its_order(clock, transport):
    """Messages arrive by their due times, in any order of publishing."""
    for seconds in (60, 0.5, 3600, 59.9):
        await transport.publish(delayed(seconds, body=str(seconds).encode()))
    clock.advance(3600)
    bodies = [message.body for message in transport.broker.messages("stem.orders")]
    assert bodies == [b"0.5", b"59.9", b"60", b"3600"]


async def test_a_consumer_gets_what_fell_due(clock, transport):
    """After the clock has moved, deliveries come in the next iterations of the loop."""
    inbox = []
    await transport.consume("stem.orders", inbox.append, prefetch=5, tag="c1")
    await transport.publish(delayed(60))
    clock.advance(60)
    await turns()
    assert len(inbox) == 1


async def test_advance_until_lets_consumers_react_at_each_time(clock, transport):
    """A task that delays itself repeatedly runs at the times that the clock shows."""
    times = []
    working = set()

    async def work(delivery):
        times.append(clock.time() - START)
        await transport.replace(delivery, delayed(2.0 ** len(times)))

    def on_delivery(delivery):
        task = asyncio.ensure_future(work(delivery))
        working.add(task)
        task.add_done_callback(working.discard)

    await transport.consume("stem.orders", on_delivery, prefetch=5, tag="c1")
    await transport.publish(delayed(1))
    await clock.advance_until(lambda: len(times) == 6, within=3600)
    assert times == [1, 3, 7, 15, 31, 63]


async def test_advance_until_goes_no_further_than_it_may(clock, transport):
    """Messages that are due later stay, and the wait ends with an error."""
    await transport.publish(delayed(60))
    with pytest.raises(TimeoutError, match="within 59"):
        await clock.advance_until(
            lambda: bool(transport.broker.messages("stem.orders")), within=59, patience=0.02
        )
    assert clock.time() == START


async def test_advance_until_waits_for_work_in_real_time(clock):
    """If no message is due, it waits in real time until the condition holds."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, done.set)
    await clock.advance_until(done.is_set, within=60)
    assert clock.time() == START


def test_many_small_steps_are_one_large_one(clock):
    """No fraction of a second is lost."""
    for _ in range(1000):
        clock.advance(4.1)
    assert clock.time() == START + 4100


def test_a_clock_does_not_go_back(clock):
    """A negative number of seconds is refused."""
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_a_clock_starts_now_by_default():
    """Its start is then the time at which it was made."""
    assert ManualClock().time() > START


def test_a_cancelled_timer_does_nothing(clock):
    """Its callback is not called, and the others are."""
    called = []
    clock.call_at(int((START + 1) * 1e6), lambda: called.append("first")).cancel()
    clock.call_at(int((START + 2) * 1e6), lambda: called.append("second"))
    clock.advance(5)
    assert called == ["second"]
    assert clock.time() == START + 5
