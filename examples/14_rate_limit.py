"""A rate limit: a partner's API gets ten calls a second, however many tasks wait.

The starts are evenly spread in this worker process. Without ``per="worker"`` the limit holds over all workers, which
count in the result backend: docs/limits.md. Needs a RabbitMQ on
localhost, or the one of STEM_BROKER_URL.
"""

import asyncio
import time

from stem_amqp import Limit, Stem

CALLS = 11
stem = Stem()
started: dict[int, float] = {}


@stem.task("partners.call", queue="partners", rate_limit=Limit("10/s", per="worker"))
async def call_partner(number: int) -> None:
    """Simulate a call of the partner's API."""
    started[number] = time.monotonic()


async def main() -> None:
    """Enqueue all calls at once, and measure the time until the last one starts."""
    async with stem, stem.worker(concurrency=20).running():
        begun = time.monotonic()
        handles = await stem.enqueue_many(call_partner.prepare(n) for n in range(CALLS))
        for handle in handles:
            await handle.result(timeout="60s")
    whole = max(started.values()) - begun
    print(f"{len(started)} calls")
    print("in one second, not faster" if whole > 0.95 else f"too fast: {whole:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# 11 calls
# in one second, not faster
