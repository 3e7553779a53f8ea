"""Composition: links that follow each other, members side by side, and a callback that gets their results.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import FailedMember, Stem, group

stem = Stem()


@stem.task("orders.weigh", queue="orders", max_retries=0)
async def weigh(order_id: str) -> int:
    """Return the weight of an order in grams."""
    if order_id == "lost":
        raise LookupError("no such order")
    return 100 * len(order_id)


@stem.task("orders.price", queue="orders")
async def price(grams: int, *, per_kilo: float = 2.5) -> float:
    """Return the price of sending a weight."""
    return grams / 1000 * per_kilo


@stem.task("orders.bill", queue="orders")
async def bill(prices: list[float | FailedMember]) -> str:
    """Sum up what can be billed."""
    known = [one for one in prices if not isinstance(one, dict)]
    return f"{sum(known):.2f} for {len(known)} of {len(prices)} orders"


async def main() -> None:
    """Enqueue a chain, and then a group of chains whose results go to a callback."""
    async with stem, stem.worker(concurrency=20).running():
        one = weigh.s("o-1") | price.s(per_kilo=4.0)
        handle = await one.enqueue()
        print("a chain:", await handle.result(timeout="30s"))

        orders = [f"o-{number}" for number in range(10)] + ["lost"]
        each = group((weigh.s(order) | price.s() for order in orders), policy="collect")
        billed = await (each | bill.s()).enqueue()
        print("a group:", await billed.result(timeout="30s"))
        print("its progress:", tuple(await billed.progress()))


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# a chain: 1.2
# a group: 7.50 for 10 of 11 orders
# its progress: (2, 0, 2)
