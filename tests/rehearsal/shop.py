"""The application of the rehearsal: it reports to every tool, and its faults are files.

A fault lasts as long as the file with its name exists in the working directory.
"""

import asyncio
import os
import time
from pathlib import Path

from stem_amqp import Stem

if os.environ.get("REPORTS"):  # the processes that run or enqueue tasks
    from reports import set_up

    set_up()

stem = Stem()


@stem.task("orders.sync", queue="orders", ignore_result=True)
async def sync():
    """Succeed soon: the load."""
    await asyncio.sleep(0.01)


@stem.task("payments.charge", queue="payments", max_retries=0)
async def charge():
    """Wait for a dependency, which in the end closes the connection."""
    if Path("slow-bank").exists():
        while Path("slow-bank").exists():
            await asyncio.sleep(0.02)
        raise TimeoutError("the bank does not answer")


@stem.task("orders.fail", queue="orders", max_retries=2, retry={"base": "100ms", "jitter": 0})
async def fail():
    """Fail in each run."""
    raise ConnectionError("the ERP does not answer")


@stem.task("orders.price", queue="orders", max_retries=0, time_limit="1s")
async def price():
    """Block the event loop, and so exceed the time limit."""
    while Path("long-computation").exists():
        time.sleep(0.02)
    await asyncio.sleep(60)


@stem.task("orders.follow", queue="orders", max_retries=0)
async def follow():
    """Enqueue a task while the broker has an alarm."""
    while not Path("full-memory").exists():
        await asyncio.sleep(0.02)
    await sync.enqueue()
