"""The tasks: charge an order, send an e-mail."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pydantic import PositiveInt

from examples.orders import payments
from stem_amqp import Limit, Stem, TaskContext

log = logging.getLogger("examples.orders")

TOPOLOGY = Path(__file__).with_name("topology.yaml")
RELEASE = "ORDERS_RELEASE"
"""The variable that selects the release of this code: "1" has a bug."""

stem = Stem(topology=TOPOLOGY)


@stem.task(
    "orders.sync", rate_limit=Limit("45/s", per="worker"), expected=payments.CardDeclinedError
)
def sync_order(
    context: TaskContext,
    order_id: str,
    amount: PositiveInt = 1999,
    currency: str = "EUR",
    card: str = "visa",
) -> str:
    """Charge an order, and return its receipt.

    Args:
        context: the running task.
        order_id: the order's id, which is also the idempotency key for the gateway.
        amount: in the smallest unit of the currency.
        currency: such as ``EUR``.
        card: the card to charge.
    """
    try:
        charge = payments.charge(order_id, amount, currency, card)
    except payments.GatewayBusyError as busy:
        # The order did not fail: it runs later and keeps all its attempts
        context.snooze(busy.retry_after, "the gateway is busy")
    return f"{charge}: {price(amount, currency)}"


@stem.task("emails.send")
async def send_email(to: str, subject: str) -> None:
    """Simulate sending an e-mail."""
    log.info("e-mail to %s: %s", to, subject)


def price(amount: int, currency: str) -> str:
    """Format an amount for a receipt: an amount of 1999 in EUR is 19.99 EUR."""
    decimals = {"EUR": 2, "USD": 2}
    if os.environ.get(RELEASE) != "1":
        decimals["JPY"] = 0  # missing in release 1: the yen has no decimals
    return f"{amount / 10 ** decimals[currency]:.{decimals[currency]}f} {currency}"
