"""The chapters of the demo: work, and repair."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from examples.orders.account import Account, Facts, take_account
from examples.orders.board import DEAD, SUCCEEDED, Board
from examples.orders.crew import Crew, ProcessCrew
from examples.orders.events import RUNNING
from examples.orders.gateway import Gateway
from examples.orders.pages import show_account, show_heading
from examples.orders.shop import Order, calls, corrections
from stem_amqp import Call, Reason, Stem, StemError, TaskFailedError, TaskHandle
from stem_amqp.dead_letter import DeadLetters, Selection
from stem_amqp.durations import Rate

QUEUE = "orders"
PATIENCE = 180.0
"""Longest time of a chapter, in seconds."""
KILL_AT = 0.3
"""Fraction of the orders that are completed when a worker is killed."""
REPLAYS = 3
"""Highest number of replays: the gateway may fail an order again."""
RATE = Rate(count=20, period=1.0)


class Steps:
    """Runs the chapters: work, check, repair, check.

    Args:
        orders: the orders to enqueue.
        shop: the application that enqueues orders, without the tasks' code.
        gateway: the payment gateway.
        board: shows the progress.
        crew: the workers.
    """

    def __init__(
        self,
        orders: Sequence[Order],
        *,
        shop: Stem,
        gateway: Gateway,
        board: Board,
        crew: Crew,
    ) -> None:
        self._console = board.console
        self._shop = shop
        self._gateway = gateway
        self._board = board
        self._crew = crew
        self._letters = DeadLetters(shop, QUEUE)
        self._orders = orders
        self._tasks: dict[str, str] = {}
        self._ended = 0
        self._underway = asyncio.Event()
        self._corrected: frozenset[str] = frozenset()
        self._killed: frozenset[str] = frozenset()

    async def run(self) -> bool:
        """Run all chapters, and return whether both checks succeed."""
        show_heading(
            self._console,
            "1  Work",
            "The shop enqueues its orders. Some are invalid, some cards are declined, and release"
            " 1 of the task has a bug: it cannot write a receipt in yen. Retries do not help"
            " those; all others succeed after some retries.",
        )
        await self._crew.start("1")
        await self._work()
        first = await self._account()
        show_heading(
            self._console,
            "2  Repair",
            "Release 2 is deployed. Invalid orders are corrected and enqueued again, and tasks"
            " without retries left are replayed from the dead-letter queue. Declined cards stay in it.",
        )
        await self._repair()
        last = await self._account()
        return not first.problems and not last.problems

    async def _work(self) -> None:
        self._board.note("the workers of release 1 are ready")
        async with asyncio.timeout(PATIENCE), self._board.live():
            handles = await self._enqueue(calls(self._shop, self._orders), self._orders)
            self._board.note(f"{len(handles):,} orders enqueued, each confirmed by the broker")
            await asyncio.gather(self._kill_one(), *map(self._end, handles))

    async def _kill_one(self) -> None:
        if not isinstance(self._crew, ProcessCrew):
            return
        await self._underway.wait()
        name, runs = self._crew.kill_one()
        self._killed |= {name}
        under_way = sum(self._board.states.get(task_id) == RUNNING for task_id in runs)
        self._board.note(
            f"kill -9 {name} with {under_way} payments under way: RabbitMQ takes them back",
            "yellow",
        )
        name = await self._crew.start_one()
        self._board.note(f"{name} has taken its place")

    async def _enqueue(
        self, orders_calls: Iterable[Call], orders: Sequence[Order]
    ) -> list[TaskHandle[Any]]:
        handles = await self._shop.enqueue_many(orders_calls)
        for order, handle in zip(orders, handles, strict=True):
            self._tasks[order.id] = handle.id
        self._board.queue(handle.id for handle in handles)
        return handles

    async def _end(self, handle: TaskHandle[Any]) -> None:
        try:
            await handle.result()
        except TaskFailedError:
            self._board.record(handle.id, DEAD)
        else:
            self._board.record(handle.id, SUCCEEDED)
        self._ended += 1
        if self._ended >= KILL_AT * len(self._orders):
            self._underway.set()

    async def _repair(self) -> None:
        await self._crew.stop()
        await self._crew.start("2")
        self._board.note("the workers of release 2 are ready")
        async with asyncio.timeout(PATIENCE), self._board.live():
            await self._correct()
            for _ in range(REPLAYS):
                if not await self._replay():
                    break

    async def _correct(self) -> None:
        """Enqueue the invalid orders again with valid arguments, and only then purge their dead letters."""
        invalid = Selection(reasons=frozenset({Reason.INVALID_ARGUMENTS}))
        wrong = {
            letter.meta["order"]: letter.id
            for letter in await self._letters.list(invalid, limit=None)
            if letter.id is not None
        }
        orders = [order for order in self._orders if order.id in wrong]
        self._corrected = frozenset(wrong)
        handles = await self._enqueue(corrections(self._shop, orders, wrong), orders)
        await self._letters.purge(Selection(ids=frozenset(wrong.values())))
        self._board.forget(wrong.values())
        self._board.note(f"{len(handles)} invalid orders corrected and enqueued again")
        await asyncio.gather(*map(self._end, handles))

    async def _replay(self) -> int:
        """Replay the tasks without retries left, and wait for their end."""
        replayed: list[TaskHandle[Any]] = []
        broken = Selection(reasons=frozenset({Reason.RETRIES_EXHAUSTED}))
        letters = await self._letters.list(broken, limit=None)
        if not letters:
            return 0
        report = await self._letters.replay(
            broken,
            rate=RATE,
            on_each=lambda letter, _: replayed.append(self._shop.handle(letter.id or "")),
        )
        if not report.complete:
            raise StemError(f"the replay is not complete: {report.interrupted or report.errors}")
        self._board.queue(handle.id for handle in replayed)
        self._board.note(f"{report.replayed} dead letters replayed at {RATE}, byte for byte")
        await asyncio.gather(*map(self._end, replayed))
        return report.replayed

    async def _account(self) -> Account:
        ids = list(self._tasks.values())
        records = await asyncio.gather(*map(self._shop.record, ids))
        account = take_account(
            Facts(
                orders=self._orders,
                tasks=self._tasks,
                corrected=self._corrected,
                records=dict(zip(ids, records, strict=True)),
                letters=await self._letters.list(limit=None),
                ledger=self._gateway.ledger,
                killed=self._killed,
            )
        )
        self._console.print()
        show_account(self._console, account, len(self._orders), self._gateway)
        return account
