"""The final check: every order is accounted for once, and every payment was made once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from examples.orders.gateway import Charge
from examples.orders.shop import Order
from stem_amqp import Reason, TaskRecord, TaskState
from stem_amqp.dead_letter import DeadLetter

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
PROBLEMS_SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The facts to check, each from its own source.

    Args:
        orders: from the shop.
        tasks: for each order the id of its last task, from the shop.
        corrected: orders that were enqueued again with valid arguments.
        records: records of the result backend by task id.
        letters: the messages in the dead-letter queue.
        ledger: the money that the gateway took.
        killed: the names of the workers that were killed. Such a worker may have published a dead letter
            without acknowledging its message, which RabbitMQ then delivered to another worker.
    """

    orders: Sequence[Order]
    tasks: Mapping[str, str]
    corrected: frozenset[str] = frozenset()
    records: Mapping[str, TaskRecord | None]
    letters: Sequence[DeadLetter]
    ledger: Sequence[Charge]
    killed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """The outcome of all orders.

    Args:
        paid: number of succeeded orders, by the way they succeeded.
        dead: number of dead letters, by reason and error.
        copies: number of dead letters of a killed worker whose task another worker ran again.
        problems: inconsistencies; empty if everything is accounted for.
    """

    paid: Mapping[str, int] = field(default_factory=dict)
    dead: Mapping[tuple[str, str], int] = field(default_factory=dict)
    copies: int = 0
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
    """Count the outcome of all orders.

    Args:
        facts: the facts to check.
    """
    copies = _copies(facts)
    facts = replace(facts, letters=[one for one in facts.letters if one not in copies])
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
        copies=len(copies),
        problems=[*_order_problems(facts), *_payment_problems(facts)],
    )


def _copies(facts: Facts) -> list[DeadLetter]:
    """Return the dead letters of killed workers whose task has another end too.

    Delivery is at least once: a worker that is killed between the confirm of a dead letter and the
    acknowledgement of the message leaves both.
    """
    ends = Counter(letter.id for letter in facts.letters)
    ends.update(
        task_id
        for task_id, record in facts.records.items()
        if record is not None and record.state is TaskState.SUCCEEDED
    )
    return [
        letter for letter in facts.letters if letter.worker in facts.killed and ends[letter.id] > 1
    ]


def _how(record: TaskRecord, *, corrected: bool) -> tuple[int, str]:
    """Return a sort key and how a task succeeded."""
    if record.replay:
        return 101, "replayed after the fix"
    if corrected:
        return 102, "corrected and enqueued again"
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
