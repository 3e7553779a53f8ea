"""A shop during an incident, for screenshots of the management UI.

Orders arrive a little faster than they are processed, the mail server is down, and some reports fail.
Run ``stem-amqp worker shop:stem``, and this file as the producer.
"""

import asyncio
import random
import sys

from stem_amqp import Reject, Stem

RATE = 24
"""Orders per second; the worker processes 20."""

stem = Stem(topology="shop.yaml")


@stem.task("orders.sync", queue="orders")
async def sync_order(order: int) -> None:
    """Process an order slowly; some fail for good."""
    await asyncio.sleep(0.5)
    if order % 40 == 0:
        raise Reject(f"order {order} has no customer")


@stem.task("emails.send", queue="emails")
async def send_email(order: int) -> None:
    """Fail, since the mail server is down."""
    raise ConnectionRefusedError(f"mail.example.com:25 refuses the mail of order {order}")


@stem.task("reports.build", queue="reports", time_limit="1h")
async def build_report(order: int) -> None:
    """Build a report slowly; half of them fail."""
    await asyncio.sleep(random.uniform(2, 6))
    if order % 2:
        raise TimeoutError("the warehouse does not answer")


async def main(seconds: float) -> None:
    """Enqueue tasks for the given time."""
    async with stem:
        for order in range(round(seconds * RATE)):
            await sync_order.enqueue(order)
            if order % 9 == 0:
                await send_email.enqueue(order)
            if order % 60 == 1:
                await build_report.enqueue(order // 60)
            await asyncio.sleep(1 / RATE)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
