"""Delayed tasks and ETAs wait in the broker: a long delay does not block a short one.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio
import time
from datetime import UTC, datetime

from stem_amqp import Stem

stem = Stem()


@stem.task("reminders.send", queue="reminders")
async def remind(text: str, not_before: float) -> None:
    """Print a reminder, and whether it came too early."""
    print(text, "(too early!)" if time.time() < not_before else "(not early)")


async def main() -> None:
    """Enqueue three reminders, the last one first."""
    async with stem, stem.worker().running():
        now = time.time()
        third, second = now + 6, now + 3
        handles = [
            await remind.options(eta=datetime.fromtimestamp(third, UTC)).enqueue(
                "third: at a time", third
            ),
            await remind.options(delay="3s").enqueue("second: after a while", second),
            await remind.enqueue("first: at once", now),
        ]
        for handle in handles:
            await handle.result(timeout="60s")


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# first: at once (not early)
# second: after a while (not early)
# third: at a time (not early)
