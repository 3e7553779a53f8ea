"""The application: tasks, and code that enqueues them. It contains nothing for tests."""

from stem_amqp import Stem, TaskContext

stem = Stem()
receipts: list[str] = []


class ClosedError(Exception):
    """The bank is closed."""


class Bank:
    """Simulates a payment service."""

    def __init__(self) -> None:
        self.is_open = True
        self.charged: dict[str, int] = {}

    def charge(self, order: str, cents: int) -> None:
        """Charge an order, or raise."""
        if not self.is_open:
            raise ClosedError
        self.charged[order] = self.charged.get(order, 0) + cents


bank = Bank()


@stem.task("payments.charge", retry={"base": "1h", "max": "1h", "jitter": 0}, max_retries=2)
async def charge(context: TaskContext, order: str, cents: int) -> str:
    """Charge an order once, and send its receipt."""
    async with context.once("charge") as first:
        if first:
            bank.charge(order, cents)
    await send_receipt.enqueue(order)
    return f"charged {order}"


@stem.task("mails.receipt", queue="mails")
def send_receipt(order: str) -> None:
    """Send a receipt."""
    receipts.append(order)


async def check_out(order: str, cents: int) -> None:
    """Charge an order now, and ask its customer for a review in a week."""
    await charge.options(meta={"channel": "web"}).enqueue(order, cents)
    await stem.enqueue("reviews.ask", {"order": order}, delay="7d")


def take_by_phone(order: str, cents: int) -> None:
    """Charge an order without an event loop."""
    charge.enqueue_blocking(order, cents)
