"""Test tasks without RabbitMQ: an in-memory broker by the same rules, and a clock moved by hand.

Needs nothing. With pytest, each `test_…` function is a test as it stands.
"""

import asyncio

from stem_amqp import Stem, TaskContext
from stem_amqp.transport.memory import ManualClock

HOUR = 3600.0


def make_stem(clock: ManualClock, sent: list[str]) -> Stem:
    """Return an application of its own for a test."""
    stem = Stem(broker_url=f"memory://{id(clock)}", backend_url="memory://", clock=clock)

    @stem.task("reminders.send", retry={"base": "1h", "max": "8h", "jitter": 0})
    async def remind(context: TaskContext, text: str) -> None:
        if text == "difficult" and context.attempt == 0:
            raise ConnectionError("the mail server is down")
        sent.append(text)

    return stem


async def test_a_reminder_comes_when_it_is_due() -> None:
    """A delay of three days takes no time to test."""
    clock, sent = ManualClock(), list[str]()
    stem = make_stem(clock, sent)
    async with stem, stem.worker().running():
        await stem.enqueue("reminders.send", {"text": "tea"}, delay="3d")
        clock.advance(71 * HOUR)
        assert sent == []
        await clock.advance_until(lambda: sent == ["tea"], within=2 * HOUR)
        print("sent:", sent)


async def test_a_reminder_is_retried_an_hour_later() -> None:
    """The retry waits in a delay queue as it would on RabbitMQ."""
    clock, sent = ManualClock(), list[str]()
    stem = make_stem(clock, sent)
    begun = clock.time()
    async with stem, stem.worker().running():
        await stem.enqueue("reminders.send", {"text": "difficult"})
        await clock.advance_until(lambda: bool(sent), within=2 * HOUR)
    print(f"sent: {sent} after {(clock.time() - begun) / HOUR:g} h")


if __name__ == "__main__":
    asyncio.run(test_a_reminder_comes_when_it_is_due())
    asyncio.run(test_a_reminder_is_retried_an_hour_later())

# Output:
# sent: ['tea']
# sent: ['difficult'] after 1 h
