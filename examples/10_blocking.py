"""Blocking: enqueue where nothing can be awaited, as in Django, Flask, a script or the prompt.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL. The worker runs in this process here, so
that the example is whole; usually it is `stem-amqp worker`.
"""

import asyncio
import threading

from stem_amqp import Stem, StemError

stem = Stem()


@stem.task("orders.price", queue="orders")
def price(order: str, *, pieces: int = 1) -> int:
    """Work out what an order costs."""
    return len(order) * pieces


def view() -> None:
    """Do what a web framework's view does: no event loop is in sight."""
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
    """Run a worker, and the view in a thread of its own."""
    async with stem, stem.worker().running():
        await asyncio.to_thread(view)
        try:
            price.enqueue_blocking("order-44")
        except StemError as error:
            print(error)
    print("event loops in threads:", sum("blocking" in t.name for t in threading.enumerate()))


if __name__ == "__main__":
    asyncio.run(main())  # what is still open is closed as the interpreter exits

# Output:
# by the task: 16 orders
# by a producer: 8
# by name: 7
# many: [4, 8, 12]
# an event loop runs in this thread, and a blocking call would stop all that it does.
#   Do this: await task.enqueue(…)
# event loops in threads: 1
