"""The shop: it creates orders and enqueues them by the task's name, without the task's code."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stem_amqp import Call, Stem

TASK = "orders.sync"
SMALLEST = 10
"""Number of orders needed to have one of each kind."""


class Kind(StrEnum):
    """The kind of an order, which only the shop and the demo know."""

    PLAIN = "plain"
    INVALID = "invalid"
    """The shop's form did not validate it: the arguments are invalid."""
    YEN = "yen"
    """Paid in a currency for which release 1 cannot write a receipt."""
    DECLINED = "declined"
    """The bank refuses the card."""


PARTS = {Kind.INVALID: 0.012, Kind.YEN: 0.008, Kind.DECLINED: 0.005}
"""The fraction of orders of each kind; there is at least one of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """An order.

    Args:
        id: such as ``A-0042``.
        kind: its kind.
        right: the valid arguments.
        sent: the arguments that the shop sends.
    """

    id: str
    kind: Kind
    right: Mapping[str, Any]
    sent: Mapping[str, Any]

    @property
    def amount(self) -> int:
        """The price of the order."""
        return int(self.right["amount"])


def make_orders(count: int, seed: int) -> list[Order]:
    """Return orders of every kind, in random order.

    Args:
        count: number of orders, at least `SMALLEST`.
        seed: determines the orders.
    """
    dice = random.Random(seed)
    kinds = [kind for kind, part in PARTS.items() for _ in range(max(1, round(count * part)))]
    kinds += [Kind.PLAIN] * (count - len(kinds))
    dice.shuffle(kinds)
    return [_order(f"A-{number:04d}", kind, dice) for number, kind in enumerate(kinds, start=1)]


def _order(order_id: str, kind: Kind, dice: random.Random) -> Order:
    right: dict[str, Any] = {
        "order_id": order_id,
        "amount": dice.randrange(500, 25_000),
        "currency": "JPY" if kind is Kind.YEN else dice.choice(["EUR", "USD"]),
        "card": "declined" if kind is Kind.DECLINED else dice.choice(["visa", "mastercard"]),
    }
    sent = right
    if kind is Kind.INVALID:
        sent = right | {"amount": dice.choice(["nineteen", -right["amount"], 0, None])}
    return Order(id=order_id, kind=kind, right=right, sent=sent)


def calls(shop: Stem, orders: Iterable[Order]) -> Iterable[Call]:
    """Yield the calls that enqueue orders, with the order's id as metadata."""
    for order in orders:
        yield shop.prepare(TASK, order.sent, meta={"order": order.id})


def corrections(shop: Stem, orders: Sequence[Order], replaces: Mapping[str, str]) -> Iterable[Call]:
    """Yield the calls that enqueue corrected orders.

    Args:
        shop: the shop.
        orders: the invalid orders.
        replaces: for each order the id of its first task, which is a dead letter.
    """
    for order in orders:
        meta = {"order": order.id, "replaces": replaces[order.id]}
        yield shop.prepare(TASK, order.right, meta=meta)
