"""Dependencies: a connection that all tasks of a worker share, and a transaction around each task.

A task declares its dependencies in its signature. They are opened before the run and always closed
after it. Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio
import sqlite3
from collections.abc import Iterator

from stem_amqp import Depends, Shared, Stem, TaskFailedError

stem = Stem()


def open_database() -> Iterator[sqlite3.Connection]:
    """Open the database once per worker process, and close it when the worker stops."""
    print("opened")
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute("CREATE TABLE payments (order_id INTEGER)")
    yield database
    print("closed")
    database.close()


def open_transaction(
    database: sqlite3.Connection = Shared(open_database),
) -> Iterator[sqlite3.Connection]:
    """Commit if the task succeeds, and roll back if it raises."""
    with database:
        database.execute("BEGIN")
        yield database


@stem.task("payments.book", queue="payments", max_retries=0)
async def book(order_id: int, *, database: sqlite3.Connection = Depends(open_transaction)) -> int:
    """Book a payment, and return the number of payments."""
    database.execute("INSERT INTO payments VALUES (?)", (order_id,))
    if order_id == 2:
        raise ValueError("the bank says no")
    (count,) = database.execute("SELECT count(*) FROM payments").fetchone()
    return int(count)


async def main() -> None:
    """Book three payments, of which the second fails."""
    async with stem, stem.worker().running():
        for order_id in (1, 2, 3):
            handle = await book.enqueue(order_id)
            try:
                print(f"order {order_id} is booked, payments: {await handle.result(timeout='10s')}")
            except TaskFailedError:
                print(f"order {order_id} is rolled back")


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# opened
# order 1 is booked, payments: 1
# order 2 is rolled back
# order 3 is booked, payments: 2
# closed
