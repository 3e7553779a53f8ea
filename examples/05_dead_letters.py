"""A task that fails for good is a message in the dead-letter queue; after the fix it is replayed.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL. On the command line:
``stem-amqp dlq list invoices``, ``… show``, ``… replay``, ``… purge``.
"""

import asyncio

from stem_amqp import Stem, TaskFailedError
from stem_amqp.dead_letter import DeadLetters, Selection

stem = Stem()
RATES = {"EUR": 1.0}  # the bug: USD is missing


@stem.task("invoices.total", queue="invoices", max_retries=0)
async def total(amount: float, currency: str) -> float:
    """Convert an amount."""
    return amount * RATES[currency]


async def main() -> None:
    """Fail, inspect the dead letter, fix the bug, replay."""
    async with stem, stem.worker().running():
        handle = await total.options(meta={"invoice": "A-17"}).enqueue(100, "USD")
        try:
            await handle.result(timeout="10s")
        except TaskFailedError as error:
            print("failed:", error.reason)

        letters = DeadLetters(stem, "invoices")
        letter = await letters.show(handle.id)
        print(f"{letter.task} of invoice {letter.meta['invoice']}: {letter.error}")

        RATES["USD"] = 0.5
        report = await letters.replay(Selection(ids=frozenset({handle.id})))
        print("replayed:", report.replayed)
        print("total:", await handle.result(timeout="10s"))


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# failed: retries-exhausted
# invoices.total of invoice A-17: KeyError: 'USD'
# replayed: 1
# total: 50.0
