"""Contract of result backends with `lists_tasks`: lists and counts."""

from __future__ import annotations

import itertools
import random
from typing import Any, cast

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import ResultBackend, TaskRecord, Transition
from stem_amqp.results.filters import TaskFilters, query_of
from stem_amqp.results.listing import ALL, TaskPage, TaskQuery
from stem_amqp.states import TaskState
from stem_amqp.testing.backend_contract.sides import Sides

STATES = [TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED]
TASKS = ["orders.sync", "orders.pay", "ordersXsync", "emails.send"]
METAS: list[dict[str, Any]] = [
    {},
    {"tenant": "acme"},
    {"tenant": 'a"c\\m€\0'},
    {"n": 1},
    {"n": True, "tenant": "acme"},
]
METAS += [{"n": 1.0}, {"n": "1"}, {"deep": {"b": [1, 2], "a": None}}]

FILTERS: list[TaskFilters] = [
    {},
    {"state": "failed"},
    {"state": ["failed", TaskState.QUEUED]},
    {"task": "orders.sync"},
    {"task": "orders.*"},
    {"task": ["emails.send", "orders?sync"]},
    {"task": "orders.[!p]*"},
    {"task": "orders._ync"},
    {"queue": "bulk"},
    {"queue": ["bulk", "orders"], "state": "succeeded"},
    {"meta": {"tenant": "acme"}},
    {"meta": {"tenant": 'a"c\\m€\0'}},
    {"meta": {"n": 1}},
    {"meta": {"n": True, "tenant": "acme"}},
    {"meta": {"n": "1"}},
    {"meta": {"deep": {"a": None, "b": [1, 2]}}},
    {"meta": {"deep": {"a": None}}},
    {"created_after": 30.0},
    {"created_after": 20.0, "created_before": 40.5},
    {"updated_after": 45.0},
    {"updated_before": 30.0, "task": "orders.*", "state": "running"},
]
"""Times are seconds after the first task."""
FIT_NONE: list[TaskFilters] = [{"task": "orders._ync"}, {"meta": {"deep": {"a": None}}}]


def query_after(begin: float, filters: TaskFilters, *, oldest_first: bool) -> TaskQuery:
    """Make a query from filters with times relative to a base time."""
    values = {n: begin + v if isinstance(v, float) else v for n, v in filters.items()}
    values["oldest_first"] = oldest_first
    return query_of(**cast("TaskFilters", values))


async def stored(lists: Sides, number: int) -> dict[str, TaskRecord]:
    """Store tasks of all kinds, some with the same time, and return their records by id."""
    chance, begin = random.Random(7), lists.clock.time()
    tasks: list[str] = []
    changes: list[Transition] = []
    for _ in range(number):
        task_id = new_id()
        values = {
            "task": chance.choice(TASKS),
            "queue": chance.choice(["orders", "bulk"]),
            "meta": chance.choice(METAS),
        }
        created = begin + chance.randrange(60)
        changes.append(lists.change(task_id, TaskState.QUEUED, at=created, **values))
        state = chance.choice(STATES)
        if state is not TaskState.QUEUED:
            changes.append(lists.change(task_id, state, at=created + chance.randrange(9), **values))
        tasks.append(task_id)
    await lists.worker.transition(changes)
    return {task_id: await lists.record(task_id) for task_id in tasks}


async def pages(backend: ResultBackend, query: TaskQuery, limit: int) -> list[TaskPage]:
    """Return every page of a list."""
    found: list[TaskPage] = []
    cursor = None
    while True:
        page = await backend.list_tasks(query, cursor=cursor, limit=limit)
        found.append(page)
        cursor = page.cursor
        if cursor is None:
            return found


async def listed(backend: ResultBackend) -> list[str]:
    """Return the ids of a whole list."""
    every = await pages(backend, ALL, 1000)
    return [record.task_id for record in itertools.chain(*every)]


class ListsContract:
    """Lists contain the matching tasks, in a stable order."""

    async def test_a_list_has_exactly_what_its_filters_say_in_the_order_of_creation(
        self, lists: Sides
    ) -> None:
        """Every filter gives the same result in every store as in Python, for every page size."""
        begin = lists.clock.time()
        records = await stored(lists, 150)
        for filters, oldest_first in itertools.product(FILTERS, (False, True)):
            query = query_after(begin, filters, oldest_first=oldest_first)
            expected = [record for record in records.values() if query.matches(record)]
            assert (filters in FIT_NONE) is not bool(expected), filters
            query.sort(expected)
            for limit in (7, 1000):
                every = await pages(lists.producer, query, limit)
                assert list(itertools.chain(*every)) == expected, filters
                assert all(len(page) == limit for page in every[:-1])
            counts = await lists.producer.count_tasks(query)
            assert counts == {
                state: number
                for state in TaskState
                if (number := sum(record.state is state for record in expected))
            }

    @pytest.mark.parametrize("oldest_first", [False, True])
    async def test_pages_are_stable_while_tasks_come_and_change(
        self, lists: Sides, oldest_first: bool
    ) -> None:
        """A task that exists throughout is listed once, whatever happens between two pages."""
        ids = list(await stored(lists, 60))
        query, seen, cursor = query_of(oldest_first=oldest_first), [], None
        while True:
            page = await lists.producer.list_tasks(query, cursor=cursor, limit=11)
            seen += [record.task_id for record in page]
            cursor = page.cursor
            if cursor is None:
                break
            await stored(lists, 5)
            changes = [
                lists.change(one, TaskState.RUNNING, at=lists.clock.time() + 70) for one in ids
            ]
            await lists.worker.transition(changes)
        assert sorted(one for one in seen if one in ids) == sorted(ids)
        assert len(seen) == len(set(seen))

    async def test_a_page_goes_on_where_its_last_task_has_gone(self, lists: Sides) -> None:
        """A cursor is a position; its task need not exist any more, also among equal times."""
        ids = sorted(new_id() for _ in range(6))
        changes = [
            lists.change(task_id, TaskState.QUEUED, ttl=10 if task_id == ids[2] else 1000)
            for task_id in ids
        ]
        await lists.worker.transition(changes)
        first = await lists.producer.list_tasks(query_of(oldest_first=True), limit=3)
        lists.clock.advance(11)
        await lists.producer.purge_expired()
        rest = await lists.producer.list_tasks(query_of(oldest_first=True), cursor=first.cursor)
        assert [record.task_id for record in (*first, *rest)] == ids

    async def test_what_has_expired_is_not_listed(self, lists: Sides) -> None:
        """Neither before it is removed nor after; and a task that is stored again is listed once."""
        short, long = await lists.queued(ttl=10), await lists.queued(ttl=1000)
        lists.clock.advance(11)
        assert await listed(lists.producer) == [long]
        assert await lists.producer.purge_expired() == 1
        assert await listed(lists.producer) == [long]
        lists.clock.advance(5)
        await lists.worker.transition([lists.change(short, TaskState.RUNNING)])
        assert await listed(lists.producer) == [short, long]
        assert await lists.producer.count_tasks() == {TaskState.RUNNING: 1, TaskState.QUEUED: 1}

    async def test_a_change_does_not_move_a_task_in_the_list(self, lists: Sides) -> None:
        """The order is that of creation; the record is the newest."""
        first = await lists.queued()
        lists.clock.advance(20)
        second = await lists.queued()
        await lists.worker.transition([lists.change(first, TaskState.SUCCEEDED, result=b"5")])
        page = await lists.producer.list_tasks()
        assert [(r.task_id, r.state) for r in page] == [(second, "queued"), (first, "succeeded")]
        assert page.records[1].result == b"5"

    async def test_a_limit_or_a_cursor_that_is_none_is_named(self, lists: Sides) -> None:
        """Invalid arguments are an error before the store is read."""
        await lists.queued()
        await lists.queued()
        for limit in (0, 1001, -1):
            with pytest.raises(ConfigurationError, match="1 to 1000"):
                await lists.producer.list_tasks(limit=limit)
        cursor = (await lists.producer.list_tasks(limit=1)).cursor
        assert cursor is not None
        for wrong in ("", "x", cursor[:-4], "é", "bnVsbA"):
            with pytest.raises(ConfigurationError, match="not a cursor"):
                await lists.producer.list_tasks(cursor=wrong)
        with pytest.raises(ConfigurationError, match="other order"):
            await lists.producer.list_tasks(query_of(oldest_first=True), cursor=cursor)
