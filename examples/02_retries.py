"""A failed task is retried with growing delays, which the broker keeps; `context.attempt` counts from 0.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import Event, Stem, TaskContext, TaskFailedError

stem = Stem()


class CardDeclinedError(Exception):
    """A retry does not help."""


@stem.task(
    "payments.charge",
    queue="payments",
    max_retries=3,  # at most four runs
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
def print_retry(event: Event) -> None:
    """Print the delay of the retry. Keep some jitter outside examples."""
    print(f"attempt {event.attempt} failed, the next one in {event.fields['delay']:g} s")


async def main() -> None:
    """Enqueue a task that finally succeeds, and one that fails at once."""
    async with stem, stem.worker().running():
        handle = await charge.enqueue("order 42")
        print(await handle.result(timeout="10s"))
        hopeless = await charge.enqueue("stolen")
        try:
            await hopeless.result(timeout="10s")
        except TaskFailedError as error:
            print(f"{error.state}: {error.reason}")  # its message is in the dead-letter queue


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# attempt 0 failed, the next one in 0.2 s
# attempt 1 failed, the next one in 0.4 s
# order 42 is paid, with attempt 2
# failed: not-retryable
