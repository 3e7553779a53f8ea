"""The shop's tables, and connections to them."""

import os
from collections.abc import AsyncIterator

import asyncpg

from stem_amqp import Shared

TABLES = """
CREATE TABLE IF NOT EXISTS shop_orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item text NOT NULL,
    cents bigint NOT NULL,
    paid_at timestamptz
);
CREATE TABLE IF NOT EXISTS shop_payments (
    order_id bigint NOT NULL REFERENCES shop_orders,
    cents bigint NOT NULL
);
"""


async def open_pool() -> AsyncIterator[asyncpg.Pool]:
    """Provide connections for the lifetime of the process."""
    async with asyncpg.create_pool(os.environ["SHOP_DATABASE_URL"], min_size=1, max_size=5) as pool:
        yield pool


async def open_transaction(
    pool: asyncpg.Pool = Shared(open_pool),
) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Provide a connection in a transaction, which commits if the task succeeds, before it is settled."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection
