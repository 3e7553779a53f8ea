"""A worker with nothing but aio-pika."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import aio_pika

from bench import work
from bench.apps.hand_written import TASKS, run, until_stopped

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage


async def _handle(message: AbstractIncomingMessage) -> None:
    async with message.process():
        body = json.loads(message.body)
        await TASKS[body["task"]](body["number"])


async def _main() -> None:
    async with await aio_pika.connect_robust(work.RUN.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=work.RUN.concurrency)
        queue = await channel.get_queue(work.RUN.name)
        tag = await queue.consume(_handle)
        await until_stopped()
        await queue.cancel(tag)


if __name__ == "__main__":
    run(_main())
