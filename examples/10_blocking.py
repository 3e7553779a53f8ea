"""Blocking calls: enqueue without an event loop, as in Django, Flask, a script or the Python prompt.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL. The worker runs in this process, so that
the example is complete; usually it is `stem-amqp worker`.
"""

import asyncio
import threading

from stem_amqp import Stem, StemError

stem = Stem()


@stem.task("orders.price", queue="orders")
def price(order: str, *, pieces: int = 1) -> int:
    """Calculate the price of an order."""
    return len(order) * pieces


def view() -> None:
    """Enqueue like a web framework's view, without an event loop."""
    handle = price.enqueue_blocking("order-42", pieces=2)
    print("by the task:", handle.result(timeout="10s"), handle.queue)

    with stem.blocking(timeout="5s") as producer:
        handle = producer.enqueue(price, "order-43")
        print("by a producer:", handle.result(timeout="10s"))
        named = producer.enqueue("orders.price", args={"order": "order-7"})
        print("by name:", named.result(timeout="10s"))
        many = producer.enqueue_many(price.prepare("book", pieces=n) for n in range(1, 4))
        print("many:", [one.result(timeout="10s") for one in many])


async def main() -> None:
    """Run a worker, and the view in a separate thread."""
    async with stem, stem.worker().running():
        await asyncio.to_thread(view)
        try:
            price.enqueue_blocking("order-44")
        except StemError as error:
            print(error)
    print("event loops in threads:", sum("blocking" in t.name for t in threading.enumerate()))


if __name__ == "__main__":
    asyncio.run(main())  # open connections are closed when the interpreter exits

# Output:
# by the task: 16 orders
# by a producer: 8
# by name: 7
# many: [4, 8, 12]
# an event loop runs in this thread, which a blocking call would block.
#   Do this: await task.enqueue(…)
# event loops in threads: 1
