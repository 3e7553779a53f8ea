"""The demo's account: it closes only if every order and every payment exists exactly once."""

from dataclasses import replace

import pytest

from examples.orders.account import Facts, take_account
from examples.orders.gateway import Charge
from examples.orders.shop import Kind, make_orders
from stem_amqp import TaskRecord, TaskState
from stem_amqp.dead_letter import DeadLetter

ORDERS = make_orders(10, seed=1)
TASKS = {order.id: f"task-{order.id}" for order in ORDERS}
DECLINED = next(order for order in ORDERS if order.kind is Kind.DECLINED)
PLAIN = next(order for order in ORDERS if order.kind is Kind.PLAIN)


def record(order, state=TaskState.SUCCEEDED, **values):
    """Return what a backend knows of an order's task."""
    fields = {"attempt": 0, "replay": 0, "created_at": 0.0, "updated_at": 0.0} | values
    return TaskRecord(
        task_id=TASKS[order.id], task="orders.sync", queue="orders", state=state, **fields
    )


def letter(task_id, reason="not-retryable"):
    """Return a dead letter of a task."""
    return DeadLetter(position=1, id=task_id, task="orders.sync", reason=reason, error="no")


def charge(order, **values):
    """Return the payment of an order."""
    fields = {"amount": order.amount, "currency": order.right["currency"]} | values
    return Charge(id="ch_1", key=order.id, **fields)


def facts(**values):
    """Return facts that close: all orders succeeded except one, whose card was declined."""
    records = {TASKS[order.id]: record(order) for order in ORDERS}
    records[TASKS[DECLINED.id]] = record(DECLINED, TaskState.FAILED)
    known = {
        "orders": ORDERS,
        "tasks": TASKS,
        "records": records,
        "letters": [letter(TASKS[DECLINED.id])],
        "ledger": [charge(order) for order in ORDERS if order is not DECLINED],
    }
    return Facts(**known | values)


def problem(**values):
    """Return the only problem of an account."""
    (only,) = take_account(facts(**values)).problems
    return only


def test_an_account_with_everything_once_is_balanced():
    """Succeeded and dead-lettered orders add up to all orders."""
    account = take_account(facts())
    assert account.problems == []
    assert (account.succeeded, account.dead_letters, account.total) == (9, 1, 10)
    assert account.paid == {"at the first attempt": 9}
    assert account.dead == {("not-retryable", "no"): 1}


def test_an_account_says_how_an_order_came_to_succeed():
    """Attempts, the replay and the correction are listed in this order."""
    first, second, third, *_ = (order for order in ORDERS if order.kind is Kind.PLAIN)
    known = facts()
    records = known.records | {
        TASKS[first.id]: record(first, attempt=2),
        TASKS[second.id]: record(second, replay=1),
    }
    account = take_account(replace(known, records=records, corrected=frozenset({third.id})))
    assert account.problems == []
    assert list(account.paid.items()) == [
        ("at the first attempt", 6),
        ("at the third attempt", 1),
        ("replayed after the fix", 1),
        ("corrected and enqueued again", 1),
    ]


def test_an_order_in_no_place_is_a_problem():
    """The problem names the lost order."""
    records = facts().records | {TASKS[PLAIN.id]: None}
    problems = take_account(facts(records=records)).problems
    assert f"{PLAIN.id} is in 0 places instead of one: state None" in problems


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.FAILED])
def test_an_order_that_has_not_ended_is_a_problem(state):
    """Without a success or a dead letter the order has not ended."""
    records = facts().records | {TASKS[PLAIN.id]: record(PLAIN, state)}
    problems = take_account(facts(records=records)).problems
    assert any(one.startswith(f"{PLAIN.id} is in 0 places") for one in problems)


def test_an_order_in_two_places_is_a_problem():
    """A success with a dead letter counts twice, and so do two dead letters of one order."""
    both = [*facts().letters, letter(TASKS[PLAIN.id])]
    assert problem(letters=both).startswith(f"{PLAIN.id} is in 2 places")
    twice = [letter(TASKS[DECLINED.id]), letter(TASKS[DECLINED.id])]
    assert problem(letters=twice).startswith(f"{DECLINED.id} is in 2 places")


def test_a_dead_letter_of_a_killed_worker_may_have_a_copy():
    """The worker may have been killed between the confirm and the acknowledgement."""
    killed = frozenset({"worker-2"})
    own = replace(letter(TASKS[DECLINED.id]), worker="worker-2")
    copied = [own, replace(own, worker="worker-1")]
    account = take_account(facts(letters=copied, killed=killed))
    assert (account.copies, account.total, account.problems) == (1, 10, [])
    assert take_account(facts(letters=[own], killed=killed)).copies == 0
    of_success = [*facts().letters, replace(letter(TASKS[PLAIN.id]), worker="worker-2")]
    account = take_account(facts(letters=of_success, killed=killed))
    assert (account.copies, account.total, account.problems) == (1, 10, [])


def test_a_record_that_contradicts_the_dead_letter_is_a_problem():
    """The backend must have the state failed for each dead letter."""
    records = facts().records | {TASKS[DECLINED.id]: record(DECLINED, TaskState.RETRYING)}
    assert "but its record says retrying" in problem(records=records)


def test_an_order_that_was_never_enqueued_is_a_problem():
    """Every result needs an order that was enqueued."""
    tasks = {order: task for order, task in TASKS.items() if order != PLAIN.id}
    assert f"{PLAIN.id} was never enqueued" in take_account(facts(tasks=tasks)).problems


def test_a_dead_letter_of_no_order_is_a_problem():
    """A dead letter without an order is not accepted."""
    letters = [*facts().letters, letter("nobody")]
    assert "a dead letter of no order" in problem(letters=letters)


def test_a_payment_made_twice_is_a_problem():
    """Payments are counted in the ledger."""
    ledger = [*facts().ledger, charge(PLAIN)]
    assert problem(ledger=ledger) == f"{PLAIN.id} was charged 2 times"


def test_a_missing_payment_is_a_problem():
    """An order cannot succeed without its payment."""
    ledger = [one for one in facts().ledger if one.key != PLAIN.id]
    assert problem(ledger=ledger) == f"{PLAIN.id} succeeded, but was never charged"


def test_a_wrong_payment_is_a_problem():
    """Amount and currency must be those of the order."""
    others = [one for one in facts().ledger if one.key != PLAIN.id]
    wrong = charge(PLAIN, amount=PLAIN.amount + 1)
    assert f"{PLAIN.id} was charged" in problem(ledger=[*others, wrong])


def test_a_payment_for_a_dead_letter_needs_a_reason():
    """Only an order that ran out of retries may have been charged before it failed."""
    ledger = [*facts().ledger, charge(DECLINED)]
    assert problem(ledger=ledger) == f"{DECLINED.id} was charged, but did not succeed"
    exhausted = [letter(TASKS[DECLINED.id], "retries-exhausted")]
    assert take_account(facts(ledger=ledger, letters=exhausted)).problems == []


def test_a_payment_for_no_order_is_a_problem():
    """The gateway charged an amount without an order."""
    stray = Charge(id="ch_2", key="Z-1", amount=1, currency="EUR")
    assert problem(ledger=[*facts().ledger, stray]) == "Z-1 was charged, and is no order"
