"""The metrics of the queue exporter: name, labels, unit and description of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueMetric:
    """One gauge.

    Args:
        name: its name.
        labels: the names of its labels.
        unit: its unit (UCUM).
        description: one sentence.
    """

    name: str
    labels: tuple[str, ...]
    unit: str
    description: str


READY = QueueMetric(
    name="stem_queue_messages_ready",
    labels=("queue",),
    unit="{message}",
    description="Messages that wait for a worker.",
)
UNACKED = QueueMetric(
    name="stem_queue_messages_unacked",
    labels=("queue",),
    unit="{message}",
    description="Deliveries that workers have not settled yet; needs the management API.",
)
CONSUMERS = QueueMetric(
    name="stem_queue_consumers",
    labels=("queue",),
    unit="{consumer}",
    description="Consumers of the queue, one for each worker process.",
)
OLDEST_READY = QueueMetric(
    name="stem_queue_oldest_ready_age_seconds",
    labels=("queue",),
    unit="s",
    description="The oldest ready message has waited at least this long; needs the management API.",
)
MAX_READY_AGE = QueueMetric(
    name="stem_queue_max_ready_age_seconds",
    labels=("queue",),
    unit="s",
    description="The limit of that age, `max_ready_age` of the topology file.",
)
DEAD_IN_QUEUE = QueueMetric(
    name="stem_queue_messages_dead",
    labels=("queue",),
    unit="{message}",
    description="Messages in the dead-letter queue.",
)
DEAD = QueueMetric(
    name="stem_dead_messages",
    labels=("queue", "reason"),
    unit="{message}",
    description="Dead letters by reason; `not-read` are those beyond the first 1,000 of a queue.",
)
OLDEST_DEAD = QueueMetric(
    name="stem_dead_oldest_age_seconds",
    labels=("queue",),
    unit="s",
    description="Time since the oldest dead letter failed.",
)
DELAYED = QueueMetric(
    name="stem_delayed_messages",
    labels=("delay",),
    unit="{message}",
    description="Messages in each delay queue, by its waiting time in seconds, such as `30s`.",
)
OVERDUE = QueueMetric(
    name="stem_delayed_overdue_messages",
    labels=(),
    unit="{message}",
    description="Messages whose wait in a delay queue is over and that their next queue has not confirmed;"
    " needs the management API.",
)
HELD = QueueMetric(
    name="stem_held_messages",
    labels=("queue", "task"),
    unit="{message}",
    description="Messages of a paused task in the queue of their own, until they run after the resume;"
    " needs the management API.",
)
UNROUTABLE = QueueMetric(
    name="stem_unroutable_messages",
    labels=(),
    unit="{message}",
    description="Messages in the unroutable queue.",
)
SCHEDULERS = QueueMetric(
    name="stem_schedulers",
    labels=(),
    unit="{scheduler}",
    description="Schedulers that run, of which one leads; absent without schedules in code and topology file.",
)
BROKER_UP = QueueMetric(
    name="stem_broker_up",
    labels=(),
    unit="1",
    description="1 if the broker answers; otherwise 0, and the metrics of queues are absent.",
)
MANAGEMENT_UP = QueueMetric(
    name="stem_management_up",
    labels=(),
    unit="1",
    description="1 if the management API answers; otherwise 0.",
)
ALARM = QueueMetric(
    name="stem_broker_alarm",
    labels=("node", "resource"),
    unit="1",
    description="1 if a node blocks publishers because of its `memory` or `disk`, otherwise 0; needs the"
    " management API.",
)

METRICS = (
    BROKER_UP,
    MANAGEMENT_UP,
    READY,
    UNACKED,
    CONSUMERS,
    OLDEST_READY,
    MAX_READY_AGE,
    DEAD_IN_QUEUE,
    DEAD,
    OLDEST_DEAD,
    DELAYED,
    OVERDUE,
    HELD,
    UNROUTABLE,
    SCHEDULERS,
    ALARM,
)
"""All metrics of the queue exporter."""
