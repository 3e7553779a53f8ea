"""The tasks: take the money for an order, send an e-mail."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pydantic import PositiveInt

from examples.orders import payments
from stem_amqp import Stem, TaskContext

log = logging.getLogger("examples.orders")

TOPOLOGY = Path(__file__).with_name("topology.yaml")
RELEASE = "ORDERS_RELEASE"
"""The variable that says which release of this code runs: "1" has a bug."""

stem = Stem(topology=TOPOLOGY)


@stem.task("orders.sync", rate_limit="45/s", never_retry_on=payments.CardDeclinedError)
def sync_order(
    context: TaskContext,
    order_id: str,
    amount: PositiveInt = 1999,
    currency: str = "EUR",
    card: str = "visa",
) -> str:
    """Take the money for an order, and return its receipt.

    Args:
        context: the running task.
        order_id: the order, and the key under which the gateway takes the money once.
        amount: in the smallest unit of the currency.
        currency: such as ``EUR``.
        card: the card to charge.
    """
    try:
        charge = payments.charge(order_id, amount, currency, card)
    except payments.GatewayBusyError as busy:
        # Not the order's fault: it comes back later, and keeps all its attempts
        context.snooze(busy.retry_after, "the gateway is busy")
    return f"{charge}: {price(amount, currency)}"


@stem.task("emails.send")
async def send_email(to: str, subject: str) -> None:
    """Pretend to send an e-mail."""
    log.info("e-mail to %s: %s", to, subject)


def price(amount: int, currency: str) -> str:
    """Write an amount for a receipt: 1999 EUR are 19.99 EUR."""
    decimals = {"EUR": 2, "USD": 2}
    if os.environ.get(RELEASE) != "1":
        decimals["JPY"] = 0  # forgotten in release 1: a yen has no cents
    return f"{amount / 10 ** decimals[currency]:.{decimals[currency]}f} {currency}"
