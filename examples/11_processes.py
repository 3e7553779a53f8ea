"""CPU-bound work in a pool of processes: a killed process affects only its own task.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio
import math
import os
import signal

from stem_amqp import Stem, TaskContext

stem = Stem()  # at the top level of a module, so that the processes can import it
worker = os.environ.setdefault("EXAMPLE_WORKER", str(os.getpid()))


@stem.task("numbers.primes", queue="numbers", executor="process")
def count_primes(below: int) -> int:
    """Count prime numbers, which occupies a core."""
    return sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2, below))


@stem.task(
    "numbers.fragile",
    queue="numbers",
    executor="process",
    time_limit="30s",
    retry={"base": "100ms", "jitter": 0},
)
def fragile(ctx: TaskContext) -> str:
    """Kill the process at the first attempt, like a bug in a C library."""
    if ctx.attempt == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    elsewhere = str(os.getpid()) != worker
    return f"attempt {ctx.attempt}, in a process of the pool: {elsewhere}"


async def main() -> None:
    """Enqueue both tasks, and run them."""
    async with stem:
        primes = await count_primes.enqueue(20_000)
        died = await fragile.enqueue()
        async with stem.worker().running():
            print(await primes.result(timeout="60s"), "primes")
            print(await died.result(timeout="60s"))


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# 2262 primes
# attempt 1, in a process of the pool: True
