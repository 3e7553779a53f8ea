"""A producer as a process of its own: numbered tasks at a steady pace, each written down twice.

    python produce.py FIRST COUNT RATE DELAY

Into ``asked`` before it is enqueued, into ``acknowledged`` once ``enqueue`` has returned; what
``enqueue`` raised goes into ``refused``. SIGTERM ends it: what is under way is finished first.
"""

import asyncio
import os
import signal
import sys

from application import book, note, stem

from stem_amqp.errors import StemError

IN_FLIGHT = 50


async def produce(first, count, rate, delay):
    """Enqueue so many tasks, a number for each, so many a second."""
    asked, acknowledged, refused = book("asked"), book("acknowledged"), book("refused")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    parent = os.getppid()  # a producer whose test is gone ends, too
    slots = asyncio.Semaphore(IN_FLIGHT)
    call = note.options(delay=delay) if delay else note
    loop = asyncio.get_running_loop()

    async def one(number):
        try:
            asked(number)
            await call.enqueue(number)
            acknowledged(number)
        except StemError as error:
            refused(f"{number} {type(error).__name__}")
        finally:
            slots.release()

    async with stem, asyncio.TaskGroup() as group:
        began = loop.time()
        for number in range(first, first + count):
            await slots.acquire()
            if stopping.is_set() or os.getppid() != parent:
                break
            group.create_task(one(number))
            due = began + (number - first + 1) / rate
            await asyncio.sleep(max(0, due - loop.time()))


if __name__ == "__main__":
    first, count, rate, delay = sys.argv[1:]
    asyncio.run(produce(int(first), int(count), float(rate), float(delay)))
