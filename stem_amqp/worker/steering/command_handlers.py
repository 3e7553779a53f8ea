"""What carries out each command of a worker."""

from __future__ import annotations

from collections.abc import Sequence

from stem_amqp.messages.commands import AskStatistics, Confirm, Inspect, Ping, ShutDown
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.gates.limits.gate import LimitGate
from stem_amqp.worker.parts import WorkerParts
from stem_amqp.worker.report.gauges import Gauges
from stem_amqp.worker.report.presence import Presence
from stem_amqp.worker.running.threads import ThreadPool
from stem_amqp.worker.steering.answers import Answers
from stem_amqp.worker.steering.concurrency import Concurrency
from stem_amqp.worker.steering.inspection import Inspector
from stem_amqp.worker.steering.lasting import Lasting
from stem_amqp.worker.steering.orders import Orders
from stem_amqp.worker.steering.questions import Questions
from stem_amqp.worker.steering.shutdown import Shutdowns, Stop
from stem_amqp.worker.steering.steering import Steering


def make_orders(
    parts: WorkerParts,
    steering: Steering,
    *,
    gauges: Gauges,
    consumers: Sequence[QueueConsumer],
    threads: ThreadPool,
    limits: LimitGate,
    presence: Presence,
    stop: Stop,
) -> Orders:
    """Make what carries out commands and obeys directives, and let a worker's steering call it.

    Args:
        parts: the worker's parts.
        steering: receives commands and directives.
        gauges: its current values.
        consumers: its consumers.
        threads: run its synchronous tasks.
        limits: the limits of its tasks.
        presence: its heartbeat.
        stop: ends it.
    """
    blueprint, connected = parts.blueprint, parts.connected
    settings = blueprint.settings
    questions = Questions(gauges, presence)
    lasting = Lasting(
        gauges.name,
        settings.namespace,
        steering.directives,
        consumers=consumers,
        concurrency=Concurrency(consumers, threads, threads_follow=not settings.threads),
        limits=limits,
        telemetry=blueprint.telemetry,
        events=connected.events,
    )
    orders = Orders(
        gauges.name,
        [consumer.queue for consumer in consumers],
        {
            Ping: questions.ping,
            Inspect: Inspector(blueprint, consumers, presence).inspect,
            AskStatistics: questions.statistics,
            Confirm: lasting.confirm,
            ShutDown: Shutdowns(gauges, stop, settings.grace_period).shut_down,
        },
        clock=connected.transport.clock,
        answers=Answers(connected.transport, blueprint.names, gauges.name),
        telemetry=blueprint.telemetry,
        events=connected.events,
        on_close=lasting.close,
    )
    steering.heard.append(lasting.heard)
    steering.settled.append(lasting.settled)
    steering.handlers.update(orders.handlers)
    return orders
