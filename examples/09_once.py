"""Unique tasks and guards: an equal call is not enqueued again, and a retry does not charge again.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL. The result backend stores the keys:
redis://, postgresql:// or sqlite:///; memory:// suffices within one process.
"""

import asyncio

from stem_amqp import DuplicateTaskError, Stem, TaskContext, Unique

stem = Stem(backend_url="memory://")


@stem.task(
    "orders.pay",
    queue="orders",
    unique=Unique(by=("order",), window="1h"),
    retry={"base": "100ms", "jitter": 0},
)
async def pay(ctx: TaskContext, order: str, note: str = "") -> str:
    """Charge the card, then fail: the retry gets the receipt of the first run."""

    async def charge() -> dict[str, str]:
        print(f"charging for {order} {note}")
        return {"receipt": f"R-{order}"}

    paid = await ctx.once("charge").run(charge)
    async with ctx.once("mail") as first:
        if first:  # Python always runs the body of a `with`, so check it
            print("sending the mail")
    if ctx.attempt == 0:
        raise ConnectionError("the warehouse does not answer")
    return f"{paid['receipt']}, with attempt {ctx.attempt}"


async def main() -> None:
    """Enqueue one order three times."""
    async with stem:
        first = await pay.enqueue("42", note="by click")
        second = await pay.enqueue("42", note="by reload")
        print("the same task:", first.id == second.id, second.existing)
        async with stem.worker().running():
            print(await second.result(timeout="10s"))
        strict = Unique(by=("order",), window="1h", second="error")
        try:
            await pay.options(unique=strict).enqueue("42", note="by script")
        except DuplicateTaskError as error:
            print("refused:", error.task, error.task_id == first.id)


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# the same task: True True
# charging for 42 by click
# sending the mail
# R-42, with attempt 1
# refused: orders.pay True
