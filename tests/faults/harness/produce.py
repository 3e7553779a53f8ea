"""A producer in a separate process: it enqueues numbered tasks at a constant rate.

    python produce.py FIRST COUNT RATE DELAY

It writes each number into the book ``asked`` before the task is enqueued and into ``acknowledged``
once ``enqueue`` has returned, and the errors of ``enqueue`` into ``refused``. SIGTERM ends it after
the calls in progress.
"""

import asyncio
import os
import signal
import sys

from application import book, note, stem

from stem_amqp.errors import StemError

IN_FLIGHT = 50


async def produce(first, count, rate, delay):
    """Enqueue ``count`` tasks, numbered from ``first``, at ``rate`` per second."""
    asked, acknowledged, refused = book("asked"), book("acknowledged"), book("refused")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    parent = os.getppid()  # the producer ends when the test's process has ended
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
