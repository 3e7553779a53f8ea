"""A graph: members that start as soon as those that they depend on have ended.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import Stem, graph

stem = Stem()


@stem.task("orders.pay", queue="orders")
async def pay(order_id: str) -> str:
    """Charge the customer."""
    return f"paid {order_id}"


@stem.task("orders.pick", queue="orders")
async def pick(order_id: str) -> str:
    """Take the goods from the shelves."""
    return f"picked {order_id}"


@stem.task("orders.ship", queue="orders")
async def ship(done: list[str]) -> str:
    """Send the parcel; it gets the results of what it depends on."""
    return f"shipped after: {', '.join(done)}"


@stem.task("orders.thank", queue="orders")
async def thank(order_id: str) -> str:
    """Write to the customer."""
    return f"thanked for {order_id}"


async def main() -> None:
    """Enqueue an order: it is shipped once it is paid and picked, and the customer is thanked once it is paid."""
    order = graph(
        {"pay": pay.s("o-1"), "pick": pick.s("o-1"), "ship": ship.s(), "thank": thank.si("o-1")},
        depends_on={"ship": ["pay", "pick"], "thank": ["pay"]},
    )
    async with stem, stem.worker(concurrency=20).running():
        handle = await order.enqueue()
        for result in await handle.result(timeout="30s"):
            print(result)


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# paid o-1
# picked o-1
# shipped after: paid o-1, picked o-1
# thanked for o-1
