"""The test suite that every result backend passes, also for backends of other packages.

```python
class TestShelf(BackendContract):
    @pytest.fixture
    def backend_url(self, tmp_path):
        return f"shelf://{tmp_path}"
```

It needs pytest-asyncio, in either of its modes. Keys, lists, limits and schedules are tested if
the backend implements them (`keeps_keys`, `lists_tasks`, `limits`, `schedules`); unreadable records, if the fixture `spoils` provides
ways to write one.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from stem_amqp.results.base import ResultBackend
from stem_amqp.results.factory import create
from stem_amqp.testing.backend_contract.groups import GroupsContract
from stem_amqp.testing.backend_contract.keys import KeysContract
from stem_amqp.testing.backend_contract.limits import LimitsContract, LimitSides
from stem_amqp.testing.backend_contract.lists import ListsContract
from stem_amqp.testing.backend_contract.members import MembersContract
from stem_amqp.testing.backend_contract.open_groups import OpenGroupsContract
from stem_amqp.testing.backend_contract.progress import ProgressContract
from stem_amqp.testing.backend_contract.schedules import SchedulesContract, ScheduleSides
from stem_amqp.testing.backend_contract.sides import DAY, Sides, Spoil
from stem_amqp.testing.backend_contract.states import StatesContract
from stem_amqp.testing.backend_contract.time import TimeContract
from stem_amqp.testing.backend_contract.unreadable import UnreadableContract
from stem_amqp.testing.backend_contract.waiting import WaitingContract
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport

__all__ = ["BackendContract", "Sides", "Spoil"]


@pytest.mark.asyncio
class BackendContract(
    StatesContract,
    ProgressContract,
    TimeContract,
    WaitingContract,
    GroupsContract,
    MembersContract,
    OpenGroupsContract,
    KeysContract,
    ListsContract,
    LimitsContract,
    SchedulesContract,
    UnreadableContract,
):
    """The behaviour that the framework relies on in a result backend.

    Inherit it in a class ``Test…``, and override the fixture ``backend_url``. Every test uses a separate
    namespace; a backend without namespaces needs a separate URL for each test.

    Time stands still unless a test moves it: expiry is measured with `BackendParts.clock`.
    """

    @pytest.fixture
    def backend_url(self) -> str:
        """Return the URL of the store under test. Override it."""
        return pytest.fail(
            f"which backend is under test? Give {type(self).__name__} a fixture `backend_url` that"
            " returns its URL.",
            pytrace=False,
        )

    @pytest_asyncio.fixture
    async def sides(self, backend_url: str) -> AsyncIterator[Sides]:
        """Give both sides of the backend, with a clock that only the test moves."""
        clock, names = ManualClock(), Names(f"t-{uuid.uuid4().hex[:8]}")
        broker = MemoryBroker()
        transports: list[MemoryTransport] = []

        async def make() -> ResultBackend:
            transports.append(MemoryTransport(broker))
            await transports[-1].connect()
            return create(backend_url, clock=clock, transport=transports[-1], names=names, ttl=DAY)

        sides = Sides(make, clock)
        try:
            yield await sides.open()
        finally:
            await sides.close()
            for transport in transports:
                await transport.close()

    @pytest.fixture
    def spoils(self, sides: Sides) -> dict[str, Spoil]:
        """Return functions that replace a task's record by something unreadable, by name.

        Override it for a store that other programs can write to.
        """
        return pytest.skip(f"no other program can write what {type(sides.producer).__name__} reads")

    @pytest.fixture
    def keys(self, sides: Sides) -> Sides:
        """Give both sides of a backend that keeps keys."""
        if not sides.producer.keeps_keys:
            pytest.skip(f"{type(sides.producer).__name__} keeps no keys")
        return sides

    @pytest.fixture
    def lists(self, sides: Sides) -> Sides:
        """Give both sides of a backend that lists tasks."""
        if not sides.producer.lists_tasks:
            pytest.skip(f"{type(sides.producer).__name__} makes no lists")
        return sides

    @pytest_asyncio.fixture
    async def limits(self, sides: Sides) -> AsyncIterator[LimitSides]:
        """Give the limit stores of both sides of a backend that keeps limits."""
        stores = [backend.limits(sides.clock) for backend in (sides.producer, sides.worker)]
        both = [store for store in stores if store is not None]
        if not both:
            pytest.skip(f"{type(sides.producer).__name__} keeps no limits")
        for store in both:
            await store.open()
        yield LimitSides(both, sides.clock)
        for store in both:
            await store.close()

    @pytest_asyncio.fixture
    async def schedules(self, sides: Sides) -> ScheduleSides:
        """Give the schedule stores of both sides of a backend that keeps schedules."""
        first, second = sides.producer.schedules(), sides.worker.schedules()
        if first is None or second is None:
            pytest.skip(f"{type(sides.producer).__name__} keeps no schedules")
        for store in (first, second):
            await store.open()
        return ScheduleSides(first, second)
