"""FastAPI: connections for the lifetime of the application, and tasks with the id of their request.

Needs `pip install 'stem-amqp[fastapi]' httpx`, and a RabbitMQ on localhost or the one of STEM_BROKER_URL.
Client, application and worker run in one process here; usually the last two are `uvicorn shop:app` and
`stem-amqp worker shop:stem`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from stem_amqp import Stem, TaskContext
from stem_amqp.integrations.fastapi import RequestIds, StemDependency, lifespan, readiness
from stem_amqp.integrations.request_id import CarryRequestId

stem = Stem(middleware=[CarryRequestId()])


@stem.task("orders.sync", queue="orders")
async def sync_order(ctx: TaskContext, order: str) -> str:
    """Return the order and the id of its request."""
    return f"{order}, of request {ctx.meta['request_id']}"


@asynccontextmanager
async def own_lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open the application's other resources: here, a worker."""
    async with stem.worker().running():
        yield


app = FastAPI(lifespan=lifespan(stem, also=own_lifespan))
app.add_middleware(RequestIds)
app.add_api_route("/ready", readiness(stem, require_consumers=["orders"]))


@app.post("/orders/{order}")
async def create(order: str) -> dict[str, str]:
    """Enqueue a task."""
    return {"task": (await sync_order.enqueue(order)).id}


@app.get("/tasks/{task_id}")
async def result(task_id: str, stem: StemDependency) -> str:
    """Wait for the result of a task."""
    found: str = await stem.handle(task_id).result(timeout="10s")
    return found


async def main() -> None:
    """Start the application, and send it requests."""
    transport = ASGITransport(app)
    async with app.router.lifespan_context(app), AsyncClient(transport=transport) as client:
        answer = await client.get("http://shop/ready")
        print(answer.status_code, answer.json()["checks"])
        headers = {"X-Request-ID": "request-7"}
        created = await client.post("http://shop/orders/order-42", headers=headers)
        print(created.headers["X-Request-ID"])
        print((await client.get(f"http://shop/tasks/{created.json()['task']}")).json())


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# 200 {'broker': True, 'resources': True, 'topology': True, 'consumers': True, 'unroutable': True, 'dead-letters': True, 'backend': True}
# request-7
# order-42, of request request-7
