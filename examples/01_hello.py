"""Define a task, enqueue it, and wait for its result.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL. The worker runs in this process; as a
separate process it is ``stem-amqp worker 01_hello:stem``.
"""

import asyncio

from stem_amqp import Stem

stem = Stem()


@stem.task("greetings.hello", queue="greetings")
async def hello(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


async def main() -> None:
    """Enqueue the task, and print its result."""
    print(await hello("nobody in particular"))  # a direct call of the function
    async with stem, stem.worker().running():
        handle = await hello.enqueue("world")
        print(await handle.result(timeout="10s"))


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# Hello, nobody in particular!
# Hello, world!
