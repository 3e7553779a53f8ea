"""A task that fails is retried by the broker, later each time; `context.attempt` counts from 0.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import Event, Stem, TaskContext, TaskFailedError

stem = Stem()


class CardDeclinedError(Exception):
    """Trying again does not help."""


@stem.task(
    "payments.charge",
    queue="payments",
    max_retries=3,  # so at most four runs
    retry={"base": "200ms", "factor": 2, "max": "5m", "jitter": 0},
    never_retry_on=CardDeclinedError,
)
async def charge(context: TaskContext, order: str) -> str:
    """Charge a card through a gateway that is down at first."""
    if order == "stolen":
        raise CardDeclinedError("the bank refuses")
    if context.attempt < 2:
        raise ConnectionError("the gateway is down")
    return f"{order} is paid, with attempt {context.attempt}"


@stem.signals.task_retried.connect()
def tell(event: Event) -> None:
    """Print how long the broker waits. Outside of examples, leave some jitter in."""
    print(f"attempt {event.attempt} failed, the next one in {event.fields['delay']:g} s")


async def main() -> None:
    """Enqueue one task that succeeds in the end, and one that fails at once."""
    async with stem, stem.worker().running():
        handle = await charge.enqueue("order 42")
        print(await handle.result(timeout="10s"))
        hopeless = await charge.enqueue("stolen")
        try:
            await hopeless.result(timeout="10s")
        except TaskFailedError as error:
            print(f"{error.state}: {error.reason}")  # and it is in the dead-letter queue


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# attempt 0 failed, the next one in 0.2 s
# attempt 1 failed, the next one in 0.4 s
# order 42 is paid, with attempt 2
# failed: not-retryable
