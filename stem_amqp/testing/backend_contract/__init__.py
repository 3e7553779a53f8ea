"""The suite that every result backend passes, for those who write one of their own.

```python
class TestShelf(BackendContract):
    @pytest.fixture
    def backend_url(self, tmp_path):
        return f"shelf://{tmp_path}"
```

It needs pytest-asyncio, in either of its modes. The keys of unique tasks and lists are tested if the
backend says that it has them (`keeps_keys`, `lists_tasks`).
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
from stem_amqp.testing.backend_contract.lists import ListsContract
from stem_amqp.testing.backend_contract.progress import ProgressContract
from stem_amqp.testing.backend_contract.sides import DAY, Sides
from stem_amqp.testing.backend_contract.states import StatesContract
from stem_amqp.testing.backend_contract.time import TimeContract
from stem_amqp.testing.backend_contract.waiting import WaitingContract
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport

__all__ = ["BackendContract", "Sides"]


@pytest.mark.asyncio
class BackendContract(
    StatesContract,
    ProgressContract,
    TimeContract,
    WaitingContract,
    GroupsContract,
    KeysContract,
    ListsContract,
):
    """What the framework relies on in a result backend.

    Inherit it in a class ``Test…``, and override the fixture ``backend_url``. Every test has a namespace
    of its own; a backend that does not keep namespaces apart needs a URL of its own for each test.

    Time stands still unless a test moves it: expiry is measured with `BackendParts.clock`.
    """

    @pytest.fixture
    def backend_url(self) -> str:
        """Return the URL of the store under test. To be overridden."""
        return pytest.fail(
            f"which backend is under test? Give {type(self).__name__} a fixture `backend_url` that"
            " returns its URL.",
            pytrace=False,
        )

    @pytest_asyncio.fixture
    async def sides(self, backend_url: str) -> AsyncIterator[Sides]:
        """Give both sides of the backend, with a clock that stands still until it is moved."""
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
