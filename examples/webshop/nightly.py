"""The nightly script, in blocking Python: charges unpaid orders, and prints the turnover."""

import asyncio
import os

import asyncpg

from examples.webshop.tasks import charge, stem, turnover


async def unpaid() -> list[int]:
    """Return the ids of unpaid orders."""
    connection = await asyncpg.connect(os.environ["SHOP_DATABASE_URL"])
    try:
        rows = await connection.fetch("SELECT id FROM shop_orders WHERE paid_at IS NULL")
    finally:
        await connection.close()
    return [row["id"] for row in rows]


def main() -> None:
    """Enqueue without an event loop, and wait for the results."""
    with stem.blocking() as producer:
        calls = [
            charge.options(meta={"channel": "nightly"}).prepare(id_)
            for id_ in asyncio.run(unpaid())
        ]
        forgotten = producer.enqueue_many(calls)
        for handle in forgotten:
            handle.result(timeout="30s")
        sums = producer.enqueue(turnover).result(timeout="30s")
    print(
        f"{len(forgotten)} charged now; {sums['payments']} payments, {sums['cents'] / 100:.2f} EUR"
    )


if __name__ == "__main__":
    main()
