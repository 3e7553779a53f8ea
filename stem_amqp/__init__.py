"""stem-amqp: a RabbitMQ-native task framework.

The path of a message, and the module of each step::

    app -> task -> producer.producer -> messages.message -> transport.amqp.publisher == RabbitMQ ==
    transport.amqp.consumer -> worker.consumer -> worker.executor -> worker.settle -> results.writer

Layers; a module imports only from its own layer and from those above it in this list:

1. Vocabulary, pure: `errors`, `task_control`, `durations`, `temporary`, `clock`, `states`, `outcome`,
   `settings`, `retry`, `delay`, `breakers`, `event_loop`, `cancellation`, `signals`, `standard_streams`,
   `text`, `messages`, `signing`, `tls`, `tasks`, `schedules`
2. From the YAML file to exchanges, queues and bindings, pure: `topology`
3. The way to the broker, RabbitMQ or in memory, and to the management API: `transport`, `management`
4. What is on the broker, what became of tasks, what operators decide, what may start, and what is reported
   about them: `provision`, `results`, `directives`, `limits`, `schedule_store`,
   `observability`
5. What a task's code meets while it runs, and what an application is made of: `context`, `blueprint`
6. Calls become messages, on open connections: `producer`, `connected`
7. Consume, execute, settle: `worker`
8. The application: `app`, `batched`, `composition`, `configured`, `connectable`, `assembly`, `task`,
   `blocking`, `control`, `dead_letter`, `scheduler`
9. Operations: `health`, `locate`, `isolated`
10. Private brokers and databases: `servers`
11. Entrances: `cli`, `testing`, `integrations`, `__main__`

The names below are imported when they are first used: the command line's ``--help`` and the shell's
completion need none of them, and importing all takes half a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stem_amqp.app import Stem
    from stem_amqp.blocking.handle import BlockingHandle
    from stem_amqp.blocking.producer import BlockingProducer
    from stem_amqp.breakers.breaker import Breaker
    from stem_amqp.composition.build import chain, chord, group
    from stem_amqp.composition.graph import graph
    from stem_amqp.composition.handle import ChainHandle
    from stem_amqp.composition.handles import GroupHandle
    from stem_amqp.composition.model import Chain, Group, Link, Partial
    from stem_amqp.context.batch import BatchContext
    from stem_amqp.context.context import TaskContext
    from stem_amqp.context.middleware import Middleware, OutgoingTask
    from stem_amqp.errors import (
        ArgumentsError,
        BackendError,
        BrokerError,
        ConfigurationError,
        DuplicateTaskError,
        EnqueueManyError,
        PublishError,
        ResultError,
        ResultTimeoutError,
        SoftTimeLimitError,
        StemError,
        TaskFailedError,
        TimeLimitError,
        TopologyError,
    )
    from stem_amqp.producer.linking.batches import BatchSummary
    from stem_amqp.producer.linking.results import GroupResults
    from stem_amqp.results.base import Progress, TaskRecord
    from stem_amqp.results.handle import TaskHandle
    from stem_amqp.retry import RetryPolicy
    from stem_amqp.schedules import Misfire, Schedule
    from stem_amqp.settings import Settings
    from stem_amqp.signals import Event
    from stem_amqp.states import Reason, TaskState
    from stem_amqp.task import Task
    from stem_amqp.task_control import BatchFailed, Reject, Retry, Snooze
    from stem_amqp.tasks.batch import Batch
    from stem_amqp.tasks.call import Call
    from stem_amqp.tasks.dependencies import CallArgument, Depends, Provided, Shared
    from stem_amqp.tasks.equal_calls.debounce import Debounce
    from stem_amqp.tasks.equal_calls.throttle import Throttle
    from stem_amqp.tasks.failed import FailedMember, FailedTask
    from stem_amqp.tasks.limit import Limit
    from stem_amqp.tasks.unique import Unique

__version__ = "0.1.0"

__all__ = [
    "ArgumentsError",
    "BackendError",
    "Batch",
    "BatchContext",
    "BatchFailed",
    "BatchSummary",
    "BlockingHandle",
    "BlockingProducer",
    "Breaker",
    "BrokerError",
    "Call",
    "CallArgument",
    "Chain",
    "ChainHandle",
    "ConfigurationError",
    "Debounce",
    "Depends",
    "DuplicateTaskError",
    "EnqueueManyError",
    "Event",
    "FailedMember",
    "FailedTask",
    "Group",
    "GroupHandle",
    "GroupResults",
    "Limit",
    "Link",
    "Middleware",
    "Misfire",
    "OutgoingTask",
    "Partial",
    "Progress",
    "Provided",
    "PublishError",
    "Reason",
    "Reject",
    "ResultError",
    "ResultTimeoutError",
    "Retry",
    "RetryPolicy",
    "Schedule",
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
    "Throttle",
    "TimeLimitError",
    "TopologyError",
    "Unique",
    "chain",
    "chord",
    "graph",
    "group",
]

_HOMES = {
    "ArgumentsError": "errors",
    "BackendError": "errors",
    "Batch": "tasks.batch",
    "BatchContext": "context.batch",
    "BatchFailed": "task_control",
    "BatchSummary": "producer.linking.batches",
    "BlockingHandle": "blocking.handle",
    "BlockingProducer": "blocking.producer",
    "Breaker": "breakers.breaker",
    "BrokerError": "errors",
    "Call": "tasks.call",
    "CallArgument": "tasks.dependencies",
    "Chain": "composition.model",
    "ChainHandle": "composition.handle",
    "ConfigurationError": "errors",
    "Debounce": "tasks.equal_calls.debounce",
    "Depends": "tasks.dependencies",
    "DuplicateTaskError": "errors",
    "EnqueueManyError": "errors",
    "Event": "signals",
    "FailedMember": "tasks.failed",
    "FailedTask": "tasks.failed",
    "Group": "composition.model",
    "GroupHandle": "composition.handles",
    "GroupResults": "producer.linking.results",
    "Limit": "tasks.limit",
    "Link": "composition.model",
    "Middleware": "context.middleware",
    "Misfire": "schedules",
    "OutgoingTask": "context.middleware",
    "Partial": "composition.model",
    "Progress": "results.base",
    "Provided": "tasks.dependencies",
    "PublishError": "errors",
    "Reason": "states",
    "Reject": "task_control",
    "ResultError": "errors",
    "ResultTimeoutError": "errors",
    "Retry": "task_control",
    "RetryPolicy": "retry",
    "Schedule": "schedules",
    "Settings": "settings",
    "Shared": "tasks.dependencies",
    "Snooze": "task_control",
    "SoftTimeLimitError": "errors",
    "Stem": "app",
    "StemError": "errors",
    "Task": "task",
    "TaskContext": "context.context",
    "TaskFailedError": "errors",
    "TaskHandle": "results.handle",
    "TaskRecord": "results.base",
    "TaskState": "states",
    "Throttle": "tasks.equal_calls.throttle",
    "TimeLimitError": "errors",
    "TopologyError": "errors",
    "Unique": "tasks.unique",
    "chain": "composition.build",
    "chord": "composition.build",
    "graph": "composition.graph",
    "group": "composition.build",
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
