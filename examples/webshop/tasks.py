"""The shop's tasks. The web server and the nightly script enqueue them, workers run them."""

import logging

import asyncpg

from examples.webshop.database import open_transaction
from stem_amqp import Depends, Stem

log = logging.getLogger(__name__)
stem = Stem()


@stem.task("payments.charge", queue="payments", max_retries=5)
async def charge(
    order_id: int,
    *,
    connection: asyncpg.pool.PoolConnectionProxy = Depends(open_transaction),
) -> None:
    """Charge an order. A second run charges nothing, since the transaction has set `paid_at`."""
    cents = await connection.fetchval(
        "UPDATE shop_orders SET paid_at = now() WHERE id = $1 AND paid_at IS NULL RETURNING cents",
        order_id,
    )
    if cents is None:
        log.info("order %s is paid already", order_id)
        return
    await connection.execute("INSERT INTO shop_payments VALUES ($1, $2)", order_id, cents)


@stem.task("reports.turnover", queue="reports")
async def turnover(
    *, connection: asyncpg.pool.PoolConnectionProxy = Depends(open_transaction)
) -> dict[str, int]:
    """Return the number and the sum of the payments."""
    row = await connection.fetchrow(
        "SELECT count(*) AS payments, coalesce(sum(cents), 0)::bigint AS cents FROM shop_payments"
    )
    assert row is not None  # an aggregate always returns one row
    return dict(row)
