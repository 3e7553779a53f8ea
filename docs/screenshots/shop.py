"""A shop on a bad day, for pictures of the management UI.

Orders come a little faster than they are handled, the mail server is down, and some reports fail.
Run it with ``stem-amqp worker shop:stem``, and beside it as a program: the producer.
"""

import asyncio
import random
import sys

from stem_amqp import Reject, Stem

RATE = 24
"""Orders a second; the worker handles 20."""

stem = Stem(topology="shop.yaml")


@stem.task("orders.sync", queue="orders")
async def sync_order(order: int) -> None:
    """Take a moment, and fail for good now and then."""
    await asyncio.sleep(0.5)
    if order % 40 == 0:
        raise Reject(f"order {order} has no customer")


@stem.task("emails.send", queue="emails")
async def send_email(order: int) -> None:
    """Find the mail server down."""
    raise ConnectionRefusedError(f"mail.example.com:25 refuses the mail of order {order}")


@stem.task("reports.build", queue="reports", time_limit="1h")
async def build_report(order: int) -> None:
    """Be slow, and fail now and then."""
    await asyncio.sleep(random.uniform(2, 6))
    if order % 2:
        raise TimeoutError("the warehouse does not answer")


async def main(seconds: float) -> None:
    """Enqueue for a while."""
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
