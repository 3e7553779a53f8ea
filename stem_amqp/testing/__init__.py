"""Tools for tests: applications in memory, brokers to test against, and pytest fixtures.

- `stem_amqp.testing.plugin` holds the pytest fixtures; pytest loads it automatically.
- `stem_amqp.testing.kit` is behind ``stem_memory``, and can be used without pytest: `in_memory`.
- `stem_amqp.servers.finder` finds a RabbitMQ, a PostgreSQL or a Redis, or starts one.
- `stem_amqp.testing.backend_contract` is the suite for result backends of one's own.
- `stem_amqp.testing.cleanup` deletes what a test declared.

The names below are imported on first use: pytest loads this package in every test run where
stem-amqp is installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stem_amqp.testing.kit.enqueued import EnqueuedTask
    from stem_amqp.testing.kit.harness import StemMemory, in_memory
    from stem_amqp.testing.kit.outcome import TaskOutcome
    from stem_amqp.testing.kit.worker import MemoryWorker
    from stem_amqp.transport.memory import ManualClock

__all__ = ["EnqueuedTask", "ManualClock", "MemoryWorker", "StemMemory", "TaskOutcome", "in_memory"]

_HOMES = {
    "EnqueuedTask": "testing.kit.enqueued",
    "ManualClock": "transport.memory",
    "MemoryWorker": "testing.kit.worker",
    "StemMemory": "testing.kit.harness",
    "TaskOutcome": "testing.kit.outcome",
    "in_memory": "testing.kit.harness",
}
"""The module of each public name."""


if not TYPE_CHECKING:  # type checkers would take any name for one of ours

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"stem_amqp.{home}"), name)
        globals()[name] = value
        return value
