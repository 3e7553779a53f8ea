"""A worker with nothing but an aiormq channel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import aiormq

from bench import work
from bench.apps.hand_written import TASKS, run, until_stopped

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage


async def _handle(message: DeliveredMessage) -> None:
    body = json.loads(message.body)
    await TASKS[body["task"]](body["number"])
    assert message.delivery_tag is not None
    await message.channel.basic_ack(message.delivery_tag)


async def _main() -> None:
    connection = await aiormq.connect(work.RUN.url)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=work.RUN.concurrency)
    consuming = await channel.basic_consume(work.RUN.name, _handle)
    await until_stopped()
    if consuming.consumer_tag is not None:
        await channel.basic_cancel(consuming.consumer_tag)
    await connection.close()


if __name__ == "__main__":
    run(_main())
