"""The account: every order exactly once, and every payment exactly once. Checked, not believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from examples.orders.gateway import Charge
from examples.orders.shop import Order
from stem_amqp import Reason, TaskRecord, TaskState
from stem_amqp.dead_letter import DeadLetter

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
PROBLEMS_SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is to be accounted for, each from where it is kept.

    Args:
        orders: from the shop.
        tasks: order to the id of the task that is to end it, from the shop.
        corrected: orders that were enqueued anew with right arguments.
        records: task id to what the result backend knows of it.
        letters: what lies in the dead-letter queue.
        ledger: the money that the gateway took.
    """

    orders: Sequence[Order]
    tasks: Mapping[str, str]
    corrected: frozenset[str] = frozenset()
    records: Mapping[str, TaskRecord | None]
    letters: Sequence[DeadLetter]
    ledger: Sequence[Charge]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """An account of all orders.

    Args:
        paid: how an order came to succeed, and the number of those orders.
        dead: reason and error of dead letters, and their number.
        problems: what does not add up; nothing if the account closes.
    """

    paid: Mapping[str, int] = field(default_factory=dict)
    dead: Mapping[tuple[str, str], int] = field(default_factory=dict)
    problems: Sequence[str] = ()

    @property
    def succeeded(self) -> int:
        """The orders that succeeded."""
        return sum(self.paid.values())

    @property
    def dead_letters(self) -> int:
        """The orders that are dead letters."""
        return sum(self.dead.values())

    @property
    def total(self) -> int:
        """The orders that are accounted for."""
        return self.succeeded + self.dead_letters


def take_account(facts: Facts) -> Account:
    """Take the account of all orders.

    Args:
        facts: what is to be accounted for.
    """
    letters = {letter.id: letter for letter in facts.letters}
    paid: Counter[tuple[int, str]] = Counter()
    dead: Counter[tuple[str, str]] = Counter()
    for order in facts.orders:
        task_id = facts.tasks.get(order.id, "")
        record, letter = facts.records.get(task_id), letters.get(task_id)
        if record is not None and record.state is TaskState.SUCCEEDED:
            paid[_how(record, corrected=order.id in facts.corrected)] += 1
        elif letter is not None:
            dead[letter.reason, letter.error or ""] += 1
    return Account(
        paid={words: count for (_, words), count in sorted(paid.items())},
        dead=dict(sorted(dead.items())),
        problems=[*_order_problems(facts), *_payment_problems(facts)],
    )


def _how(record: TaskRecord, *, corrected: bool) -> tuple[int, str]:
    """Return how a task succeeded, with a number to sort by."""
    if record.replay:
        return 101, "replayed after the fix"
    if corrected:
        return 102, "corrected and enqueued anew"
    return record.attempt, f"at the {ORDINALS[min(record.attempt, len(ORDINALS) - 1)]} attempt"


def _order_problems(facts: Facts) -> Iterator[str]:
    letters = Counter(letter.id for letter in facts.letters)
    ours = set(facts.tasks.values())
    for order in facts.orders:
        task_id = facts.tasks.get(order.id)
        if task_id is None:
            yield f"{order.id} was never enqueued"
            continue
        record = facts.records.get(task_id)
        state = record.state if record is not None else None
        places = letters[task_id] + (state is TaskState.SUCCEEDED)
        if places != 1:
            yield f"{order.id} is in {places} places instead of one: state {state}"
        elif letters[task_id] and state is not TaskState.FAILED:
            yield f"{order.id} is a dead letter, but its record says {state}"
    for letter in facts.letters:
        if letter.id not in ours:
            yield f"there is a dead letter of no order: {letter.task} {letter.id}"


def _payment_problems(facts: Facts) -> Iterator[str]:
    charges = Counter(charge.key for charge in facts.ledger)
    money = {charge.key: (charge.amount, charge.currency) for charge in facts.ledger}
    letters = {letter.id: letter for letter in facts.letters}
    for order in facts.orders:
        task_id = facts.tasks.get(order.id, "")
        record, letter = facts.records.get(task_id), letters.get(task_id)
        count = charges.pop(order.id, 0)
        if count > 1:
            yield f"{order.id} was charged {count} times"
        if count and money[order.id] != (order.amount, order.right["currency"]):
            yield f"{order.id} was charged {money[order.id]} instead of {order.amount}"
        succeeded = record is not None and record.state is TaskState.SUCCEEDED
        if succeeded and not count:
            yield f"{order.id} succeeded, but was never charged"
        # An order that fails again and again may have been charged before it failed
        may_be_charged = succeeded or (
            letter is not None and letter.reason == Reason.RETRIES_EXHAUSTED
        )
        if count and not may_be_charged:
            yield f"{order.id} was charged, but did not succeed"
    for key in charges:
        yield f"{key} was charged, and is no order"
