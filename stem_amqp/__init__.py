"""stem-amqp: a RabbitMQ-native task framework.

The way of a message, and the module of each step::

    app -> task -> message -> producer -> transport == RabbitMQ == transport -> worker.consumer
    -> worker.executor -> worker.settle -> results

Layers; a module imports only from its own line or from those above it:

1. vocabulary, pure: `errors`, `durations`, `clock`, `states`, `settings`, `message`, `retry`,
   `delay`, `signals`, `signing`, `tls`, `certificates`, `arguments`, `unique`, `options`, `dependencies`,
   `definition`, `middleware`
2. `topology`: from the YAML file to exchanges, queues and bindings; pure
3. `transport`: the contract, RabbitMQ through aio-pika, and the in-memory broker
4. `provision`, `results`, `producer`
5. `worker`: consume, execute, settle
6. `task`, `assembly`, `blocking`, `app`
7. operations: `dead_letter`, `control`, `health`
8. `cli`, `testing`

The names below are imported when they are first used: the command line's ``--help`` and the shell's
completion need none of them, and importing all takes half a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stem_amqp.app import Stem
    from stem_amqp.blocking.handle import BlockingHandle
    from stem_amqp.blocking.producer import BlockingProducer
    from stem_amqp.dependencies import Depends, Shared
    from stem_amqp.errors import (
        ArgumentsError,
        BackendError,
        BrokerError,
        ConfigurationError,
        DuplicateTaskError,
        EnqueueManyError,
        PublishError,
        Reject,
        ResultTimeoutError,
        Retry,
        Snooze,
        SoftTimeLimitError,
        StemError,
        TaskFailedError,
        TimeLimitError,
        TopologyError,
    )
    from stem_amqp.middleware import Middleware, OutgoingTask
    from stem_amqp.producer import Call
    from stem_amqp.results.base import Progress, TaskRecord
    from stem_amqp.results.handle import TaskHandle
    from stem_amqp.retry import RetryPolicy
    from stem_amqp.settings import Settings
    from stem_amqp.signals import Event
    from stem_amqp.states import Reason, TaskState
    from stem_amqp.task import Task
    from stem_amqp.unique import Unique
    from stem_amqp.worker.context import TaskContext

__version__ = "0.1.0"

__all__ = [
    "ArgumentsError",
    "BackendError",
    "BlockingHandle",
    "BlockingProducer",
    "BrokerError",
    "Call",
    "ConfigurationError",
    "Depends",
    "DuplicateTaskError",
    "EnqueueManyError",
    "Event",
    "Middleware",
    "OutgoingTask",
    "Progress",
    "PublishError",
    "Reason",
    "Reject",
    "ResultTimeoutError",
    "Retry",
    "RetryPolicy",
    "Settings",
    "Shared",
    "Snooze",
    "SoftTimeLimitError",
    "Stem",
    "StemError",
    "Task",
    "TaskContext",
    "TaskFailedError",
    "TaskHandle",
    "TaskRecord",
    "TaskState",
    "TimeLimitError",
    "TopologyError",
    "Unique",
]

_HOMES = {
    "ArgumentsError": "errors",
    "BackendError": "errors",
    "BlockingHandle": "blocking.handle",
    "BlockingProducer": "blocking.producer",
    "BrokerError": "errors",
    "Call": "producer",
    "ConfigurationError": "errors",
    "Depends": "dependencies",
    "DuplicateTaskError": "errors",
    "EnqueueManyError": "errors",
    "Event": "signals",
    "Middleware": "middleware",
    "OutgoingTask": "middleware",
    "Progress": "results.base",
    "PublishError": "errors",
    "Reason": "states",
    "Reject": "errors",
    "ResultTimeoutError": "errors",
    "Retry": "errors",
    "RetryPolicy": "retry",
    "Settings": "settings",
    "Shared": "dependencies",
    "Snooze": "errors",
    "SoftTimeLimitError": "errors",
    "Stem": "app",
    "StemError": "errors",
    "Task": "task",
    "TaskContext": "worker.context",
    "TaskFailedError": "errors",
    "TaskHandle": "results.handle",
    "TaskRecord": "results.base",
    "TaskState": "states",
    "TimeLimitError": "errors",
    "TopologyError": "errors",
    "Unique": "unique",
}
"""The module of each public name."""


if not TYPE_CHECKING:  # type checkers would take any name for one of ours

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
