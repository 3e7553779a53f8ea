"""The web server: stores orders, and enqueues their payment."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, PositiveInt

from examples.webshop.database import TABLES
from examples.webshop.tasks import charge, stem


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to RabbitMQ and PostgreSQL for the lifetime of the server."""
    url = os.environ["SHOP_DATABASE_URL"]
    async with stem, asyncpg.create_pool(url, min_size=1, max_size=5) as pool:
        await pool.execute(TABLES)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """The body of a customer's request."""

    item: str
    cents: PositiveInt


@app.post("/orders", status_code=202)
async def take_order(order: Order) -> dict[str, int | str]:
    """Store an order, and enqueue its payment."""
    order_id = await app.state.pool.fetchval(
        "INSERT INTO shop_orders (item, cents) VALUES ($1, $2) RETURNING id",
        order.item,
        order.cents,
    )
    # The row is committed: if the server dies here, the nightly script finds the order.
    handle = await charge.options(meta={"channel": "web"}).enqueue(order_id)
    return {"order": order_id, "task": handle.id}


@app.get("/orders/{order_id}")
async def show_order(order_id: int) -> dict[str, int | bool]:
    """Return whether an order is paid."""
    paid: bool | None = await app.state.pool.fetchval(
        "SELECT paid_at IS NOT NULL FROM shop_orders WHERE id = $1", order_id
    )
    if paid is None:
        raise HTTPException(404)
    return {"order": order_id, "paid": paid}


@app.get("/tasks/{task_id}")
async def show_task(task_id: str) -> dict[str, str]:
    """Return the state of a task, by the id from the answer to an order."""
    record = await stem.handle(task_id).status()
    if record is None:
        raise HTTPException(404)
    return {"task": task_id, "state": record.state}
