"""Test tasks without RabbitMQ: assert what was enqueued, run due tasks, and move the clock.

Needs no broker. In pytest use the fixture `stem_memory` in place of `in_memory`; `testing/` has an
application with such tests.
"""

import asyncio

from stem_amqp import Stem, TaskContext
from stem_amqp.testing import in_memory

stem = Stem()
sent: list[str] = []


@stem.task("reminders.send", retry={"base": "1h", "max": "8h", "jitter": 0})
async def remind(context: TaskContext, text: str) -> None:
    """Send a reminder, if the mail server is available."""
    if text == "difficult" and context.attempt == 0:
        raise ConnectionError("the mail server is down")
    sent.append(text)


async def plan_tea() -> None:
    """Enqueue a reminder: the code under test."""
    await remind.options(delay="3d").enqueue("tea")


async def test_a_reminder_comes_when_it_is_due() -> None:
    """A delay of three days takes no time to test."""
    with in_memory(stem) as memory:
        await plan_tea()
        memory.assert_enqueued(remind, "tea", delay="3d")
        assert await memory.advance("71h") == []
        (outcome,) = await memory.advance("1h")
        print(f"{outcome.task} {outcome.state}, sent: {sent}")


async def test_a_reminder_is_retried_an_hour_later() -> None:
    """The retry waits in a delay queue, as on RabbitMQ."""
    with in_memory(stem) as memory:
        await remind.enqueue("difficult")
        (first,) = await memory.run_due()
        print(f"{first.state} in {first.delay:g} s: {first.error}")
        (second,) = await memory.advance("1h")
        print(f"{second.state} at attempt {second.attempt}")


if __name__ == "__main__":
    asyncio.run(test_a_reminder_comes_when_it_is_due())
    asyncio.run(test_a_reminder_is_retried_an_hour_later())

# Output:
# reminders.send succeeded, sent: ['tea']
# retrying in 3600 s: ConnectionError: the mail server is down
# succeeded at attempt 1
