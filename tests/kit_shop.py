"""A small shop, written like a user's module: an application with tasks, and code that enqueues."""

import uuid
from datetime import UTC, datetime, timedelta

from stem_amqp import Stem, TaskContext

HOURLY = {"base": "1h", "max": "1h", "jitter": 0}


class Shop:
    """A new application for each test, with a record of what its tasks did."""

    def __init__(self, **settings):
        self.stem = Stem(broker_url="amqp://nobody@nowhere.invalid/", **settings)
        self.done = []
        self.pay = self.stem.task("shop.pay", retry=HOURLY, max_retries=2)(self._pay)
        self.mail = self.stem.task("shop.mail", queue="mails")(self._mail)
        self.ship = self.stem.task("shop.ship", unique="1h", expires="1d")(self._ship)

    async def _pay(
        self, ctx: TaskContext, order: uuid.UUID, amount: int = 1, at: datetime | None = None
    ) -> int:
        self.done.append(("pay", amount, ctx.attempt))
        if amount < 0:
            raise ValueError("a negative amount")
        await self.mail.enqueue("receipt", queue="letterbox")
        return amount

    def _mail(self, text: str, queue: str = "") -> None:
        self.done.append(("mail", text))

    def _ship(self, order: int) -> str:
        self.done.append(("ship", order))
        return "shipped"

    async def checkout(self, amount=1):
        """Enqueue the tasks of an order: the code under test."""
        return await self.pay.options(meta={"tenant": "a"}).enqueue(ORDER, amount=amount)


ORDER = uuid.UUID(int=7)
TOMORROW = datetime.now(UTC) + timedelta(days=1)
